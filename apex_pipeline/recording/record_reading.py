"""From what a caller gives to a record that can be written, or all that is wrong. Pure."""

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
"""How far a client's clock may run ahead; the rollups call more "in the future"."""

_CENTS = Decimal("0.01")
_UNKNOWN_SHOWN = 10
_NAME_LENGTH = 40


@dataclass(frozen=True, slots=True)
class Record:
    """A row to be written.

    Attributes:
        values: Column to text, as Postgres reads it; without `created_at` where the
            database is to fill it in.
    """

    id: UUID
    values: Mapping[str, str]

    @property
    def is_dated(self) -> bool:
        """Whether the client said when the run was."""
        return CREATED_AT in self.values


class Rules:
    """What one database takes, and until when, by its own clock."""

    def __init__(self, types: Mapping[str, str], now: datetime) -> None:
        """Narrow the limits.

        Args:
            types: Postgres type of each column, as `format_type` prints it.
            now: The database's time; a host whose clock is wrong must not decide.
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
    """Check a record.

    Args:
        given: Name to value; None is as good as absent.
        spelling: How the names are written, also in what is said about them.
        rules: What the database takes.
        key: An idempotency key, which stands for an id.
        otherwise: The id of a record that has neither id nor key; by default it is
            made from the content.

    Raises:
        InvalidRecordError: It cannot be written. All problems are named at once.
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
    """Names that are no field's; the first of them, since there may be any number."""
    names = [name for name in given if name not in spelling.columns]
    problems = []
    for name in names[:_UNKNOWN_SHOWN]:
        shown = name if len(name) <= _NAME_LENGTH else f"{name[:_NAME_LENGTH]}…"
        near = difflib.get_close_matches(name[:_NAME_LENGTH], spelling.columns, 1)
        hint = f"; is {near[0]} meant?" if near else ""
        problems.append(f"{shown!r} is not a field{hint}")
    if len(names) > _UNKNOWN_SHOWN:
        problems.append(f"{len(names) - _UNKNOWN_SHOWN} more names are not fields")
    return problems
