"""The pipeline under `apex up`, while people interfere with it."""

import pytest

from apex_pipeline.metrics import TABLE
from apex_pipeline_tests.support.apex_up import apex_up, wait_until
from apex_pipeline_tests.support.ends import insert_many, marked
from apex_pipeline_tests.support.unattended import command, emulator
from apex_pipeline_tests.support.waiting import SECONDS

RUNS = (
    '{ runsOrError(filter: {pipelineName: "sync_campaign_metrics", statuses: [STARTED]}) {'
    " ... on Runs { results { runId } } } }"
)
STATUS = "query($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }"
SCHEDULE = """{
  scheduleOrError(scheduleSelector: {
    repositoryName: "__repository__", repositoryLocationName: "apex_pipeline",
    scheduleName: "sync_every_five_minutes"
  }) { ... on Schedule { scheduleState { id } } }
}"""
STOP = "mutation($id: String!) { stopRunningSchedule(id: $id) { __typename } }"
TERMINATE = "mutation($run: String!) { terminateRun(runId: $run) { __typename } }"


@pytest.mark.slow
def test_a_run_that_is_ended_from_the_ui_is_made_good_by_the_next(tmp_path):
    with apex_up(tmp_path / "state") as running, emulator(running) as dataverse:
        url = running.served["DATABASE_URL"]
        # Its run would come first, and be ended in place of ours.
        schedule = running.ask(SCHEDULE)["scheduleOrError"]["scheduleState"]["id"]
        stopped = running.ask(STOP, id=schedule)["stopRunningSchedule"]["__typename"]
        assert stopped == "ScheduleStateResult"
        insert_many(url, 2000)
        slow = {"kind": "slow", "count": None, "path": "Upsert"}

        def slow_down(seconds: float) -> None:
            dataverse.delete("/_emulator/faults").raise_for_status()
            fault = slow | {"delay": seconds}
            dataverse.post("/_emulator/faults", json=fault).raise_for_status()

        slow_down(1)
        with command(running, "sync", "--rows-per-request", "20") as sync:
            wait_until(lambda: marked(url), running)
            # However long it takes to end it, rows are left.
            slow_down(300)
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
