"""No statement waits for ever, and errors name the holder of a lock."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Connection

from apex_pipeline.analytics.csv.csv_files import snapshot
from apex_pipeline.errors import DatabaseUnavailableError, SchemaMissingError
from apex_pipeline.monitoring.doctor.postgres_state import Postgres
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.time_limits import TimeBudget
from apex_pipeline.postgres.writer_lock import WriterLock, try_writer_lock
from apex_pipeline_tests.support.faulty_network import FaultyNetwork
from apex_pipeline_tests.support.waiting import SECONDS, wait_until

OURS = "apex_pipeline under test"

_SESSIONS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE application_name = %s AND datname = current_database()
"""


@pytest.fixture
def admin(database_url: str) -> Iterator[psycopg.Connection]:
    """A connection to the same database, in autocommit."""
    with psycopg.connect(
        database_url, autocommit=True, application_name="psql"
    ) as connection:
        yield connection


@pytest.fixture
def network(database_url: str) -> Iterator[FaultyNetwork]:
    """A way to the database that can be broken."""
    with FaultyNetwork(int(str(conninfo_to_dict(database_url)["port"]))) as opened:
        yield opened


@pytest.fixture
def through(database_url: str, network: FaultyNetwork) -> str:
    """The URL of the database through that network.

    Without TLS a request to cancel needs no answer.
    """
    port = str(conninfo_to_dict(database_url)["port"])
    return database_url.replace(f":{port}/", f":{network.port}/") + "?sslmode=disable"


def reach(url: str, *, statement_seconds: float = 300.0) -> Database:
    return Database(url, statement_seconds=statement_seconds, application_name=OURS)


def run(statement: str) -> Callable[[Connection], object]:
    return lambda connection: connection.exec_driver_sql(statement).scalar()


def sessions(admin: psycopg.Connection) -> int:
    row = admin.execute(_SESSIONS, (OURS,)).fetchone()
    return row[0] if row else 0


def setting(database: Database, name: str) -> object:
    return database.transact(run(f"SELECT current_setting('{name}')"))


@pytest.mark.parametrize(
    ("spent", "statement", "lock", "connecting"),
    [
        (0.0, 100.0, 90.0, 30.0),
        (50.0, 50.0, 45.0, 30.0),
        (90.0, 20.0, 10.0, 10.0),
        (1000.0, 20.0, 1.5, 2.0),
    ],
)
def test_what_is_left_of_a_budget_bounds_what_is_asked_and_leaves_a_grace(
    spent, statement, lock, connecting
):
    now = 7.0
    budget = TimeBudget(300.0, 100.0, clock=lambda: now)

    now += spent

    assert budget.limits().statement == statement
    assert budget.limits().lock == lock
    assert budget.connecting(30.0) == connecting


def test_a_lock_is_waited_for_four_minutes_at_the_most():
    assert TimeBudget(3600.0).limits().lock == 240.0


def test_the_server_knows_the_limits_of_each_transaction_and_keeps_none(
    database_url,
):
    with reach(database_url, statement_seconds=8.0) as database:
        assert setting(database, "statement_timeout") == "8s"
        assert setting(database, "lock_timeout") == "7200ms"
        assert setting(database, "idle_in_transaction_session_timeout") == "30s"
        with database.connect() as connection:
            found = connection.execute("SHOW statement_timeout").fetchone()
    assert found == ("0",)


def limits(connection: psycopg.Connection) -> list[object]:
    names = ("statement_timeout", "lock_timeout")
    rows = [connection.execute(f"SHOW {name}".encode()).fetchone() for name in names]
    return [row[0] for row in rows if row]


def test_the_server_knows_the_limits_of_connections_of_their_own(database_url):
    with reach(database_url, statement_seconds=8.0) as database:
        with database.session() as connection:
            assert limits(connection) == ["8s", "7200ms"]
        with snapshot(database) as connection:
            assert limits(connection) == ["1h", "7200ms"]
        lock = try_writer_lock(database)
        assert isinstance(lock, WriterLock)
        with lock:
            assert limits(lock._connection) == ["10s", "9s"]  # noqa: SLF001  nothing else shows them
        found = Postgres(database_url)._ask(limits)  # noqa: SLF001  all its checks use it
        assert found == ["2s", "1800ms"]


def test_a_session_that_fails_is_rolled_back_and_closed(database_url, admin):
    def fail() -> None:
        with reach(database_url) as database, database.session() as connection:
            connection.execute("CREATE TABLE made (id int)")
            connection.execute("SELECT FROM nowhere")

    with pytest.raises(SchemaMissingError):
        fail()
    assert admin.execute("SELECT to_regclass('made')").fetchone() == (None,)
    wait_until(lambda: sessions(admin) == 0)


def test_a_statement_that_takes_too_long_is_ended_and_leaves_nothing_behind(
    database_url, admin
):
    with reach(database_url, statement_seconds=2.0) as database:
        with pytest.raises(DatabaseUnavailableError, match="took too long"):
            database.transact(run("SELECT pg_sleep(60)"), repeatable=True)
        assert database.transact(run("SELECT 1")) == 1
    wait_until(lambda: sessions(admin) == 0)


def test_who_holds_a_lock_is_named(database_url, admin):
    with (
        reach(database_url, statement_seconds=1.5) as database,
        admin.transaction(),
    ):
        admin.execute("LOCK TABLE campaign_metrics")
        with pytest.raises(DatabaseUnavailableError) as caught:
            database.transact(run("SELECT count(*) FROM campaign_metrics"))

    message = str(caught.value)
    assert f"role {admin.info.user} (application psql, process " in message
    assert f"{admin.info.backend_pid}, since 20" in message
    assert "now idle in transaction" in message


def test_of_sessions_that_wait_for_one_another_the_first_is_named(database_url, admin):
    with (
        reach(database_url, statement_seconds=2.0) as database,
        psycopg.connect(database_url, application_name="ddl") as second,
        ThreadPoolExecutor(1) as executor,
    ):
        with admin.transaction():
            admin.execute("LOCK TABLE campaign_metrics IN ACCESS SHARE MODE")
            waiting = executor.submit(second.execute, "LOCK TABLE campaign_metrics")
            wait_until(lambda: _is_waiting(admin, "ddl"))
            with pytest.raises(DatabaseUnavailableError, match="psql") as caught:
                database.transact(run("SELECT count(*) FROM campaign_metrics"))
        waiting.result(SECONDS)
        second.rollback()

    assert "ddl" not in str(caught.value)


def _is_waiting(connection: psycopg.Connection, application: str) -> bool:
    found = connection.execute(
        "SELECT FROM pg_stat_activity WHERE application_name = %s "
        "AND wait_event_type = 'Lock'",
        (application,),
    )
    return found.fetchone() is not None


def test_a_role_that_may_see_little_still_names_role_and_application(
    database_url, admin
):
    password = conninfo_to_dict(database_url)["password"]
    admin.execute("CREATE ROLE modest LOGIN PASSWORD 'secret'")
    try:
        admin.execute("GRANT SELECT ON campaign_metrics TO modest")
        url = database_url.replace("//apex:", "//modest:")
        url = url.replace(str(password), "secret")
        with reach(url, statement_seconds=1.5) as database, admin.transaction():
            admin.execute("LOCK TABLE campaign_metrics")
            with pytest.raises(DatabaseUnavailableError) as caught:
                database.transact(run("SELECT count(*) FROM campaign_metrics"))
    finally:
        admin.execute("DROP OWNED BY modest")
        admin.execute("DROP ROLE modest")

    assert f"role {admin.info.user} (application psql, process " in str(caught.value)
    assert "since" not in str(caught.value)


def test_a_connection_that_freezes_is_given_up_and_the_statement_cancelled(
    network, through, admin
):
    """Answers are held back; the request to cancel gets through."""

    def sleep_without_limit(connection: Connection) -> None:
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        network.freeze(answers_only=True)
        connection.exec_driver_sql("SELECT pg_sleep(300)")

    with reach(through, statement_seconds=2.0) as database:
        with pytest.raises(DatabaseUnavailableError, match="open connection"):
            database.transact(sleep_without_limit)
        wait_until(lambda: sessions(admin) == 0)
        network.mend()
        assert database.transact(run("SELECT 1")) == 1


def test_a_connection_that_froze_while_idle_is_replaced(network, through, monkeypatch):
    monkeypatch.setattr("apex_pipeline.postgres.timed_connection._BEGIN_SECONDS", 0.5)
    with reach(through) as database:
        assert database.transact(run("SELECT 1")) == 1
        network.freeze()
        mended = threading.Timer(2.5, network.mend)
        mended.start()

        assert database.transact(run("SELECT 2")) == 2
        mended.join()


def test_a_transaction_of_which_nobody_hears_any_more_lets_go_of_its_rows(
    network, through, admin, monkeypatch
):
    """As if a router had forgotten the connection; the server still believes in it."""
    monkeypatch.setattr("apex_pipeline.postgres.time_limits._LEAST_IDLE", 0.5)

    def lock_and_vanish(connection: Connection) -> None:
        connection.exec_driver_sql("LOCK TABLE campaign_metrics")
        network.forget()
        connection.exec_driver_sql("SELECT 1")

    with reach(through, statement_seconds=2.0) as database:
        with pytest.raises(DatabaseUnavailableError, match="open connection"):
            database.transact(lock_and_vanish)
        with admin.transaction():
            admin.execute("SET LOCAL lock_timeout = '60s'")
            admin.execute("LOCK TABLE campaign_metrics")


@contextmanager
def in_use(database: Database) -> Iterator[psycopg.Connection]:
    """A connection of the pool, in a transaction while the block runs."""
    begun: Future[psycopg.Connection] = Future()
    is_over = threading.Event()

    def work(connection: Connection) -> None:
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        begun.set_result(driver)
        is_over.wait(SECONDS)

    with ThreadPoolExecutor(1) as executor:
        under_way = executor.submit(database.transact, work)
        try:
            yield begun.result(SECONDS)
        finally:
            is_over.set()
        under_way.result(SECONDS)


def backend(database: Database) -> object:
    return database.transact(run("SELECT pg_backend_pid()"))


def test_a_connection_that_is_in_use_while_another_is_found_cut_is_closed(
    database_url, admin
):
    with reach(database_url) as database:
        with in_use(database) as used:
            cut = backend(database)
            admin.execute("SELECT pg_terminate_backend(%s, 10000)", (cut,))
            assert backend(database) != cut
        assert used.closed
    wait_until(lambda: sessions(admin) == 0)


def test_a_connection_that_is_in_use_when_its_database_is_closed_is_closed_after_that(
    database_url,
):
    with reach(database_url) as database, in_use(database) as used:
        database.close()
        assert not used.closed
        assert backend(database) != used.info.backend_pid
    assert used.closed


def test_idle_connections_outlive_many_transactions(database_url):
    with reach(database_url) as database:
        assert len({backend(database) for _ in range(5)}) == 1


def test_what_is_given_up_ends_at_once_here_and_on_the_server(database_url, admin):
    def is_under_way() -> bool:
        found = admin.execute(
            "SELECT FROM pg_stat_activity WHERE query LIKE %s AND state = 'active' "
            "AND application_name = %s",
            ("SELECT pg_sleep%", OURS),
        )
        return found.fetchone() is not None

    with reach(database_url) as database, ThreadPoolExecutor(1) as executor:
        under_way = executor.submit(database.transact, run("SELECT pg_sleep(300)"))
        wait_until(is_under_way)

        database.give_up()

        with pytest.raises(DatabaseUnavailableError, match="given up"):
            under_way.result(SECONDS)
        wait_until(lambda: not is_under_way())


def test_a_deadlock_is_retried_although_the_work_must_not_be_done_twice(database_url):
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE pair (id int PRIMARY KEY, value int)")
        connection.execute("INSERT INTO pair VALUES (1, 0), (2, 0)")
    both = threading.Barrier(2)
    attempts: list[int] = []

    def add(first: int, second: int) -> Callable[[Connection], None]:
        def work(connection: Connection) -> None:
            attempts.append(first)
            for key in (first, second):
                connection.exec_driver_sql(
                    "UPDATE pair SET value = value + 1 WHERE id = %(id)s", {"id": key}
                )
                if len(attempts) <= 2 and key == first:
                    both.wait(SECONDS)

        return work

    with reach(database_url) as database, ThreadPoolExecutor(2) as executor:
        done = [
            executor.submit(database.transact, add(*order))
            for order in ((1, 2), (2, 1))
        ]
        for each in done:
            each.result(SECONDS)
        values = database.transact(run("SELECT array_agg(value) FROM pair"))

    assert len(attempts) == 3
    assert values == [2, 2]
