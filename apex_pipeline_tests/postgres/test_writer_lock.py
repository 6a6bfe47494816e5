import subprocess
import sys

import psycopg
import pytest

from apex_pipeline.errors import WriterLockLostError
from apex_pipeline.postgres.store import Store, connect
from apex_pipeline.postgres.writer_lock import WriterLock
from apex_pipeline_tests.support.waiting import wait_until

_HOLD = """
import sys
from apex_pipeline.postgres.store import connect

store = connect(sys.argv[1])
lock = store.writer_lock()
print(lock is not None, flush=True)
sys.stdin.read()
"""

_HOLDER = """
    SELECT pid, backend_xmin FROM pg_stat_activity JOIN pg_locks USING (pid)
    WHERE locktype = 'advisory' AND database = (
        SELECT oid FROM pg_database WHERE datname = current_database()
    )
"""


def take(store: Store) -> WriterLock:
    lock = store.writer_lock()
    assert lock is not None
    return lock


def test_there_is_one_writer_at_a_time(store, database_url):
    with connect(database_url) as other:
        lock = take(store)
        assert store.writer_lock() is None
        assert other.writer_lock() is None
        lock.ping()

        lock.release()

        with take(other) as taken:
            taken.ping()
            assert store.writer_lock() is None
        take(store).release()


def test_writers_of_other_databases_do_not_matter(store, create_database):
    with (
        take(store),
        connect(create_database("template1")) as other,
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
    assert store.writer_lock() is None

    holder.kill()
    holder.communicate()

    def is_free() -> bool:
        lock = store.writer_lock()
        if lock is not None:
            lock.release()
        return lock is not None

    wait_until(is_free)


def test_a_lock_holds_back_neither_vacuum_nor_the_building_of_indexes(
    store, database_url
):
    with take(store) as lock, psycopg.connect(database_url) as connection:
        assert connection.execute(_HOLDER).fetchall()[0][1] is None
        lock.ping()
        assert connection.execute(_HOLDER).fetchall()[0][1] is None
