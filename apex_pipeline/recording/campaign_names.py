"""Names that people give to campaigns, read from a file and kept in `campaign_name`."""

from collections.abc import Iterable, Sequence
from unicodedata import category
from uuid import UUID

from sqlalchemy import Connection

from apex_pipeline.audit.events import Action, Author, Event
from apex_pipeline.audit.trail import acting
from apex_pipeline.errors import InvalidRecordError
from apex_pipeline.postgres.database import Database
from apex_pipeline.recording.csv_rows import DELIMITERS, cell_problem, open_table

COLUMNS = ("campaign_id", "name")

_KEEP = """
    INSERT INTO campaign_name AS kept (campaign_id, name)
    SELECT * FROM unnest(%(campaigns)s::text[], %(names)s::text[])
    ON CONFLICT (campaign_id) DO UPDATE SET name = excluded.name
    WHERE kept.name <> excluded.name
"""


def read_names(lines: Iterable[str]) -> dict[str, str]:
    """Read a CSV file with the columns campaign_id and name, and perhaps others.

    Commas, semicolons or tabs separate its cells. A UUID is written as the database
    writes it, in lower case.

    Raises:
        InvalidRecordError: A line has another number of cells than the header, lacks one of
            the two, is not UTF-8, or names a campaign again; all such lines are named at
            once, and nothing was written.
    """
    table = open_table(iter(lines))
    if table.delimiter not in DELIMITERS:
        raise InvalidRecordError(
            f"Line 1: the cells are separated by {table.delimiter!r}. Separate them by "
            "commas, semicolons or tabs.",
            "Nothing was written.",
        )
    rows = table.rows()
    _, header = next(rows, (1, []))
    places = _places([name.strip() for name in header])
    names: dict[str, str] = {}
    wrong = []
    for number, cells in rows:
        if problem := cell_problem(cells, header):
            wrong.append(f"Line {number} {problem}.")
            continue
        campaign, name = (cells[place].strip() for place in places)
        campaign = _as_kept(campaign)
        if problem := _problem(campaign, name):
            wrong.append(f"Line {number}{problem}")
        elif campaign in names:
            wrong.append(f"Line {number} names {campaign} again.")
        names[campaign] = name
    if wrong:
        raise InvalidRecordError("Nothing was written.", *wrong)
    return names


def _places(header: Sequence[str]) -> list[int]:
    """Where the two columns are."""
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        raise InvalidRecordError(
            "The file needs a header with campaign_id and name; it lacks "
            f"{' and '.join(missing)}.",
            "Nothing was written.",
        )
    twice = [column for column in COLUMNS if header.count(column) > 1]
    if twice:
        raise InvalidRecordError(
            f"{' and '.join(twice)} appears twice in the header. Keep one column.",
            "Nothing was written.",
        )
    return [header.index(column) for column in COLUMNS]


def _problem(campaign: str, name: str) -> str | None:
    if not campaign or not name:
        return " lacks a campaign_id or a name."
    categories = {category(each): each for each in campaign + name}
    # Bytes that are not UTF-8 are read as halves of surrogate pairs.
    if "Cs" in categories:
        return (
            " is not UTF-8 text. In Excel, save the file as "
            '"CSV UTF-8 (Comma delimited)".'
        )
    if "Cc" in categories:
        number = ord(categories["Cc"])
        return f": remove the control character U+{number:04X}."
    return None


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
