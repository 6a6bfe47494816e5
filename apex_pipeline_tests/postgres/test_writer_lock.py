import re
import subprocess
import sys
from collections.abc import Callable

import psycopg
import pytest

from apex_pipeline.errors import DatabaseError, WriterLockLostError
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.store import Store, connect
from apex_pipeline.postgres.table_locks import HeldElsewhere
from apex_pipeline.postgres.writer_lock import (
    WriterLock,
    try_reconciliation_lock,
    try_writer_lock,
)
from apex_pipeline_tests.support.other_logins import login
from apex_pipeline_tests.support.other_servers import pooled
from apex_pipeline_tests.support.waiting import wait_until

pytestmark = pytest.mark.any_server

_HOLD = """
import sys
from apex_pipeline.postgres.store import connect
from apex_pipeline.postgres.writer_lock import WriterLock

store = connect(sys.argv[1])
lock = store.writer_lock()
print(isinstance(lock, WriterLock), flush=True)
sys.stdin.read()
"""

_HOLDER = """
    SELECT pid, backend_xmin FROM pg_stat_activity JOIN pg_locks USING (pid)
    WHERE relation = CAST('writer_lock' AS regclass) AND granted AND database = (
        SELECT oid FROM pg_database WHERE datname = current_database()
    )
"""
_FORMER_LOCK = "SELECT pg_advisory_lock(730833204421057)"


def take(store: Store) -> WriterLock:
    lock = store.writer_lock()
    assert isinstance(lock, WriterLock)
    return lock


def held_by(store: Store) -> str:
    lock = store.writer_lock()
    assert isinstance(lock, HeldElsewhere)
    return lock.holders


def test_there_is_one_writer_at_a_time(store, database_url):
    with connect(database_url) as other:
        lock = take(store)
        assert held_by(store)
        assert held_by(other)
        lock.ping()

        lock.release()

        with take(other) as taken:
            taken.ping()
            assert held_by(store)
        take(store).release()


def test_writers_of_other_databases_do_not_matter(
    store, create_database, migrated_database
):
    with (
        take(store),
        connect(create_database(migrated_database)) as other,
        take(other) as lock,
    ):
        lock.ping()


def test_a_lock_dies_with_its_connection_and_says_so(store, database_url):
    lock = take(store)
    with psycopg.connect(database_url) as connection:
        ((pid, _),) = connection.execute(_HOLDER).fetchall()
        connection.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))

    for _ in range(2):
        with pytest.raises(WriterLockLostError, match="Another run may have started"):
            lock.ping()
    lock.release()

    with take(store) as again:
        again.ping()


def test_a_lock_dies_with_its_process(store, database_url):
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, database_url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"True\n"
    assert held_by(store)

    holder.kill()
    holder.communicate()

    def is_free() -> bool:
        lock = store.writer_lock()
        if isinstance(lock, WriterLock):
            lock.release()
        return isinstance(lock, WriterLock)

    wait_until(is_free)


def test_a_lock_holds_back_neither_vacuum_nor_the_building_of_indexes(
    store, database_url
):
    with take(store) as lock, psycopg.connect(database_url) as connection:
        assert connection.execute(_HOLDER).fetchall()[0][1] is None
        lock.ping()
        assert connection.execute(_HOLDER).fetchall()[0][1] is None


@pytest.mark.parametrize("acquire", [try_writer_lock, try_reconciliation_lock])
def test_who_comes_second_learns_who_is_first_and_since_when(
    database_url, acquire: Callable[[Database], WriterLock | HeldElsewhere]
):
    with (
        Database(database_url, application_name="the first") as first,
        Database(database_url, application_name="the second") as second,
    ):
        lock = acquire(first)
        assert isinstance(lock, WriterLock)
        with lock:
            refused = acquire(second)
            assert isinstance(refused, HeldElsewhere)
    assert re.fullmatch(
        r"role apex \(application the first, process \d+, "
        r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, now idle in transaction\)",
        refused.holders,
    )
    assert refused.told("x") == f"x: {refused.holders}"
    assert HeldElsewhere("").told("x") == "x"


def test_a_sync_and_a_reconciliation_do_not_exclude_each_other(store, database_url):
    with take(store), Database(database_url, application_name="tests") as database:
        lock = try_reconciliation_lock(database)
        assert isinstance(lock, WriterLock)
        lock.release()


def test_who_may_only_read_cannot_hold_the_lock_in_any_way(store, database_url):
    reading = "SELECT ON ALL TABLES IN SCHEMA public"
    with (
        login(database_url, reading) as url,
        psycopg.connect(url, autocommit=True) as analyst,
    ):
        for mode in (
            *("ROW SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "SHARE"),
            *("SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE"),
        ):
            with (
                analyst.transaction(),
                pytest.raises(psycopg.errors.InsufficientPrivilege),
            ):
                analyst.execute(f"LOCK TABLE writer_lock IN {mode} MODE".encode())
        # What she may lock is in nobody's way.
        with analyst.transaction():
            analyst.execute("LOCK TABLE writer_lock IN ACCESS SHARE MODE")
            take(store).release()
        # The lock of the release before, which any login may hold.
        analyst.execute(_FORMER_LOCK)
        take(store).release()


def test_a_writer_of_the_release_before_keeps_others_out(store, database_url):
    with (
        login(database_url, "UPDATE ON writer_lock") as url,
        psycopg.connect(url, autocommit=True, application_name="former") as former,
    ):
        former.execute(_FORMER_LOCK)
        assert "application former" in held_by(store)
        former.execute("SELECT pg_advisory_unlock_all()")
        with take(store):
            got = former.execute("SELECT pg_try_advisory_lock(730833204421057)")
            assert got.fetchone() == (False,)


def test_a_role_without_the_privilege_is_told_so(database_url):
    reading = "SELECT ON ALL TABLES IN SCHEMA public"
    with (
        login(database_url, reading) as url,
        connect(url) as store,
        pytest.raises(DatabaseError, match="permission denied for table writer_lock"),
    ):
        store.writer_lock()


# Debian's pgbouncer, which .ci/run installs and other machines may lack.
@pytest.mark.slow
def test_the_lock_holds_through_a_transaction_pooler(database_url, tmp_path):
    with (
        pooled(database_url, tmp_path) as url,
        connect(url) as one,
        connect(url) as two,
    ):
        lock = take(one)
        assert "application apex_pipeline" in held_by(two)
        lock.ping()
        lock.release()
        take(two).release()
