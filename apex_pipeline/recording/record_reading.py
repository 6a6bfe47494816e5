"""Validate a caller's values: return a record to write, or all problems. Pure."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from uuid import UUID

from apex_pipeline.column_types import InvalidValueError
from apex_pipeline.errors import InvalidRecordError
from apex_pipeline.metrics import COLUMNS
from apex_pipeline.recording.fields import (
    CREATED_AT,
    ID,
    OPTIONAL,
    SUCCESS_RATE,
    Field,
    Spelling,
    make_field,
)
from apex_pipeline.recording.record_ids import (
    id_from_client,
    id_from_content,
    id_from_key,
)

FUTURE_ALLOWANCE = timedelta(minutes=5)
"""How far a client's clock may run ahead; rollups treat later rows as in the future."""

_CENTS = Decimal("0.01")
_UNKNOWN_SHOWN = 10
_NAME_LENGTH = 40


@dataclass(frozen=True, slots=True)
class Record:
    """A row to write.

    Attributes:
        id: Id of the row.
        values: Column to text for Postgres; without `created_at` if the database fills
            it in.
    """

    id: UUID
    values: Mapping[str, str]

    @property
    def is_dated(self) -> bool:
        """Whether the client gave the time of the run."""
        return CREATED_AT in self.values


class Rules:
    """Limits of one database's columns, and the latest time by its clock."""

    def __init__(self, types: Mapping[str, str], now: datetime) -> None:
        """Narrow each column's limits to its Postgres type.

        Args:
            types: Postgres type of each column, as `format_type` prints it.
            now: The database's time, because a host's clock may be wrong.
        """
        self.fields: tuple[Field, ...] = tuple(
            make_field(column, types.get(column.postgres, "")) for column in COLUMNS
        )
        self.now = now
        self.latest = now + FUTURE_ALLOWANCE


def read_record(
    given: Mapping[str, object],
    spelling: Spelling,
    rules: Rules,
    *,
    key: object = None,
    otherwise: UUID | None = None,
) -> Record:
    """Validate a record.

    Args:
        given: Name to value; None means absent.
        spelling: Spelling of the names, also used in messages.
        rules: Limits of the database.
        key: Idempotency key, instead of an id.
        otherwise: Id of a record with neither id nor key; by default derived from the
            content.

    Raises:
        InvalidRecordError: The record is invalid; lists all problems.
    """
    problems = _unknown(given, spelling)
    values = _read_values(given, spelling, rules, problems)
    chosen = _read_id(given, spelling, key, problems)
    if "agents_total" in values and "agents_successful" in values:
        total, successful = (
            int(values["agents_total"]),
            int(values["agents_successful"]),
        )
        if successful > total:
            problems.append(
                f"{spelling.names['agents_successful']} is {successful}, more than "
                f"{spelling.names['agents_total']}, {total}"
            )
        values.setdefault(SUCCESS_RATE, success_rate(total, successful))
    if problems:
        raise InvalidRecordError(*problems)
    return Record(chosen or otherwise or id_from_content(values), values)


def success_rate(total: int, successful: int) -> str:
    """Percent with two places, rounded half up as Postgres rounds; 0 without agents."""
    if not total:
        return "0.00"
    rate = Decimal(100 * successful) / total
    return str(rate.quantize(_CENTS, rounding=ROUND_HALF_UP))


def _read_values(
    given: Mapping[str, object], spelling: Spelling, rules: Rules, problems: list[str]
) -> dict[str, str]:
    values = {}
    for field in rules.fields:
        name = spelling.names[field.column]
        value = given.get(name)
        if value is None:
            if field.column not in OPTIONAL:
                problems.append(f"{name} is missing")
            continue
        try:
            values[field.column] = field.read(value, rules.latest)
        except InvalidValueError as error:
            problems.append(f"{name} {error}")
    return values


def _read_id(
    given: Mapping[str, object], spelling: Spelling, key: object, problems: list[str]
) -> UUID | None:
    name = spelling.names[ID]
    value = given.get(name)
    if value is not None and key is not None:
        problems.append(f"{name} and {spelling.key} are both given; one is enough")
        return None
    read: Callable[[object], UUID]
    if key is not None:
        name, value, read = spelling.key, key, id_from_key
    elif value is not None:
        read = id_from_client
    else:
        return None
    try:
        return read(value)
    except InvalidValueError as error:
        problems.append(f"{name} {error}")
        return None


def _unknown(given: Mapping[str, object], spelling: Spelling) -> list[str]:
    """Problems for unknown names; lists only the first, since there may be many."""
    names = [name for name in given if name not in spelling.columns]
    problems = []
    for name in names[:_UNKNOWN_SHOWN]:
        shown = name if len(name) <= _NAME_LENGTH else f"{name[:_NAME_LENGTH]}…"
        near = difflib.get_close_matches(name[:_NAME_LENGTH], spelling.columns, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        problems.append(f"{shown!r} is not a field{hint}")
    if len(names) > _UNKNOWN_SHOWN:
        problems.append(f"{len(names) - _UNKNOWN_SHOWN} more names are not fields")
    return problems
