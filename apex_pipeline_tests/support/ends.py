"""The two ends of the pipeline in tests: rows in Postgres, records in the emulator."""

import socket
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import sql

from apex_pipeline.emulator import ServedEmulator
from apex_pipeline.metrics import COLUMNS, TABLE
from apex_pipeline.postgres import pending_rows, resent_rows
from apex_pipeline.postgres.resent_rows import Slice
from apex_pipeline.postgres.row_marks import Marks
from apex_pipeline.postgres.store import Store
from apex_pipeline.settings import DataverseSettings

SECONDS = "2026-10-30T13:00:00Z"


def emulator_settings(emulator: ServedEmulator, **overrides) -> DataverseSettings:
    """What a process needs to reach the emulator."""
    values: dict[str, Any] = {
        "resource": emulator.url,
        "authority": f"{emulator.authority_host}/{emulator.tenant_id}",
        "client_id": emulator.client_id,
        "client_secret": emulator.client_secret,
        "ca_bundle": emulator.ca_bundle,
    }
    return DataverseSettings(**(values | overrides))


def environment(
    emulator: ServedEmulator, database_url: str, state_dir
) -> dict[str, str]:
    """The same as environment variables, with the database."""
    return {
        "DATABASE_URL": database_url,
        "DATAVERSE_RESOURCE": emulator.url,
        "AZURE_TENANT_ID": emulator.tenant_id,
        "AZURE_CLIENT_ID": emulator.client_id,
        "AZURE_CLIENT_SECRET": emulator.client_secret,
        "AZURE_AUTHORITY_HOST": emulator.authority_host,
        "APEX_CA_BUNDLE": str(emulator.ca_bundle),
        "APEX_STATE_DIR": str(state_dir),
    }


def campaign_row(**overrides) -> dict[str, object]:
    """A row of `campaign_metrics`, every column but `exported_at` filled."""
    return {
        "id": uuid4(),
        "campaign_id": UUID(int=1),
        "run_id": UUID(int=2),
        "phase": "2-3",
        "agents_total": 5,
        "agents_successful": 4,
        "assets_generated": 12,
        "tokens_in": 1500,
        "tokens_out": 3000,
        "cost_usd": "0.00348",
        "latency_p95_ms": 51200,
        "latency_avg_ms": 42000,
        "success_rate_pct": "80.00",
        "created_at": "2026-10-30 13:00:00.25+00",
    } | overrides


def insert(database_url: str, rows: Iterable[Mapping[str, object]]) -> None:
    """Write rows as the agents do."""
    with psycopg.connect(database_url) as connection, connection.cursor() as cursor:
        names = list(campaign_row())
        statement = sql.SQL("COPY campaign_metrics ({}) FROM STDIN").format(
            sql.SQL(", ").join(map(sql.Identifier, names))
        )
        with cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row([row[name] for name in names])


def insert_many(database_url: str, count: int) -> None:
    """Write believable rows by the thousand, the oldest forty days old."""
    with psycopg.connect(database_url) as connection:
        connection.execute(
            """
            INSERT INTO campaign_metrics (
                id, campaign_id, run_id, phase, agents_total, agents_successful,
                assets_generated, tokens_in, tokens_out, cost_usd, latency_p95_ms,
                latency_avg_ms, success_rate_pct, created_at
            )
            SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), '2-3', 5, 4,
                n %% 40, 1500 + n, 3000, n / 100000.0, 51200, 42000, 80,
                now() - interval '40 days' * n / %(count)s
            FROM generate_series(1, %(count)s) AS n
            """,
            {"count": count},
        )


def free_port() -> int:
    """A port on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def query(database_url: str, statement: str) -> list[tuple[Any, ...]]:
    """What a statement returns."""
    with psycopg.connect(database_url) as connection:
        return connection.execute(statement).fetchall()


def execute(database_url: str, statement: str) -> None:
    """Carry out a statement."""
    with psycopg.connect(database_url) as connection:
        connection.execute(statement.encode())


def mark(store: Store, ids: Iterable[str], at: datetime) -> Marks:
    """Mark rows, pending or not, as if Dataverse had acknowledged them as they are."""
    unbound = Slice(until=datetime(9999, 1, 1, tzinfo=UTC))
    wanted = set(ids)
    rows = [
        *store.ask(pending_rows.page, None, 10_000),
        *store.ask(resent_rows.page, unbound, None, 10_000),
    ]
    chosen = {row.id: row for row in rows if row.id in wanted}
    return store.mark_exported(list(chosen.values()), at)


def marked(database_url: str) -> set[str]:
    """Ids of the rows that are marked as exported."""
    found = query(
        database_url,
        "SELECT id::text FROM campaign_metrics WHERE exported_at IS NOT NULL",
    )
    return {str(one) for (one,) in found}


def delivered(emulator: ServedEmulator) -> set[str]:
    """Ids of the records."""
    return {str(r["apex_campaignmetricsid"]) for r in emulator.records(TABLE)}


def differences(emulator: ServedEmulator, database_url: str) -> list[str]:
    """Where a record does not hold what its row holds, column by column."""
    records = {r["apex_campaignmetricsid"]: r for r in emulator.records(TABLE)}
    names = ", ".join(
        "to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
        if column.postgres == "created_at"
        else f"{column.postgres}::text"
        for column in COLUMNS
    )
    found = []
    for key, *values in query(
        database_url, f"SELECT id::text, {names} FROM campaign_metrics"
    ):
        record = records.get(key, {})
        found += [
            f"{key}: {column.dataverse} is {record.get(column.dataverse)!r}, not {value}"
            for column, value in zip(COLUMNS, values, strict=True)
            if str(record.get(column.dataverse)) != value
        ]
    return found
