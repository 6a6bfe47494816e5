"""Two days of runs, kept up to date by small reads, on the test's own clock."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from apex_pipeline.dataverse.environment import connect
from apex_pipeline.emulator import ServedEmulator, serve
from apex_pipeline.errors import DataverseError
from apex_pipeline.panel.dataverse_reads import RecordWindow, keep
from apex_pipeline.panel.kpis import KeyFigures
from apex_pipeline_tests.support.emulator_server import SET, Dial, web_api
from apex_pipeline_tests.support.ends import emulator_settings
from apex_pipeline_tests.support.panel_server import deliver, reads


class Panel:
    """A window over an emulator, both on one clock."""

    def __init__(self, emulator: ServedEmulator, dial: Dial, folder: Path) -> None:
        self.emulator = emulator
        self.dial = dial
        self.window = RecordWindow()
        self._folder = folder

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.dial.now, UTC)

    def add(self, **record: Any) -> str:
        key = str(uuid4())
        created = f"{self.now:%Y-%m-%dT%H:%M:%SZ}"
        ids = {"apex_campaignmetricsid": key, "apex_createdat": created}
        deliver(self.emulator, ids | record)
        return key

    def look(self) -> KeyFigures:
        async def refresh() -> KeyFigures:
            settings = emulator_settings(self.emulator)
            async with connect(settings, self._folder / "tokens.json") as environment:
                found = await self.window.refresh(environment.client, self.now)
            return found.current

        return asyncio.run(refresh())


@pytest.fixture
def panel(tmp_path: Path) -> Iterator[Panel]:
    dial = Dial()
    with serve(clock=dial.clock()) as emulator:
        yield Panel(emulator, dial, tmp_path)


def test_what_was_not_modified_is_remembered_and_not_read_again(panel):
    for expected in range(1, 4):
        panel.add(apex_tokensin=1)
        assert panel.look().tokens_in == expected
        assert len(reads(panel.emulator)) == 1
        panel.dial.now += 190
    panel.emulator.clear_requests()
    panel.look()
    (read,) = [r for r in panel.emulator.requests() if SET in str(r["path"])]
    assert read["targets"] == 2, "the first is older than what is asked for again"
    assert panel.look().tokens_in == 3


def test_a_record_that_was_deleted_leaves_within_ten_minutes(panel):
    key = panel.add(apex_tokensin=1)
    panel.add(apex_tokensin=10)
    panel.look()
    with web_api(panel.emulator) as api:
        api.delete(f"{SET}({key})").raise_for_status()
    panel.dial.now += 599
    assert panel.look().tokens_in == 11
    panel.dial.now += 1
    assert panel.look().tokens_in == 10


def test_more_runs_than_can_be_added_up_are_told_and_not_added_up(panel):
    panel.window = RecordWindow(most_runs=2)
    for _ in range(3):
        panel.add()
    with pytest.raises(DataverseError, match="more than 2 runs"):
        panel.look()


@pytest.mark.parametrize("missing", ["modifiedon", "apex_createdat"])
def test_an_answer_without_what_was_asked_for_is_a_failure_of_dataverse(missing):
    record = {"modifiedon": "2026-11-25T11:00:00Z", "apex_createdat": None}
    del record[missing]
    with pytest.raises(DataverseError, match="apex doctor"):
        keep(record)
