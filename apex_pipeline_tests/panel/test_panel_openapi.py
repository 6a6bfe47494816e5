"""The description of the API, checked against the API with a fuzzer."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator, FormatChecker

from apex_pipeline.panel.openapi import openapi
from apex_pipeline.panel.record_endpoint import RECORDING_OPENAPI
from apex_pipeline.web_gate.rate_limit import Rate
from apex_pipeline_tests.support.ends import environment
from apex_pipeline_tests.support.panel_server import TOKEN, deliver, served
from apex_pipeline_tests.support.waiting import SECONDS

BEARER = {"Authorization": f"Bearer {TOKEN}"}


def described(document: dict[str, Any], answer: httpx.Response) -> dict[str, Any]:
    """The schema that the document has for an answer."""
    operation = document["paths"][answer.request.url.path]["get"]
    response = operation["responses"][str(answer.status_code)]
    if "$ref" in response:
        response = document["components"]["responses"][str(answer.status_code)]
    reference: dict[str, Any] = response["content"]["application/json"]["schema"]
    return reference


def as_described(document: dict[str, Any], answer: httpx.Response) -> None:
    schema = described(document, answer) | {"components": document["components"]}
    checker = Draft202012Validator(schema, format_checker=FormatChecker())
    assert [error.message for error in checker.iter_errors(answer.json())] == []


def test_every_answer_is_as_described_with_data_and_without(
    emulator, database_url, tmp_path
):
    variables = environment(emulator, database_url, tmp_path)
    deliver(emulator, {}, {"apex_phase": None})
    for ends in (variables, {"APEX_STATE_DIR": str(tmp_path)}):
        with served(ends) as url, httpx.Client(base_url=url, timeout=SECONDS) as client:
            document = client.get("/openapi.json").json()
            read = [path for path, has in document["paths"].items() if "get" in has]
            for path in read:
                answer = client.get(path)
                if path.endswith(".csv") and answer.is_success:
                    continue
                as_described(document, answer)
            as_described(document, client.get("/api/history?days=1"))


def test_all_refusals_are_described():
    document = openapi(needs_token=True)
    with served({}, token=TOKEN, requests=Rate(0.001, 2)) as url:
        for status in (401, 401, 429):
            answer = httpx.get(f"{url}/api/kpis")
            assert answer.status_code == status
            as_described(document, answer)


def test_what_is_needed_is_said():
    assert openapi(needs_token=False)["security"] == []
    assert {"token": []} in openapi(needs_token=True)["security"]
    assert openapi(needs_token=True)["paths"]["/healthz"]["get"]["security"] == []


# Which fields contradict each other is more than a schema can say.
FUZZING = """
[[operations]]
include-path = "/api/metrics/campaign"
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "409", "422"]
"""


@pytest.mark.slow
@pytest.mark.parametrize("token", [TOKEN, None])
def test_a_fuzzer_finds_nothing(emulator, database_url, tmp_path, token):
    variables = environment(emulator, database_url, tmp_path)
    deliver(emulator, *[{}] * 5)
    (tmp_path / "schemathesis.toml").write_text(FUZZING)
    with served(variables, token=token, requests=Rate(1e6, 1_000_000)) as url:
        found = subprocess.run(
            [
                *(Path(sys.executable).parent / "st", "run", f"{url}/openapi.json"),
                *("--max-examples", "20", "--seed", "1", "--no-color"),
                *("-H", f"Authorization: Bearer {token}"),
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
    assert found.returncode == 0, found.stdout
    described_paths = openapi(RECORDING_OPENAPI, needs_token=True)["paths"]
    assert f"Tested: {len(described_paths)}" in found.stdout
