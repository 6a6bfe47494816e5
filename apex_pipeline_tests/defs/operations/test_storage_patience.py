"""A storage of Dagster's that hangs: each command ends, and says what hangs."""

import json
import os
import shutil
import signal
import socket
import subprocess
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
import pytest

from apex_pipeline.defs.operations.dagster_storage import PostgresOfVariable
from apex_pipeline.defs.storage_timeouts import bound_storage
from apex_pipeline.errors import DatabaseUnavailableError
from apex_pipeline_tests.support.apex_command import APEX, INHERITED
from apex_pipeline_tests.support.ends import environment, query
from apex_pipeline_tests.support.waiting import SECONDS, wait_until

PROJECT = Path(__file__).parents[3]


@contextmanager
def frozen(pid: int):
    """The kernel still takes connections for it, and nothing answers any more."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def variables(emulator, database_url, empty_database_url, tmp_path):
    home = tmp_path / "dagster"
    home.mkdir()
    shutil.copy(PROJECT / "dagster.yaml", home)
    return environment(emulator, database_url, tmp_path / "state") | {
        "DAGSTER_HOME": str(home),
        "DAGSTER_POSTGRES_URL": empty_database_url,
    }


@pytest.fixture
def apex(variables, tmp_path):
    @contextmanager
    def start(*arguments):
        with subprocess.Popen(
            [APEX, *arguments],
            env=INHERITED | variables,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    return start


@pytest.mark.slow
@pytest.mark.parametrize("command", ["sync", "reconcile"])
def test_a_command_that_needs_the_storage_ends_and_names_it(apex, postgres, command):
    with frozen(postgres.pid), apex(command) as process:
        told, complaint = process.communicate(timeout=SECONDS)
    assert (process.returncode, told) == (1, "")
    assert complaint.startswith("apex: Dagster's storage hangs: ")
    assert complaint.count("\n") == 1
    assert "DAGSTER_POSTGRES_URL" in complaint


@pytest.mark.slow
def test_a_report_is_written_without_a_storage_that_hangs(apex, postgres):
    with frozen(postgres.pid), apex("report", "--no-screenshots") as process:
        told, complaint = process.communicate(timeout=SECONDS)
    assert (process.returncode, complaint) == (0, "")
    assert "Dagster's storage hangs" in Path(told.split(": ")[0]).read_text()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_waits_for_the_storage_can_be_ended(apex, variables, number):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        variables["DAGSTER_POSTGRES_URL"] = (
            f"postgresql://u:p@127.0.0.1:{silent.getsockname()[1]}/dagster"
        )
        with apex("sync") as process, silent.accept()[0]:
            process.send_signal(number)
            _, complaint = process.communicate(timeout=SECONDS)
    assert (process.returncode, complaint.strip()) == (1, "Aborted!")


def test_the_doctor_names_the_storage_and_not_the_daemon(apex, postgres):
    with frozen(postgres.pid), apex("doctor", "--json") as process:
        told, _ = process.communicate(timeout=SECONDS)
    lines = {line["name"]: line for line in json.loads(told)["lines"]}
    assert lines["Dagster storage"]["state"] == "failed"
    assert "does not answer" in lines["Dagster storage"]["measured"]
    assert "DAGSTER_POSTGRES_URL" in lines["Dagster storage"]["remedy"]
    assert lines["Dagster daemon"]["measured"] == "because of: Dagster storage"
    assert lines["schedule"]["measured"] == "because of: Dagster storage"


@pytest.fixture
def patience():
    yield bound_storage
    bound_storage()


def running(url):
    return query(
        url, "SELECT query FROM pg_stat_activity WHERE query ~ '^SELECT pg_sl'"
    )


def test_a_statement_that_hangs_is_given_up_and_the_next_one_is_answered(
    empty_database_url, patience
):
    patience(0.5)
    for _ in range(2):
        with closing(psycopg2.connect(empty_database_url)) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT 1")
            assert cursor.fetchall() == [(1,)]
            with pytest.raises(DatabaseUnavailableError, match="DAGSTER_POSTGRES_URL"):
                cursor.execute("SELECT pg_sleep(60)")
            assert connection.closed
    wait_until(lambda: not running(empty_database_url), seconds=30)


def test_a_storage_that_vanishes_is_noticed_unless_its_url_says_otherwise(
    empty_database_url, monkeypatch
):
    given = f"{empty_database_url}?connect_timeout=3&keepalives_idle=7"
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", given)
    storage = PostgresOfVariable.from_config_value(None, {})
    with closing(psycopg2.connect(storage.postgres_url)) as connection:
        found = connection.get_dsn_parameters()
    assert found["connect_timeout"] == "3"
    assert found["keepalives_idle"] == "7"
    assert found["tcp_user_timeout"] == "40000"
