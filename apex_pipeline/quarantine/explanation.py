"""Explain a refused row: each value, what would be sent, and what is wrong with it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from apex_pipeline.metrics import PRIMARY_KEY, Rejection, read_columns, read_metric
from apex_pipeline.quarantine.listing import QuarantinedRow


@dataclass(frozen=True, slots=True)
class ColumnLine:
    """One column of the row.

    Attributes:
        name: The column in Postgres.
        value: Its value as text.
        dataverse: The column in Dataverse.
        sent: The JSON value that would be sent; None if there is none.
        problem: What is wrong with the value; None if nothing is.
    """

    name: str
    value: str
    dataverse: str
    sent: str | None
    problem: str | None


def examine(row: QuarantinedRow, values: Mapping[str, object]) -> list[ColumnLine]:
    """Explain a row column by column: the key, then the columns as they are sent.

    Problems come from our own validation. If Dataverse refused the row, the columns
    that its message names are marked too.

    Args:
        row: The row in quarantine.
        values: Its columns as read from Postgres.
    """
    lines = [_key_line(values)]
    for read in read_columns(values):
        column = read.column
        value = values[
            "position" if column.postgres == "created_at" else column.postgres
        ]
        problem = read.problem
        if problem is None and _is_named(column.dataverse, row.message):
            problem = "Dataverse named this column when it refused the row"
        lines.append(
            ColumnLine(
                column.postgres,
                "null" if value is None else str(value),
                column.dataverse,
                read.json,
                problem,
            )
        )
    return lines


def _key_line(values: Mapping[str, object]) -> ColumnLine:
    row_id = str(values["id"])
    found = read_metric(values)
    problem = None
    if isinstance(found, Rejection) and found.message.startswith("id "):
        problem = found.message.split("; ")[0].removeprefix("id ")
    sent = None if problem else f'"{row_id.lower()}"'
    return ColumnLine("id", row_id, PRIMARY_KEY, sent, problem)


def _is_named(column: str, message: str) -> bool:
    return re.search(rf"\b{column}\b", message, re.IGNORECASE) is not None
