"""Which columns an answer shows, and records as JSON text with their annotations.

Annotations are from "Select columns using OData", sections on formatted values and lookup
property data. Numbers and dates are written as for a user in the United States whose time
zone is UTC; money has the sign of the dollar.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from apex_pipeline.emulator import codecs, decimals, relationships, web_api_errors
from apex_pipeline.emulator.codecs import Stored
from apex_pipeline.emulator.emulated_environment import EmulatedEnvironment
from apex_pipeline.emulator.schema import EmulatedColumn, Table
from apex_pipeline.emulator.storage import quoted
from apex_pipeline.emulator.wire import Annotations

FORMATTED = "OData.Community.Display.V1.FormattedValue"
_NAVIGATION = "Microsoft.Dynamics.CRM.associatednavigationproperty"
_TABLE = "Microsoft.Dynamics.CRM.lookuplogicalname"

Formatter = Callable[[Stored], str]


@dataclass(frozen=True, slots=True)
class Projection:
    """Which columns an answer shows, and how.

    Attributes:
        table: Whose they are.
        names: What `$select` names; empty for all.
        columns: In the order of the answer.
    """

    table: Table
    names: tuple[str, ...]
    columns: tuple[EmulatedColumn, ...]

    def context(self, *expanded: str) -> str:
        """What follows the entity set in `@odata.context`."""
        listed = ",".join((*dict.fromkeys(self.names), *expanded))
        return f"({listed})" if listed else ""

    def sql(self) -> str:
        """What follows SELECT: the row version, then the columns."""
        names = ["versionnumber", *(column.name for column in self.columns)]
        table = quoted(self.table.name)
        return ", ".join(f"{table}.{quoted(name)}" for name in names)

    def shower(
        self,
        env: EmulatedEnvironment | None = None,
        annotations: Annotations = Annotations(),  # noqa: B008 # immutable
        *,
        etag: bool = True,
    ) -> Callable[[Sequence[Stored]], str]:
        """A function that turns a row into the text of a JSON object, unclosed.

        Args:
            env: Where the records are that annotations name.
            annotations: What `odata.include-annotations` asks for.
            etag: Whether the row version is shown.
        """
        steps = [
            (f',"{column.shown_as}":', column.codec.show) for column in self.columns
        ]

        def show(row: Sequence[Stored]) -> str:
            parts = [f'"@odata.etag":"W/\\"{row[0]}\\""' if etag else ""]
            for (name, text), value in zip(steps, row[1:], strict=True):
                parts.append(name)
                parts.append("null" if value is None else text(value))
            return "".join(parts) if etag else "".join(parts)[1:]

        if env is None or not annotations.patterns:
            return show
        annotate = _annotator(env, self.table, self.columns, annotations)
        return lambda row: show(row) + annotate(row[1:])


def project(table: Table, select: str) -> Projection:
    """Read `$select`; the primary key is always shown."""
    names = [name.strip() for name in select.split(",")] if select else []
    columns: list[EmulatedColumn] = []
    for name in names:
        column = table.shown(name)
        if column is None:
            # A lookup goes by `_x_value`; "you can't use $select" with its own name.
            known = table.custom or name in table.columns
            raise web_api_errors.no_such_property(name, table.name, custom=known)
        columns.append(column)
    if not columns:
        return Projection(table, (), tuple(table.columns.values()))
    key = table.columns[table.primary_key]
    if key not in columns:
        columns.append(key)
    distinct = {column.name: column for column in columns}
    return Projection(table, tuple(names), tuple(distinct.values()))


def _annotator(
    env: EmulatedEnvironment,
    table: Table,
    columns: Sequence[EmulatedColumn],
    annotations: Annotations,
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
    env: EmulatedEnvironment, table: Table, column: EmulatedColumn, value: Stored
) -> dict[str, str]:
    """The table, the navigation property and the name of what a lookup refers to."""
    for other in env.tables:
        if other.name not in column.targets:
            continue
        name = other.definition["PrimaryNameAttribute"]
        shown = quoted(str(name)) if name else "NULL"
        found = env.storage.of_record(other, shown, str(value))
        if found:
            links = relationships.of_column(table, column)
            ends = {each["ReferencedEntity"]: each.single for each in links}
            navigation = ends.get(other.name) or ends["owner"]
            named = {} if found[0] is None else {FORMATTED: str(found[0])}
            return {**named, _NAVIGATION: navigation, _TABLE: other.name}
    return {}


def formatter(column: EmulatedColumn) -> Formatter | None:
    """How a column's values are formatted; None where they are not."""
    codec = column.codec
    match codec:
        case codecs.Choice() | codecs.Flag():
            labels = _labels(column)
            return lambda stored: labels.get(int(stored or 0), "")
        case codecs.WholeNumberCodec():
            return lambda stored: f"{stored:,}"
        case decimals.DecimalCodec(precision=places):
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


def _labels(column: EmulatedColumn) -> dict[int, str]:
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
