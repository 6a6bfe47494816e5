"""Annotations of values: how they are shown to a person, and what lookups refer to.

From "Select columns using OData", sections on formatted values and lookup property
data. Numbers and dates are written as for a user in the United States whose time zone
is UTC; money has the sign of the dollar.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from apex_pipeline.emulator import codecs, decimals, relationships
from apex_pipeline.emulator.codecs import Stored
from apex_pipeline.emulator.environment import Environment
from apex_pipeline.emulator.schema import Column, Table
from apex_pipeline.emulator.storage import quoted
from apex_pipeline.emulator.wire import Annotations

FORMATTED = "OData.Community.Display.V1.FormattedValue"
_NAVIGATION = "Microsoft.Dynamics.CRM.associatednavigationproperty"
_TABLE = "Microsoft.Dynamics.CRM.lookuplogicalname"

Formatter = Callable[[Stored], str]


def annotator(
    env: Environment, table: Table, columns: Sequence[Column], annotations: Annotations
) -> Callable[[Sequence[Stored]], str]:
    """A function from a row's values to the members that annotate them."""
    formatters = [
        formatter(column) if FORMATTED in annotations else None for column in columns
    ]
    known: dict[tuple[str, Stored], dict[str, str]] = {}

    def annotate(row: Sequence[Stored]) -> str:
        parts = []
        for column, format_value, value in zip(columns, formatters, row, strict=True):
            if value is None:
                continue
            members = {FORMATTED: format_value(value)} if format_value else {}
            if column.kind in {"Lookup", "Owner"}:
                key = (column.name, value)
                if key not in known:
                    known[key] = _of_lookup(env, table, column, value)
                members = known[key]
            parts += [
                f',"{column.shown_as}@{name}":{codecs.quote(text)}'
                for name, text in members.items()
                if name in annotations
            ]
        return "".join(parts)

    return annotate


def _of_lookup(
    env: Environment, table: Table, column: Column, value: Stored
) -> dict[str, str]:
    """The table, the navigation property and the name of what a lookup refers to."""
    links = relationships.of_column(table, column)
    targets: Any = column.definition["Targets"]
    for other in env.tables:
        if other.name not in targets:
            continue
        name = other.definition["PrimaryNameAttribute"]
        shown = quoted(str(name)) if name else "NULL"
        condition = f"{quoted(other.primary_key)} = ?"
        found = env.storage.select(other, shown, condition, (value,))
        if found:
            single = [
                each.single
                for each in links
                if each["ReferencedEntity"] in {other.name, "owner"}
            ]
            return {
                **({FORMATTED: str(found[0][0])} if found[0][0] is not None else {}),
                _NAVIGATION: single[0],
                _TABLE: other.name,
            }
    return {}


def formatter(column: Column) -> Formatter | None:
    """How a column's values are formatted; None where they are not."""
    codec = column.codec
    match codec:
        case codecs.Choice() | codecs.Flag():
            labels = _labels(column)
            return lambda stored: labels.get(int(stored or 0), "")
        case codecs.WholeNumber():
            return lambda stored: f"{stored:,}"
        case decimals.DecimalNumber(precision=places):
            sign = "$" if column.kind == "Money" else ""
            return lambda stored: (
                f"{sign}{decimals.load_decimal(str(stored), places):,f}"
            )
        case decimals.FloatingNumber(precision=places):
            return lambda stored: f"{stored:,.{places}f}"
        case codecs.Moment():
            return _instant
        case _:
            return None


def _labels(column: Column) -> dict[int, str]:
    options: Any = column.definition["OptionSet"] or {}
    listed = options.get("Options") or [
        options.get("TrueOption"),
        options.get("FalseOption"),
    ]
    return {
        int(each["Value"]): str(label["Label"])
        for each in listed
        if each
        for label in each["Label"]["LocalizedLabels"][:1]
    }


def _instant(stored: Stored) -> str:
    """`10/30/2025 1:00 PM`."""
    text = str(stored)
    moment = datetime.fromisoformat(text)
    day = f"{moment.month}/{moment.day}/{moment.year}"
    if len(text) == len("2025-10-30"):
        return day
    half = "PM" if moment.hour >= 12 else "AM"
    return f"{day} {(moment.hour + 11) % 12 + 1}:{moment.minute:02d} {half}"
