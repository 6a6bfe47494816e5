"""Values and tables as text for a terminal or a log."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from apex_pipeline.texts.printable_text import printable


def wide_console() -> Console:
    """Return a console that is wide enough for tables in files and logs."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200
    return console


def print_table(records: Sequence[Mapping[str, str]], *, alarming: str = "") -> None:
    """Print records as a table, with the keys of the first as headings.

    Args:
        records: Lines of the table; at least one.
        alarming: Column to highlight in red.
    """
    table = Table(box=None, pad_edge=False, show_edge=False)
    for heading in records[0]:
        style = "bold red" if heading == alarming else None
        table.add_column(heading, overflow="fold", style=style)
    for record in records:
        table.add_row(*(Text(printable(value)) for value in record.values()))
    wide_console().print(table)


def words(value: object) -> str:
    """Format a value for display; times must be UTC."""
    match value:
        case None:
            return "-"
        case float():
            return f"{value:,.1f}"
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S} UTC"
        case _:
            return printable(str(value))
