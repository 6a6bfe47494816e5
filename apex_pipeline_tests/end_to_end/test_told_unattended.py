"""What people are told while parts of a running `apex up` are killed."""

import os
import signal

import pytest

from apex_pipeline.local import child_commands
from apex_pipeline.metrics import TABLE
from apex_pipeline_tests.support.apex_up import apex_up, wait_until
from apex_pipeline_tests.support.ends import campaign_row, insert, marked, query
from apex_pipeline_tests.support.receivers import (
    is_of_a_new_deployment,
    mail_server,
    make_authority,
    workflow,
)
from apex_pipeline_tests.support.repeating import repeating
from apex_pipeline_tests.support.unattended import emulator, sync

KILLED = (child_commands.DAEMON, child_commands.WEB_SERVER, child_commands.CODE_SERVER)


def write_row(url: str) -> None:
    insert(url, [campaign_row(created_at="now")])


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_what_is_killed_in_turn_is_told_once_each_and_no_row_is_lost(
    tmp_path, monkeypatch
):
    authority = make_authority(tmp_path)
    with workflow(authority) as teams, mail_server(authority, "plain") as mailbox:
        monkeypatch.setenv("APEX_CA_BUNDLE", str(authority.ca_bundle))
        monkeypatch.setenv("APEX_TEAMS_WEBHOOK_URL", teams.url)
        monkeypatch.setenv("APEX_ALERT_EMAIL_TO", "ops@example.com")
        monkeypatch.setenv("APEX_ALERT_EMAIL_FROM", "apex@example.com")
        monkeypatch.setenv("APEX_SMTP_URL", f"smtp://127.0.0.1:{mailbox.port}")
        told: list[str] = []

        def mails() -> list[str]:
            texts = [str(m["Subject"]) for *_, m in mailbox.envelopes]
            kept = [each for each in texts if not is_of_a_new_deployment(each)]
            return [each.removeprefix("[Apex] ") for each in kept]

        def all_told() -> bool:
            return min(len(teams.titles), len(mails())) >= len(told)

        with apex_up(tmp_path / "state") as running, emulator(running) as dataverse:
            url = running.served["DATABASE_URL"]
            with repeating(lambda: write_row(url), 0.1):
                for name in KILLED:
                    pid = running.pid(name)
                    assert pid
                    os.kill(pid, signal.SIGKILL)
                    told += [f"Error: The {name} died", f"Resolved: The {name} died"]
                    wait_until(all_told, running)
                    sync(running)
            sync(running)
            records = dataverse.get(f"/_emulator/records/{TABLE}").json()
            keys = [record["apex_campaignmetricsid"] for record in records]
            rows = {
                row for (row,) in query(url, "SELECT id::text FROM campaign_metrics")
            }
            assert len(keys) == len(set(keys))
            assert set(keys) == marked(url) == rows
        assert teams.titles == mails() == told, teams.cards
