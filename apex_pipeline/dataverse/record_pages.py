"""Pages of records, and the links that lead from one to the next."""

import re
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from apex_pipeline.errors import DataverseError
from apex_pipeline.microsoft.http_answer import Answer, Expectation
from apex_pipeline.settings import normal_origin

NEXT_LINK = "@odata.nextLink"
DELTA_LINK = "@odata.deltaLink"

# Dataverse takes no longer address. The client encodes blanks, which a query may hold.
_LINK = re.compile(r"[ -~]{1,32768}")


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


def leading_on(documented: Expectation, followed: Container[str]) -> Expectation:
    """A documented page whose links can be used, and whose next one is new.

    Args:
        documented: The page without its links.
        followed: The addresses that this read has asked for, this page's included.
    """

    def missing(answer: Answer) -> str | None:
        lacks = documented(answer)
        if lacks is not None or not isinstance(answer.document, dict):
            return lacks
        for name in (NEXT_LINK, DELTA_LINK):
            link = answer.document.get(name)
            if link is not None and not _is_link(link):
                return f"a usable {name}"
        if answer.document.get(NEXT_LINK) in followed:
            return f"a {NEXT_LINK} that was not followed yet"
        return None

    return missing


def _is_link(value: object) -> bool:
    # An address with a user has an origin that is not the one it seems to have; the
    # client refuses it.
    return (
        isinstance(value, str)
        and _LINK.fullmatch(value) is not None
        and ("@" in value or normal_origin(value) is not None)
    )
