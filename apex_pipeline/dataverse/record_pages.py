"""Pages of records, and the links that lead from one to the next."""

from dataclasses import dataclass
from typing import Any

from apex_pipeline.errors import DataverseError


@dataclass(frozen=True, slots=True)
class TrackedPage:
    """A page of a table's records, or of their changes.

    Attributes:
        records: Records; a deleted one carries `reason` instead of columns.
        next_link: Link to the next page; None on the last.
        delta_link: On the last page: link to the changes from then on.
    """

    records: list[dict[str, Any]]
    next_link: str | None
    delta_link: str | None


def records_of(document: dict[str, Any], what: str) -> list[dict[str, Any]]:
    """The records of a collection's page.

    Raises:
        DataverseError: The page is not a list of records.
    """
    records = document.get("value")
    if isinstance(records, list) and all(isinstance(one, dict) for one in records):
        return records
    raise DataverseError(f"Could not {what}: the answer is not a list of records.")
