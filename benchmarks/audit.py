"""Verifying a trail of a million events: time and memory; and what a sync pays for it.

    python -m benchmarks.audit [--events 1000000]

Postgres is the embedded one and shares this machine. The events are those of runs of the
sync, written with the triggers off, because only their number matters. The memory is
that of the verifying process, as the operating system accounts for it. Then a run of the
sync without any rows is timed, once as it is and once without what it does for the
trail: the shortest run there is, and so the largest share.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from apex_pipeline.audit.canonical_json import Json
from apex_pipeline.audit.chain import COVERED, GENESIS, digest
from apex_pipeline.audit.settings_changes import fingerprints
from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline.postgres import migrations
from apex_pipeline.postgres.run_ledger import RunRecord, RunStatus
from apex_pipeline.postgres.store import Store, connect

_COPY = "COPY audit_event ({}) FROM STDIN"
_COUNTS = dict.fromkeys(
    ("rows_read", "delivered", "rejected", "changed", "deleted", "locked"), 100
)
_VERIFY = (
    "import os, time;"
    "from apex_pipeline.postgres.database import Database;"
    "from apex_pipeline.audit.verification import verify;"
    "database = Database(os.environ['DATABASE_URL'], application_name='benchmark');"
    "begun, used = time.monotonic(), time.process_time();"
    "found = database.transact(verify);"
    # ru_maxrss would start at what the parent, which filled the table, had used.
    "peak = next(line.split()[1] for line in open('/proc/self/status')"
    " if line.startswith('VmHWM'));"
    "print(found.events, time.monotonic() - begun, time.process_time() - used, peak,"
    " found.problems, sep='|')"
)
_RUNS = 200
_SHORTEST_RUN_SECONDS = 0.9
"""From process start to the first page read; see `startup`."""


def main() -> None:
    """Fill, verify, time runs, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    events = parser.parse_args().events
    with tempfile.TemporaryDirectory() as folder:
        postgres = EmbeddedPostgres(Path(folder))
        postgres.start()
        try:
            postgres.create_database("apex")
            url = postgres.url("apex")
            migrations.apply(url)
            time_runs(url)
            fill(url, events)
            verify(url)
        finally:
            postgres.stop()


def fill(url: str, events: int) -> None:
    """Replace the trail by one of so many events."""
    begun = time.monotonic()
    names = (*COVERED, "hash")
    with psycopg.connect(url) as connection:
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute("DELETE FROM audit_event")
        connection.execute("DELETE FROM sync_run")
        copy = _COPY.format(", ".join(names)).encode()
        with connection.cursor() as cursor, cursor.copy(copy) as into:
            previous = GENESIS
            for sequence in range(1, events + 1):
                event = _event(sequence, previous)
                previous = digest(event)
                into.write_row(
                    [_cell(event[name]) for name in COVERED] + [_bytes(previous)]
                )
    print(f"{events} events written in {time.monotonic() - begun:.0f} s")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE audit_event")


def verify(url: str) -> None:
    """Verify in a process of its own, and print what it took."""
    ended = subprocess.run(
        [sys.executable, "-c", _VERIFY],
        env=os.environ | {"DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=True,
    )
    count, seconds, used, peak, problems = ended.stdout.strip().split("|")
    print(
        f"{count} events verified in {float(seconds):.1f} s "
        f"({float(used):.1f} s of processor time), peak {int(peak) / 1024:.0f} MB "
        f"resident; problems: {problems}"
    )


def time_runs(url: str) -> None:
    """Print what the trail adds to a run of the sync."""
    with connect(url) as store:
        settings = fingerprints(dict(os.environ) | {"DATABASE_URL": url})
        whole = _median(lambda: _run(store, settings))
        bare = _median(lambda: _run_without_trail(store))
    added = whole - bare
    print(
        f"a run's ledger and trail {whole * 1000:.1f} ms, without trail "
        f"{bare * 1000:.1f} ms: {added * 1000:.1f} ms, {added / _SHORTEST_RUN_SECONDS:.2%} "
        f"of the shortest run ({_SHORTEST_RUN_SECONDS} s)"
    )


def _run(store: Store, settings: dict[str, Json]) -> None:
    run = store.start_run(at=_now(), dagster_run_id=None, settings=settings)
    store.finish_run(run, _record())


def _run_without_trail(store: Store) -> None:
    run = store.start_run(at=_now(), dagster_run_id=None)
    values = {"id": run, "at": _now()}
    store.ask(
        lambda c: c.exec_driver_sql(
            "UPDATE sync_run SET status = 'success', finished_at = %(at)s "
            "WHERE id = %(id)s",
            values,
        )
    )


def _record() -> RunRecord:
    return RunRecord(status=RunStatus.SUCCESS, finished_at=_now())


def _median(work: Callable[[], None]) -> float:
    taken = []
    for _ in range(_RUNS):
        begun = time.monotonic()
        work()
        taken.append(time.monotonic() - begun)
    return statistics.median(taken)


def _event(sequence: int, previous: str) -> dict[str, Any]:
    return {
        "sequence": sequence,
        "act": str(UUID(int=sequence)),
        "at": "2026-11-29T12:00:00.5Z",
        "actor": "schedule sync_every_five_minutes",
        "action": "sync",
        "outcome": "done",
        "subject": {"sync_run": sequence},
        "counts": _COUNTS,
        "before": {},
        "after": {},
        "reason": None,
        "run_id": str(UUID(int=sequence)),
        "version": "0.1.0",
        "previous_hash": previous,
    }


def _cell(value: object) -> object:
    if isinstance(value, dict):
        return json.dumps(value, allow_nan=False)
    if isinstance(value, str) and len(value) == len(GENESIS):
        return _bytes(value)
    return value


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text)


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    main()
