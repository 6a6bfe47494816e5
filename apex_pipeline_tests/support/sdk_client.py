"""Microsoft's SDK in front of the emulator."""

from collections.abc import Iterator

import pytest
from PowerPlatform.Dataverse.client import DataverseClient

from apex_pipeline.emulator import ServedEmulator
from apex_pipeline_tests.support.emulator_server import MsalCredential


@pytest.fixture
def client(
    emulator: ServedEmulator, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DataverseClient]:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(emulator.ca_bundle))
    with DataverseClient(emulator.url, MsalCredential(emulator)) as client:
        yield client
