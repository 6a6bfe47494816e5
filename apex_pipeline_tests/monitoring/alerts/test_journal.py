"""Incidents and notices in a real Postgres, with processes killed on the way."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from apex_pipeline.errors import DatabaseError
from apex_pipeline.monitoring.alerts.channels import LEAST_SECONDS, deliver
from apex_pipeline.monitoring.alerts.journal import Journal, WatcherProgress
from apex_pipeline.monitoring.alerts.notice import (
    DeliveryError,
    Notice,
    NoticeKind,
    Observation,
    Severity,
)
from apex_pipeline.monitoring.alerts.outbox import LEASE, MAX_AGE, pause
from apex_pipeline.postgres import migrations
from apex_pipeline_tests.support.ends import execute, query
from apex_pipeline_tests.support.other_logins import login
from apex_pipeline_tests.support.recording_channel import Broken, Recorder, record
from apex_pipeline_tests.support.rule_findings import finding
from apex_pipeline_tests.support.waiting import SECONDS


@pytest.fixture
def url(dagster_storage: str) -> str:
    """A database with Dagster's tables, and the journal's beside them."""
    return dagster_storage


@pytest.fixture
def journal(url: str) -> Iterator[Journal]:
    with Journal(url) as opened:
        yield opened


def test_no_other_login_holds_up_the_journal(journal, url):
    """Any login of a server may connect, unless it is revoked, and lock as it likes."""
    record(journal, finding("a"))
    with login(url) as other, psycopg.connect(other) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(730833204421057)")
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege),
            connection.transaction(),
        ):
            connection.execute("LOCK TABLE apex_alerts.progress IN ROW SHARE MODE")
        assert record(journal, finding("b")) != ()


@pytest.mark.parametrize("said", ["a\0b", "\ud800", "\\u0000"])
def test_an_incident_is_kept_and_told_whatever_others_said_of_it(journal, said):
    fault = finding("a", title=said, cause=said, cause_key=said, facts=((said, said),))
    journal.record(
        "test",
        lambda _: ([Observation("a", (fault,))], {"said": [said]}),
        ("teams",),
        datetime.now(UTC),
    )
    notice = journal.outbox.claim("teams")
    assert notice is not None
    journal.outbox.failed(notice, said, None)
    assert record(journal, fault) == ()


def due_now(url: str) -> None:
    """Let the time pass that a notice has to wait."""
    execute(url, "UPDATE apex_alerts.outbox SET next_attempt_at = now()")


def soon() -> float:
    return 20.0


def test_the_tables_are_made_by_whoever_is_first_however_many_there_are(
    empty_database_url,
):
    url = empty_database_url

    def run(number: int) -> int:
        with Journal(url) as journal:
            return len(record(journal, finding("a")))

    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(run, range(4)))
    # And of those who find the same, one tells.
    assert sorted(told) == [0, 0, 0, 1]
    assert query(url, "SELECT count(*) FROM apex_alerts.incident") == [(1,)]
    assert migrations.pending(url, migrations.MigrationFolder.ALERTS) == []


def test_of_two_who_find_the_same_at_once_the_second_finds_it_known(journal, url):
    record(journal)
    waiting = """
        SELECT count(*) FROM pg_locks
        WHERE locktype = 'relation' AND NOT granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    """
    others: list[Future[tuple[Notice, ...]]] = []

    def look(_: WatcherProgress | None):
        with_other = pool.submit(record, second, finding("a"))
        others.append(with_other)
        deadline = time.monotonic() + 60
        while not with_other.done() and query(url, waiting) == [(0,)]:
            assert time.monotonic() < deadline
        return ([Observation("a", (finding("a"),))], {})

    with Journal(url) as second, ThreadPoolExecutor(1) as pool:
        told = journal.record("first", look, ["teams"], datetime.now(UTC))
        assert len(told) == 1
        assert others[0].result(SECONDS) == ()


def test_tables_that_somebody_has_dropped_are_made_again(journal, url):
    record(journal, finding("a"))
    execute(url, "DROP INDEX apex_alerts.incident_open_idx")
    execute(url, "DROP TABLE apex_alerts.outbox")
    assert migrations.apply(url, migrations.MigrationFolder.ALERTS) == [
        "alerts_0001_incidents",
        "alerts_0002_locations",
        "alerts_0003_unaudited",
    ]
    assert journal.outbox.claim("teams") is None


def test_both_schemas_may_share_a_database(empty_database_url):
    url = empty_database_url
    for part in migrations.MigrationFolder:
        migrations.apply(url, part)
    assert [migrations.pending(url, part) for part in migrations.MigrationFolder] == [
        [],
        [],
    ]


def test_every_column_says_what_it_is(journal, url):
    journal.incidents()
    undescribed = query(
        url,
        """
        SELECT relname, attname FROM pg_attribute
        JOIN pg_class ON pg_class.oid = attrelid
        WHERE relnamespace = 'apex_alerts'::regnamespace AND relkind = 'r'
            AND attnum > 0 AND col_description(attrelid, attnum) IS NULL
        """,
    )
    assert undescribed == []


def test_an_incident_comes_back_as_it_was_written(journal):
    written = finding(
        "a/b",
        "late",
        facts=(("Rows", "3"), ("Reason", "none")),
        link="http://127.0.0.1:3000/runs/1",
        is_repeated=False,
        severity=Severity.WARNING,
    )
    record(journal, written, scope="a")
    (incident,) = journal.incidents()
    for name in ("fingerprint", "severity", "remedy", "facts", "link", "inhibits"):
        assert getattr(incident, name) == getattr(written, name)
    assert incident.told_at == incident.opened_at
    record(journal, scope="a")
    assert journal.incidents() == []
    (resolved,) = journal.incidents(resolved_within=timedelta(hours=1))
    assert resolved.resolved_at is not None


def test_code_locations_that_share_a_database_see_nothing_of_each_other(url):
    with Journal(url, "ours") as ours, Journal(url, "theirs") as theirs:
        opened = finding("a")
        now = datetime.now(UTC)
        assert len(record(ours, opened, channels=("teams",))) == 1
        assert len(record(theirs, opened, channels=("teams",))) == 1
        ours.silences.put("b", now + timedelta(hours=1), "planned")
        assert theirs.silences.in_force() == []
        # One is well again; the other is not.
        record(ours, channels=("teams",))
        assert ours.incidents() == []
        assert [each.fingerprint for each in theirs.incidents()] == ["a"]
        our_teams, their_teams = Recorder("teams"), Recorder("teams")
        deliver(ours.outbox, [our_teams], 30)
        deliver(theirs.outbox, [their_teams], 30)
        assert our_teams.kinds == [NoticeKind.OPENED, NoticeKind.RESOLVED]
        assert their_teams.kinds == [NoticeKind.OPENED]
        ours.forget_old()
        assert ours.progress("test") is not None
    with Journal(url, "a third") as third:
        assert third.progress("test") is None
        assert third.outbox.backlogs(["teams"]) == []


def test_incidents_of_before_there_were_locations_belong_to_the_only_name(
    empty_database_url,
):
    url = empty_database_url
    first = Path(__file__).parents[3] / "sql/alerts/alerts_0001_incidents.sql"
    execute(url, first.read_text())
    execute(
        url,
        "INSERT INTO apex_alerts.progress (name, state, updated_at)"
        " VALUES ('test', '{}', now())",
    )
    with Journal(url) as journal:
        assert journal.progress("test") is not None
        record(journal, finding("a"))
        assert len(journal.incidents()) == 1


def test_a_silence_holds_until_its_end(journal):
    until = datetime.now(UTC) + timedelta(hours=1)
    journal.silences.put("a", until, "planned")
    assert record(journal, finding("a/b")) == ()
    ((silence, reason),) = journal.silences.in_force()
    assert (silence.scope, silence.until, reason) == ("a", until, "planned")
    (notice,) = record(journal, finding("a/b"), now=until)
    assert notice.kind is NoticeKind.OPENED


def test_progress_is_written_with_what_was_found_or_not_at_all(journal):
    seen = []

    def look(progress):
        seen.append(progress and progress.state)
        return ([Observation("a", (finding("a"),))], {"after": len(seen)})

    now = datetime.now(UTC)
    journal.record("events", look, [], now)

    def breaks(_):
        look(None)
        raise DatabaseError("the other storage is gone")

    with pytest.raises(DatabaseError, match="other storage"):
        journal.record("events", breaks, [], now)
    journal.record("events", look, [], now)
    assert seen == [None, None, {"after": 1}]
    assert journal.progress("events").updated_at == now
    assert journal.progress("nobody") is None


def test_each_channel_gets_each_notice(journal):
    record(journal, finding("a"))
    record(journal)
    teams, email = Recorder("teams"), Recorder("email")
    deliver(journal.outbox, [teams, email], soon())
    assert teams.kinds == email.kinds == [NoticeKind.OPENED, NoticeKind.RESOLVED]
    deliver(journal.outbox, [teams, email], soon())
    assert len(teams.taken) == 2


def test_a_channel_whose_code_fails_keeps_nothing_from_the_others(journal, caplog):
    names = ("broken", "email")
    record(journal, finding("a"), channels=names)
    email = Recorder("email")
    broken, other = deliver(journal.outbox, [Broken(), email], soon())
    assert (broken.taken, other.taken, other.error) == (0, 1, None)
    assert email.kinds == [NoticeKind.OPENED]
    (backlog,) = journal.outbox.backlogs(names)
    assert (backlog.channel, backlog.error) == ("broken", broken.error)
    assert "ZeroDivisionError" in backlog.error
    assert "sentinel" not in backlog.error
    assert "ZeroDivisionError: sentinel" in caplog.text


def test_a_dead_channel_neither_holds_up_the_other_nor_loses_anything(journal, url):
    teams, email = Recorder("teams"), Recorder("email")
    teams.is_dead = True
    record(journal, finding("a"))
    for _ in range(8):
        deliver(journal.outbox, [teams, email], soon())
        due_now(url)
    record(journal)
    deliver(journal.outbox, [teams, email], soon())
    assert email.kinds == [NoticeKind.OPENED, NoticeKind.RESOLVED]
    (backlog,) = journal.outbox.backlogs(["teams", "email"])
    assert (backlog.channel, backlog.waiting) == ("teams", 2)
    assert backlog.error == "it answers HTTP 503 for now"

    teams.is_dead = False
    due_now(url)
    deliver(journal.outbox, [teams, email], soon())
    assert teams.kinds == [NoticeKind.OPENED, NoticeKind.RESOLVED]
    assert journal.outbox.backlogs(["teams", "email"]) == []


class Hanging:
    """A channel that is not done before the test is."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_over = threading.Event()

    def send(self, notice: Notice) -> None:
        self.is_over.wait(SECONDS)
        raise DeliveryError("the test is over")


def test_a_channel_that_is_never_done_is_left_when_the_time_for_all_is_over(journal):
    record(journal, finding("a"), finding("b"))
    teams, email = Hanging("teams"), Recorder("email")
    of_teams, of_email = deliver(journal.outbox, [teams, email], 0.5, least=0.0)
    teams.is_over.set()
    assert (of_teams.taken, of_email.taken) == (0, 2)
    assert "did not accept the notice within" in (of_teams.error or "")
    (backlog,) = journal.outbox.backlogs(["teams", "email"])
    assert (backlog.channel, backlog.waiting) == ("teams", 2)


def test_no_message_is_begun_that_could_not_end(journal):
    record(journal, finding("a"))
    teams = Recorder("teams")
    assert deliver(journal.outbox, [teams], LEAST_SECONDS / 2)[0].taken == 0
    assert deliver(journal.outbox, [teams], LEAST_SECONDS * 2)[0].taken == 1


def test_that_it_is_over_is_not_told_before_that_it_began(journal, url):
    teams = Recorder("teams")
    record(journal, finding("a"), channels=("teams",))
    teams.is_dead = True
    deliver(journal.outbox, [teams], soon())
    record(journal, channels=("teams",))
    teams.is_dead = False
    deliver(journal.outbox, [teams], soon())
    assert teams.taken == []
    due_now(url)
    deliver(journal.outbox, [teams], soon())
    assert teams.kinds == [NoticeKind.OPENED, NoticeKind.RESOLVED]


def test_what_is_too_old_to_be_of_use_is_given_up_and_counted(journal, url):
    long_ago = datetime.now(UTC) - MAX_AGE - timedelta(minutes=1)
    record(journal, finding("a"), now=long_ago, channels=("teams",))
    teams = Recorder("teams")
    deliver(journal.outbox, [teams], soon())
    assert teams.taken == []
    (backlog,) = journal.outbox.backlogs(["teams"])
    assert (backlog.waiting, backlog.given_up) == (0, 1)


def test_waits_are_doubled_and_bounded_and_wishes_are_respected_within_an_hour():
    waits = [pause(n, None).total_seconds() for n in (1, 2, 3, 30)]
    assert waits == [20, 40, 80, 900]
    assert pause(1, 300.0).total_seconds() == 300
    assert pause(9, 1.0).total_seconds() == 900
    assert pause(1, 1e9).total_seconds() == 3600


def test_what_a_sender_has_is_not_sent_by_another_meanwhile(journal):
    record(journal, finding("a"), channels=("teams",))
    held = journal.outbox.claim("teams")
    assert held is not None
    assert journal.outbox.claim("teams") is None


def test_a_channels_own_failure_is_not_told_to_itself(journal):
    record(journal, finding("channel-failing/teams"), scope="channel-failing")
    assert journal.outbox.claim("teams") is None
    assert journal.outbox.claim("email") is not None


def test_what_is_long_over_is_forgotten_and_what_is_not_is_kept(journal, url):
    record(journal, finding("a"), finding("b"))
    record(journal, finding("b"))
    deliver(journal.outbox, [Recorder("teams")], soon())
    execute(
        url,
        "UPDATE apex_alerts.incident SET opened_at = '2020-01-01',"
        " resolved_at = '2020-01-02' WHERE fingerprint = 'a'",
    )
    execute(
        url,
        "UPDATE apex_alerts.outbox SET delivered_at = delivered_at - interval '91 days'",
    )
    journal.forget_old()
    assert [
        i.fingerprint for i in journal.incidents(resolved_within=timedelta(days=9999))
    ] == ["b"]
    assert query(url, "SELECT DISTINCT channel FROM apex_alerts.outbox") == [("email",)]


def test_incidents_decided_elsewhere_are_taken_over_once(journal):
    record(journal, finding("a"))
    (known,) = journal.incidents()
    other = replace(known, fingerprint="b")
    for _ in range(2):
        journal.adopt([known, other])
    assert [i.fingerprint for i in journal.incidents()] == ["a", "b"]
    (over,) = record(journal, scope="b")
    assert (over.kind, over.title) == (NoticeKind.RESOLVED, known.title)


KILLED = """
import os, signal, sys
from pathlib import Path
from apex_pipeline.monitoring.alerts import outbox
from apex_pipeline.monitoring.alerts.journal import Journal
from apex_pipeline.monitoring.alerts.channels import LEAST_SECONDS, deliver
from apex_pipeline_tests.support.recording_channel import record
from apex_pipeline_tests.support.rule_findings import finding

url, taken, where = sys.argv[1:]

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

class File:
    name = "teams"
    def send(self, notice):
        if where == "before sending":
            die()
        with open(taken, "a") as file:
            print(notice.key, file=file)
        if where == "after sending":
            die()

if where == "while deciding":
    outbox.put = die
with Journal(url) as journal:
    record(journal, finding("a"), channels=("teams",))
    if where == "after deciding":
        die()
    deliver(journal.outbox, [File()], 20.0)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "times"),
    [
        ("while deciding", 1),
        ("after deciding", 1),
        ("before sending", 1),
        ("after sending", 2),
        ("nowhere", 1),
    ],
)
def test_a_kill_at_any_step_loses_no_notice(journal, url, tmp_path, where, times):
    taken = tmp_path / "taken"
    journal.incidents()
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, url, str(taken), where],
        cwd=Path(__file__).parents[3],
        check=False,
    )
    assert ended.returncode == (0 if where == "nowhere" else -signal.SIGKILL)

    # The next look finds the same, and the lease of the dead ends.
    record(journal, finding("a"), channels=("teams",))
    execute(
        url,
        "UPDATE apex_alerts.outbox SET next_attempt_at = next_attempt_at"
        f" - interval '{LEASE.total_seconds()} s'",
    )
    teams = Recorder("teams")
    deliver(journal.outbox, [teams], soon())
    keys = taken.read_text().split("\n")[:-1] if taken.exists() else []
    keys += [notice.key for notice in teams.taken]
    assert len(keys) == times
    assert len(set(keys)) == 1


def test_a_message_names_the_variable_that_the_address_comes_from(url):
    with (
        Journal(url.replace("@", "x@"), wait_seconds=0) as journal,
        pytest.raises(DatabaseError, match="DAGSTER_POSTGRES_URL"),
    ):
        journal.incidents()
