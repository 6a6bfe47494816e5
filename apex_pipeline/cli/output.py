"""How commands show that they work, and values that JSON does not know."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)


@contextmanager
def waiting(text: str) -> Iterator[Callable[[str], None]]:
    """Show a person that something is under way; a script sees nothing of it.

    Yields:
        What puts another text in the place of this one.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status(text) as status:
        yield status.update


def plain(value: object) -> object:
    """ISO 8601 for times and days, else the text that a person would see."""
    return value.isoformat() if isinstance(value, date) else str(value)


@contextmanager
def progress(text: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a person how much of a file is done, and take the number of bytes that are.

    Args:
        text: What is under way.
        total: Size of the file; None where it has no known end.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(text, total=total)
        yield lambda done: bar.update(task, completed=done)
