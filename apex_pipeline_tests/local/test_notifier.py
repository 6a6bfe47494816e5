"""Alerts of `apex up` about its children, even while nothing can be written."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from apex_pipeline.local import processes
from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline.local.notifier import Notifier
from apex_pipeline.monitoring.alerts.journal import Journal
from apex_pipeline.monitoring.alerts.notice import NoticeKind
from apex_pipeline_tests.support.recording_channel import Recorder
from apex_pipeline_tests.support.waiting import wait_until

DAEMON = "Dagster daemon"


@pytest.fixture
def teams() -> Recorder:
    return Recorder("teams")


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    found = EmbeddedPostgres(tmp_path_factory.mktemp("storage"))
    found.start()
    yield found
    found.stop()


@pytest.fixture
def server(started: EmbeddedPostgres) -> EmbeddedPostgres:
    """A server that a test may stop."""
    if not started.pid:
        started.start()
    return started


@pytest.fixture
def storage_url(server: EmbeddedPostgres) -> str:
    """URL of a database of this test's on that server."""
    name = f"storage_{uuid4().hex}"
    server.create_database(name)
    return server.url(name)


def watching(
    journal: Journal,
    *channels: Recorder,
    interval_seconds: float = 0.05,
    look_seconds: float = 60.0,
) -> Notifier:
    return Notifier(
        journal,
        channels,
        lambda name: Path(f"/logs/{name}.log"),
        interval_seconds=interval_seconds,
        look_seconds=look_seconds,
    )


def titles(channel: Recorder) -> list[str]:
    return [f"{n.kind.value}: {n.title}" for n in channel.taken]


def test_a_burst_of_deaths_is_one_incident_and_its_end_is_told(
    empty_database_url, teams
):
    with (
        Journal(empty_database_url) as journal,
        watching(journal, teams) as notifier,
    ):
        for _ in range(3):
            notifier.died(DAEMON, "was killed by SIGKILL")
        notifier.returned(DAEMON)
        wait_until(lambda: len(teams.taken) == 2)
        assert titles(teams) == [
            "opened: The Dagster daemon died",
            "resolved: The Dagster daemon died",
        ]
        assert teams.taken[0].cause == "It was killed by SIGKILL."
        assert dict(teams.taken[1].facts)["Times"] == "3"


def test_what_an_earlier_start_left_open_is_over(empty_database_url, teams):
    with Journal(empty_database_url) as journal:
        with watching(journal, teams) as notifier:
            notifier.died(DAEMON, "was killed by SIGKILL")
            wait_until(lambda: teams.taken)
        with watching(journal, teams):
            wait_until(lambda: teams.kinds[1:] == [NoticeKind.RESOLVED])
    assert teams.kinds[0] is NoticeKind.OPENED


def test_the_death_of_the_storage_itself_is_told_and_so_is_its_return(
    server, storage_url, teams
):
    email = Recorder("email")
    email.is_dead = True
    with (
        Journal(storage_url, wait_seconds=5) as journal,
        # So long that nothing but what is noted has it look.
        watching(journal, teams, email, interval_seconds=60) as notifier,
    ):
        # This one is in the journal, and ends while the journal is gone.
        notifier.died(DAEMON, "was killed by SIGKILL")
        wait_until(lambda: teams.taken)
        # A notice that the channel has, and the journal not yet as delivered, holds back
        # the next one of its incident until its lease ends, minutes later.
        wait_until(lambda: not journal.outbox.backlogs(["teams"]))

        server.stop()
        notifier.died("database", "was killed by SIGKILL")
        wait_until(lambda: len(teams.taken) == 2)
        notifier.returned(DAEMON)
        server.start()
        notifier.returned("database")
        wait_until(lambda: len(teams.taken) == 4)
        assert titles(teams)[:2] == [
            "opened: The Dagster daemon died",
            "opened: The database died",
        ]
        assert sorted(titles(teams)[2:]) == [
            "resolved: The Dagster daemon died",
            "resolved: The database died",
        ]
        assert journal.incidents() == []
        both = ["teams", "email"]
        wait_until(
            lambda: (
                [(b.channel, b.waiting) for b in journal.outbox.backlogs(both)]
                == [("email", 3)]
            )
        )


def test_a_database_that_is_back_may_take_a_look_longer_until_it_answers(
    server, storage_url, teams
):
    with (
        Journal(storage_url, wait_seconds=1) as journal,
        # So long that nothing but what is noted has it look.
        watching(journal, teams, interval_seconds=60) as notifier,
    ):
        wait_until(lambda: journal.progress("apex up"))
        server.stop()
        notifier.died("database", "was killed by SIGKILL")
        wait_until(lambda: teams.taken)
        # Its process is there again, and takes no connection yet.
        notifier.returned("database")
        wait_until(lambda: teams.taken[1:])
    assert titles(teams) == [
        "opened: The database died",
        "resolved: The database died",
    ]


def test_a_death_is_told_while_the_journal_answers_and_cannot_be_written(
    storage_url, teams
):
    with (
        Journal(storage_url) as journal,
        watching(journal, teams, look_seconds=1.0) as notifier,
    ):
        wait_until(lambda: journal.progress("apex up"))
        with psycopg.connect(storage_url) as holder:
            holder.execute("LOCK TABLE apex_alerts.incident IN EXCLUSIVE MODE")
            notifier.died(DAEMON, "was killed by SIGKILL")
            wait_until(lambda: teams.taken)
        notifier.returned(DAEMON)
        wait_until(lambda: "resolved: The Dagster daemon died" in titles(teams))
    # A busy machine may make the storage look unusable first.
    assert "opened: The Dagster daemon died" in titles(teams)


def freeze(server: EmbeddedPostgres) -> None:
    """Like a disk that does not answer, or a machine that is suspended."""
    signal_all(server, signal.SIGSTOP)


def thaw(server: EmbeddedPostgres) -> None:
    signal_all(server, signal.SIGCONT)


def signal_all(server: EmbeddedPostgres, number: signal.Signals) -> None:
    assert server.pid
    for pid in {server.pid, *(each.pid for each in processes.descendants(server.pid))}:
        os.kill(pid, number)


@pytest.mark.parametrize(
    ("fail", "mend"),
    [
        (EmbeddedPostgres.stop, EmbeddedPostgres.start),
        # It takes several time limits.
        pytest.param(freeze, thaw, marks=pytest.mark.slow),
    ],
)
def test_a_storage_that_does_not_answer_is_told_once(
    server, storage_url, teams, fail, mend
):
    with (
        Journal(storage_url, wait_seconds=1) as journal,
        watching(journal, teams, look_seconds=2.0),
    ):
        wait_until(lambda: journal.progress("apex up"))
        fail(server)
        try:
            wait_until(lambda: teams.kinds[-1:] == [NoticeKind.OPENED])
        finally:
            mend(server)
        wait_until(lambda: teams.kinds[-1] is NoticeKind.RESOLVED)
    # On a busy machine it may look unusable before, too.
    assert titles(teams) == [
        "opened: Dagster's storage cannot be used",
        "resolved: Dagster's storage cannot be used",
    ] * (len(teams.taken) // 2)
