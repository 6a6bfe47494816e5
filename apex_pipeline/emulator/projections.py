"""Which columns an answer shows, and records as JSON text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from apex_pipeline.emulator import errors, formatting
from apex_pipeline.emulator.codecs import Stored
from apex_pipeline.emulator.environment import Environment
from apex_pipeline.emulator.schema import Column, Table
from apex_pipeline.emulator.storage import quoted
from apex_pipeline.emulator.wire import Annotations


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
    columns: tuple[Column, ...]

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
        env: Environment | None = None,
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
        annotate = formatting.annotator(env, self.table, self.columns, annotations)
        return lambda row: show(row) + annotate(row[1:])


def project(table: Table, select: str) -> Projection:
    """Read `$select`; the primary key is always shown."""
    names = [name.strip() for name in select.split(",")] if select else []
    columns: list[Column] = []
    for name in names:
        column = table.shown(name)
        if column is None:
            # A lookup goes by `_x_value`; "you can't use $select" with its own name.
            known = table.custom or name in table.columns
            raise errors.no_such_property(name, table.name, custom=known)
        columns.append(column)
    if not columns:
        return Projection(table, (), tuple(table.columns.values()))
    key = table.columns[table.primary_key]
    if key not in columns:
        columns.append(key)
    distinct = {column.name: column for column in columns}
    return Projection(table, tuple(names), tuple(distinct.values()))
