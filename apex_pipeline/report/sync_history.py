"""Statistics of the sync, and a few of the records that it delivered."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import Connection

from apex_pipeline.errors import ApexError
from apex_pipeline.metrics import COLUMNS, PRIMARY_KEY
from apex_pipeline.postgres import pending_rows, run_ledger
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.run_ledger import RunRecord
from apex_pipeline.reconcile.value_comparison import differing_columns
from apex_pipeline.report.delivery_statistics import (
    DELAY_PERIOD,
    Delays,
    Runs,
    read_runs,
)
from apex_pipeline.report.document import Block, Note, ReportTable
from apex_pipeline.report.latencies import read_samples
from apex_pipeline.report.measured_lines import gathered, instant, seconds
from apex_pipeline.report.owner_targets import sync_delays
from apex_pipeline.report.report_subject import Subject

LAST_RUNS = 10
SAMPLES = 3

_UNKNOWN = "unknown"


def statistics(subject: Subject, now: datetime) -> Iterator[Block]:
    """Sums over all runs, the delay of rows, and the last runs.

    Raises:
        DatabaseError: Postgres does not answer, or lacks our tables.
    """
    with subject.open_database() as database:
        runs = read_runs(database)
        last = database.ask(run_ledger.last_runs, LAST_RUNS)
    if not runs.count:
        raise ApexError("The sync has not run here yet.")
    yield ReportTable(("all runs in sync_run", ""), tuple(_totals(runs)), "Runs")
    yield from gathered("delay", lambda: _delays(sync_delays(subject, now)))
    yield ReportTable(
        (
            "started (UTC)",
            "status",
            "read",
            "delivered",
            "rejected",
            "requests",
            "took",
        ),
        tuple(_row(run) for run in last),
        f"The last {len(last)} runs",
    )


def samples(subject: Subject) -> Iterator[Block]:
    """The newest records, read from Dataverse now.

    Raises:
        DataverseError: Dataverse does not answer.
    """
    records = read_samples(subject.dataverse(), subject.token_cache, SAMPLES)
    if not records:
        yield Note("Dataverse holds no record yet.")
        return
    # Each record is a column, because a page is too narrow for all its values.
    names = [PRIMARY_KEY, *(column.dataverse for column in COLUMNS)]
    rows = [(name, *(_value(each.get(name)) for each in records)) for name in names]
    with subject.open_database() as database:
        held = [_as_its_row(database, each) for each in records]
    yield ReportTable(
        ("column", *(f"record {number}" for number in range(1, len(records) + 1))),
        (*rows, ("compared with its row", *held)),
    )


def _as_its_row(database: Database, record: Mapping[str, object]) -> str:
    """Compare a record with its row; the result as text."""

    def read(connection: Connection) -> pending_rows.PendingRow | None:
        # A text column may have the id in upper case.
        ways = pending_rows.spellings([UUID(str(record[PRIMARY_KEY]))])
        found = (pending_rows.named(connection, each) for each in ways)
        return next((row for row in found if row is not None), None)

    row = database.transact(read, repeatable=True)
    if row is None:
        return "no row has this id"
    differing = differing_columns(row.values, record)
    return f"differs in {', '.join(differing)}" if differing else "the same"


def _totals(runs: Runs) -> Iterator[tuple[str, str]]:
    totals = runs.totals
    yield "runs", f"{runs.count:,}"
    yield "… succeeded", f"{runs.succeeded:,}"
    yield "… failed", f"{runs.failed:,}"
    yield "… interrupted", f"{runs.interrupted:,}"
    yield "first start", f"{instant(runs.first_started_at)} UTC"
    yield "last end", f"{instant(runs.last_finished_at)} UTC"
    yield "rows read", f"{runs.rows_read:,}"
    yield "rows delivered", f"{totals.delivered:,}"
    yield "rows rejected", f"{totals.rejected:,}"
    yield "requests to Dataverse", f"{runs.requests:,}"
    yield "throttled", f"{totals.throttled_seconds:,.1f} s"
    yield "token cached", f"{totals.token_cache_hits:,} requests"
    yield "new token needed", f"{totals.token_cache_misses:,} requests"
    rate = totals.token_hit_rate_pct
    yield "token cache hit rate", _UNKNOWN if rate is None else f"{rate:.2f} %"
    yield "duration of a run: median", _seconds(runs.median_seconds)
    yield "… P95", _seconds(runs.p95_seconds)
    yield "… longest", _seconds(runs.longest_seconds)


def _delays(found: Delays) -> Iterator[Block]:
    since = f"rows since the first delivery, at most {DELAY_PERIOD.days} days"
    yield ReportTable(
        ("from created_at to exported_at", ""),
        (
            (since, f"{found.count:,}"),
            ("… still waiting, counted with their age", f"{found.waiting:,}"),
            ("median", _seconds(found.median)),
            ("P95", _seconds(found.p95)),
            ("longest", _seconds(found.longest)),
        ),
        "Delay",
    )


def _row(run: RunRecord) -> tuple[str, ...]:
    took = ""
    if run.started_at is not None and run.finished_at is not None:
        took = seconds((run.finished_at - run.started_at).total_seconds())
    return (
        instant(run.started_at),
        run.status.value,
        f"{run.rows_read:,}",
        f"{run.delivered:,}",
        f"{run.rejected:,}",
        f"{run.requests:,}",
        took,
    )


def _seconds(value: float | None) -> str:
    return _UNKNOWN if value is None else seconds(value)


def _value(value: object) -> str:
    if value is None:
        return "–"  # noqa: RUF001  a dash for nothing
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
