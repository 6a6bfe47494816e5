"""The campaign metric, and the mapping between its Postgres and Dataverse columns.

A row's `id` is the primary key of its Dataverse record. So no mapping is stored, and
sending a row twice is harmless. The exception is a record of another flow that was
adopted: its key is stored.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from apex_pipeline.column_types import (
    MISSING,
    ColumnType,
    DecimalNumber,
    InvalidValueError,
    Text,
    Timestamp,
    WholeNumber,
)

TABLE = "apex_campaignmetrics"
"""Logical name of the Dataverse table."""

ENTITY_SET = "apex_campaignmetricses"
"""Entity set of the table: the logical collection name, which Dataverse derives."""

PRIMARY_KEY = "apex_campaignmetricsid"


@dataclass(frozen=True, slots=True)
class Column:
    """One of the 13 columns, with all its names.

    Attributes:
        agents: The name in the JSON that agents send.
    """

    postgres: str
    agents: str
    dataverse: str
    type: ColumnType
    description: str

    def to_json(self, row: Mapping[str, object]) -> str:
        """Render a row's value for this column.

        Raises:
            InvalidValueError: The value is missing, or the column cannot hold it.
        """
        value = row[self.postgres]
        if value is None:
            raise InvalidValueError(MISSING)
        return self.type.to_json(value)


COLUMNS = (
    Column(
        "campaign_id",
        "campaignId",
        "apex_campaignid",
        Text(64),
        "Campaign that the run served",
    ),
    Column(
        "run_id",
        "runId",
        "apex_runid",
        Text(64),
        "Agent run; several rows may share it",
    ),
    Column(
        "phase", "phase", "apex_phase", Text(16), "Phase of the campaign, such as 2-3"
    ),
    Column(
        "agents_total",
        "agentsTotal",
        "apex_agentstotal",
        WholeNumber(),
        "Agents started",
    ),
    Column(
        "agents_successful",
        "agentsSuccessful",
        "apex_agentssuccessful",
        WholeNumber(),
        "Agents that finished successfully",
    ),
    Column(
        "assets_generated",
        "assetsGenerated",
        "apex_assetsgenerated",
        WholeNumber(),
        "Assets generated",
    ),
    Column("tokens_in", "tokensIn", "apex_tokensin", WholeNumber(), "Prompt tokens"),
    Column(
        "tokens_out", "tokensOut", "apex_tokensout", WholeNumber(), "Completion tokens"
    ),
    Column(
        "cost_usd",
        "costUSD",
        "apex_costusd",
        DecimalNumber(5),
        "Cost of the run, US dollars",
    ),
    Column(
        "latency_p95_ms",
        "latencyP95Ms",
        "apex_latencyp95ms",
        WholeNumber(),
        "95th percentile of the agents' latency, milliseconds",
    ),
    Column(
        "latency_avg_ms",
        "latencyAvgMs",
        "apex_latencyavgms",
        WholeNumber(),
        "Mean of the agents' latency, milliseconds",
    ),
    Column(
        "success_rate_pct",
        "successRate",
        "apex_successrate",
        DecimalNumber(2),
        "Share of agents that finished successfully, percent from 0 to 100",
    ),
    Column(
        "created_at",
        "createdAt",
        "apex_createdat",
        Timestamp(),
        "When the run was recorded",
    ),
)

ROW_COLUMNS = ("id", *(column.postgres for column in COLUMNS), "exported_at")
"""The columns of `campaign_metrics` that the pipeline reads or writes."""


class CampaignMetric(NamedTuple):
    """One valid row, ready to send; a dataclass takes twice as long to make.

    Attributes:
        id: Primary key exactly as in Postgres, for marking the row.
        key: Primary key of the Dataverse record: a UUID in lower case.
        fields: The 13 columns as a JSON object, without the key.
    """

    id: str
    key: str
    fields: str


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that cannot be delivered, and why.

    Attributes:
        id: Primary key in Postgres.
        code: Dataverse's error code, or `invalid` for a row that failed validation.
        message: What is wrong, with the column and its limit if known.
    """

    id: str
    code: str
    message: str


_FIELDS = tuple(
    (column.postgres, column.type.to_json, f'"{column.dataverse}":')
    for column in COLUMNS
)

_NOT_A_KEY = "id is not a UUID in standard form; it must be the record's key"
_TWIN = "id equals that of another row, except for upper and lower case"

INVALID = "invalid"
"""Code of a rejection by validation, before anything was sent."""


@dataclass(frozen=True, slots=True)
class ReadColumn:
    """The validation result of one column of a row.

    Attributes:
        json: The value as it would be sent; None if it is invalid.
        problem: Why it is invalid; None if it is valid.
    """

    column: Column
    json: str | None
    problem: str | None


def read_columns(row: Mapping[str, object]) -> list[ReadColumn]:
    """Validate a row column by column, to show what is wrong with it."""
    found = []
    for column in COLUMNS:
        try:
            found.append(ReadColumn(column, column.to_json(row), None))
        except InvalidValueError as error:
            found.append(ReadColumn(column, None, str(error)))
    return found


def read_metric(row: Mapping[str, object]) -> CampaignMetric | Rejection:
    """Turn a row of `campaign_metrics` into a metric, or list everything wrong with it.

    Args:
        row: Column name to value, as the database returned them; `created_at` may be
            an aware datetime or the seconds since the epoch. `record_id` is the key
            of another flow's record that was adopted for the row, if any.
    """
    row_id, adopted = str(row["id"]), row.get("record_id")
    key = key_text(row_id, adopted)
    is_twin = bool(row.get("has_twin")) and not adopted
    if key is not None and not is_twin:
        try:
            fields = [name + to_json(row[column]) for column, to_json, name in _FIELDS]
            return CampaignMetric(row_id, key, f"{{{','.join(fields)}}}")
        except InvalidValueError:
            pass
    problems = [
        f"{read.column.postgres} {read.problem}"
        for read in read_columns(row)
        if read.problem is not None
    ]
    if key is None:
        problems.insert(0, _NOT_A_KEY)
    elif is_twin:
        problems.insert(0, _TWIN)
    return Rejection(row_id, INVALID, "; ".join(problems))


_LOWER = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_STANDARD_FORM = re.compile(f"{_LOWER}|{_LOWER.replace('a-f', 'A-F')}")


def key_text(row_id: str, adopted: object = None) -> str | None:
    """The key of a row's record: its own id, unless another record was adopted for it.

    None for an id that is not a UUID, or that mixes upper and lower case, because text
    columns are case-sensitive.
    """
    if adopted is not None:
        return str(adopted)
    return row_id.lower() if _STANDARD_FORM.fullmatch(row_id) else None


def record_key(row_id: str, adopted: object = None) -> UUID | None:
    """The same as a UUID."""
    key = key_text(row_id, adopted)
    return None if key is None else UUID(key)
