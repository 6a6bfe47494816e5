"""The pipeline under `apex up`, while people interfere with it."""

import os
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from apex_pipeline.metrics import TABLE
from apex_pipeline_tests.local.test_up import Running, apex_up, wait_until
from apex_pipeline_tests.support.ends import insert_many, marked
from apex_pipeline_tests.support.waiting import SECONDS

APEX = Path(sys.executable).with_name("apex")
RUNS = (
    '{ runsOrError(filter: {pipelineName: "sync_campaign_metrics", statuses: [STARTED]}) {'
    " ... on Runs { results { runId } } } }"
)
STATUS = "query($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }"
TERMINATE = "mutation($run: String!) { terminateRun(runId: $run) { __typename } }"


def emulator(running: Running) -> httpx.Client:
    served = running.served
    secret = (running.state / "emulator" / "control_secret").read_text()
    trust = ssl.create_default_context(cafile=served["APEX_CA_BUNDLE"])
    return httpx.Client(
        base_url=served["DATAVERSE_RESOURCE"],
        headers={"Authorization": f"Bearer {secret}"},
        verify=trust,
        timeout=SECONDS,
    )


def command(running: Running, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [APEX, *arguments],
        env=os.environ | {"APEX_STATE_DIR": str(running.state)},
        cwd=running.state,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_a_run_that_is_ended_from_the_ui_is_made_good_by_the_next(tmp_path):
    with apex_up(tmp_path / "state") as running, emulator(running) as dataverse:
        url = running.served["DATABASE_URL"]
        insert_many(url, 2000)
        dataverse.post(
            "/_emulator/faults",
            json={"kind": "slow", "delay": 0.5, "count": 9999, "path": "Upsert"},
        ).raise_for_status()
        with command(running, "sync") as sync:
            wait_until(lambda: marked(url), running)
            ((run,),) = (
                r.values() for r in running.ask(RUNS)["runsOrError"]["results"]
            )
            ended = running.ask(TERMINATE, run=run)["terminateRun"]["__typename"]
            assert ended == "TerminateRunSuccess"
            _, complaint = sync.communicate(timeout=SECONDS)
            assert sync.returncode == 1
            assert "Stack" not in complaint
        assert running.ask(STATUS, run=run)["runOrError"]["status"] == "CANCELED"
        assert len(marked(url)) < 2000

        dataverse.delete("/_emulator/faults").raise_for_status()
        with command(running, "sync") as sync:
            told, _ = sync.communicate(timeout=SECONDS)
            assert sync.returncode == 0, told
        records = dataverse.get(f"/_emulator/records/{TABLE}").json()
        keys = [record["apex_campaignmetricsid"] for record in records]
        assert len(keys) == 2000
        assert set(keys) == marked(url)
