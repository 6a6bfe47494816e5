"""Exports in the audit trail: who took which rows, and where to."""

from collections.abc import Iterator
from contextlib import contextmanager

from apex_pipeline.analytics.csv.csv_datasets import ExportSelection
from apex_pipeline.audit.canonical_json import Json
from apex_pipeline.audit.events import Action, Author, Event
from apex_pipeline.audit.intents import Ending, intended
from apex_pipeline.postgres.database import Database


@contextmanager
def exporting(
    database: Database, author: Author, selection: ExportSelection, target: str
) -> Iterator[Ending]:
    """Write an export into the trail: its intent before a row leaves, then its event.

    Args:
        database: Where the rows and the trail are.
        author: Who exports.
        selection: Which rows.
        target: Where to: a file's name without its folder, or what takes its place.

    Raises:
        DatabaseError: The intent could not be written; nothing has left.
    """
    subject: dict[str, Json] = {
        "dataset": selection.dataset.name,
        "first": str(selection.first or "oldest"),
        "last": str(selection.last or "newest"),
        "time_zone": selection.zone,
        "to": target,
    }
    with intended(database, Event(Action.EXPORT, author, subject)) as ending:
        yield ending
