"""Which columns an answer shows, and records as JSON text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from apex_pipeline.emulator import codecs, errors, formatting
from apex_pipeline.emulator.codecs import Stored
from apex_pipeline.emulator.schema import Column, Table
from apex_pipeline.emulator.storage import quoted


@dataclass(frozen=True, slots=True)
class Projection:
    """Which columns an answer shows, and how.

    Attributes:
        context: What stands between the parentheses in `@odata.context`.
        columns: In the order of the answer.
    """

    context: str
    columns: tuple[Column, ...]

    def sql(self) -> str:
        """What follows SELECT: the row version, then the columns."""
        return ", ".join(
            ["versionnumber", *(quoted(column.name) for column in self.columns)]
        )

    def shower(self, annotations: str = "") -> Callable[[Sequence[Stored]], str]:
        """A function that turns a row into the text of a JSON object, unclosed.

        Args:
            annotations: What `odata.include-annotations` asks for.
        """
        steps = [
            (f',"{column.shown_as}":', column.codec.show) for column in self.columns
        ]

        def show(row: Sequence[Stored]) -> str:
            parts = [f'"@odata.etag":"W/\\"{row[0]}\\""']
            for (name, text), value in zip(steps, row[1:], strict=True):
                parts.append(name)
                parts.append("null" if value is None else text(value))
            return "".join(parts)

        if not formatting.wanted(annotations):
            return show
        format_row = self._row_formatter()
        return lambda row: show(row) + format_row(row)

    def _row_formatter(self) -> Callable[[Sequence[Stored]], str]:
        formatters = [
            (place, column.shown_as, formatter)
            for place, column in enumerate(self.columns, 1)
            if (formatter := formatting.formatter(column)) is not None
        ]
        return lambda row: "".join(
            f',"{name}@{formatting.ANNOTATION}":{codecs.quote(formatter(row[place]))}'
            for place, name, formatter in formatters
            if row[place] is not None
        )


def project(table: Table, select: str) -> Projection:
    """Read `$select`; the primary key is always shown.

    Raises:
        WebApiError: A column is unknown.
    """
    names = [name.strip() for name in select.split(",")] if select else []
    columns: list[Column] = []
    for name in names:
        column = table.shown(name)
        if column is None:
            raise errors.no_such_property(name, table.name)
        columns.append(column)
    if not columns:
        return Projection("", tuple(table.columns.values()))
    key = table.columns[table.primary_key]
    if key not in columns:
        columns.append(key)
    return Projection(f"({','.join(dict.fromkeys(names))})", tuple(columns))
