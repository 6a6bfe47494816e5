"""Names that people give to campaigns, read from a file and kept in `campaign_name`."""

import csv
from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import Connection

from apex_pipeline.audit.events import Action, Author, Event
from apex_pipeline.audit.trail import acting
from apex_pipeline.errors import InvalidRecordError
from apex_pipeline.postgres.database import Database

COLUMNS = ("campaign_id", "name")

_KEEP = """
    INSERT INTO campaign_name AS kept (campaign_id, name)
    SELECT * FROM unnest(%(campaigns)s::text[], %(names)s::text[])
    ON CONFLICT (campaign_id) DO UPDATE SET name = excluded.name
    WHERE kept.name <> excluded.name
"""


def read_names(lines: Iterable[str]) -> dict[str, str]:
    """Read a CSV file with the columns campaign_id and name.

    A UUID is written as the database writes it, in lower case.

    Raises:
        InvalidRecordError: A line lacks one of them, is not UTF-8, or names a campaign again;
            all such lines are named at once, and nothing was written.
    """
    reader = csv.DictReader(lines)
    try:
        return _checked(reader)
    except csv.Error as error:
        raise InvalidRecordError(
            f"Line {reader.line_num + 1} is not CSV: {error}.", "Nothing was written."
        ) from None


def _checked(reader: "csv.DictReader[str]") -> dict[str, str]:
    if not set(COLUMNS) <= set(reader.fieldnames or ()):
        raise InvalidRecordError("The file needs a header with campaign_id and name.")
    names: dict[str, str] = {}
    wrong = []
    for row in reader:
        campaign, name = ((row[column] or "").strip() for column in COLUMNS)
        campaign = _as_kept(campaign)
        if not campaign or not name:
            wrong.append(f"Line {reader.line_num} lacks a campaign_id or a name.")
        elif not (campaign + name).isprintable():
            wrong.append(
                f"Line {reader.line_num} is not UTF-8 text. In Excel, save the file as "
                '"CSV UTF-8 (Comma delimited)".'
            )
        elif campaign in names:
            wrong.append(f"Line {reader.line_num} names {campaign} again.")
        names[campaign] = name
    if wrong:
        raise InvalidRecordError("Nothing was written.", *wrong)
    return names


def _as_kept(campaign: str) -> str:
    try:
        return str(UUID(campaign))
    except ValueError:
        return campaign


def keep_names(database: Database, names: dict[str, str], author: Author) -> int:
    """Keep the names, in place of those that the same campaigns had.

    Returns:
        How many are new or another than before.

    Raises:
        DatabaseError: One of its kinds. Nothing is changed then.
    """
    values = {"campaigns": list(names), "names": list(names.values())}

    def keep(connection: Connection) -> int:
        return connection.exec_driver_sql(_KEEP, values).rowcount

    def told(changed: int) -> Event | None:
        if not changed:
            return None
        return Event(Action.NAME_CAMPAIGNS, author, {}, {"campaigns": changed})

    return acting(database, keep, told)
