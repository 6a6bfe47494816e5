"""Values and tables for whoever reads them, be it in a terminal or in a log."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from apex_pipeline.cli.terminal import printable


def wide_console() -> Console:
    """A console that cuts nothing to a width that nobody sees."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200
    return console


def print_table(records: Sequence[Mapping[str, str]], *, alarming: str = "") -> None:
    """Print records, of which there is at least one; their keys are the headings.

    Args:
        records: Lines of the table.
        alarming: The column whose values are to catch the eye.
    """
    table = Table(box=None, pad_edge=False, show_edge=False)
    for heading in records[0]:
        style = "bold red" if heading == alarming else None
        table.add_column(heading, overflow="fold", style=style)
    for record in records:
        table.add_row(*(Text(printable(value)) for value in record.values()))
    wide_console().print(table)


def words(value: object) -> str:
    """A value as a person reads it; times are UTC."""
    match value:
        case None:
            return "-"
        case float():
            return f"{value:,.1f}"
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S} UTC"
        case _:
            return printable(str(value))
