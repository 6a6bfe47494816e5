"""Autonumber columns: texts that a new record gets by a pattern.

From "Create autonumber columns". Sequences begin at 1000, as it says.
"""

import re
import secrets
import string
from datetime import UTC, datetime

from apex_pipeline.emulator import errors
from apex_pipeline.emulator.environment import Environment
from apex_pipeline.emulator.schema import Table
from apex_pipeline.emulator.targets import Draft

FIRST = 1000
_KIND = "autonumber"
_PLACEHOLDER = re.compile(r"\{(SEQNUM|RANDSTRING|DATETIMEUTC):([^}]*)\}")
_LONGEST_RANDOM = 6
_LETTERS = string.ascii_uppercase + string.digits
# .NET's letters for parts of a date, as in the documentation's examples.
_DATE_PARTS = {
    "yyyy": "%Y",
    "MM": "%m",
    "dd": "%d",
    "HH": "%H",
    "hh": "%I",
    "mm": "%M",
    "ss": "%S",
}


def complete(env: Environment, table: Table, drafts: list[Draft]) -> list[Draft]:
    """The drafts of new records, with the numbers that they do not bring along."""
    patterns = table.plans.get(_KIND)
    if patterns is None:
        patterns = table.plans[_KIND] = {
            name: str(column.definition["AutoNumberFormat"])
            for name, column in table.columns.items()
            if column.definition.get("AutoNumberFormat")
        }
    if not patterns:
        return drafts
    return [
        draft.with_values(
            {
                name: _text(env, f"{table.name}.{name}", pattern)
                for name, pattern in patterns.items()
                if name not in draft.columns
            }
        )
        for draft in drafts
    ]


def seed(env: Environment, table: Table, column: str, value: int) -> None:
    """SetAutoNumberSeed: the next number of a column."""
    env.storage.put_document(_KIND, f"{table.name}.{column}", value)


def _text(env: Environment, name: str, pattern: str) -> str:
    def fill(match: re.Match[str]) -> str:
        kind, length = match[1], match[2]
        if kind == "DATETIMEUTC":
            now = datetime.fromtimestamp(env.clock.now(), UTC)
            return re.sub(
                "|".join(_DATE_PARTS), lambda m: f"{now:{_DATE_PARTS[m[0]]}}", length
            )
        if not length.isdigit() or (
            kind == "RANDSTRING" and not 1 <= int(length) <= _LONGEST_RANDOM
        ):
            raise errors.WebApiError(400, "0x80040203", "Invalid Argument")
        if kind == "RANDSTRING":
            return "".join(secrets.choice(_LETTERS) for _ in range(int(length)))
        number = env.storage.document(_KIND, name) or FIRST
        env.storage.put_document(_KIND, name, number + 1)
        return str(number).zfill(int(length))

    return _PLACEHOLDER.sub(fill, pattern)
