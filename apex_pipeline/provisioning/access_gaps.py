"""What a database role lacks, and who can give it."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gap:
    """A role that is missing, or privileges that one lacks.

    Attributes:
        what: As in "granted: SELECT on sync_run to apex_sync"; of a missing role its name.
        is_role: Whether the role itself is missing.
        is_ours: Whether provisioning can close it with the rights of our role.
        remedy: What to do by hand where it cannot.
    """

    what: str
    is_role: bool
    is_ours: bool
    remedy: str


def by_hand(gaps: Iterable[Gap], *, ours_too: bool = False) -> str | None:
    """The remedies of what provisioning cannot close; None if nothing is left."""
    remedies = [gap.remedy for gap in gaps if ours_too or not gap.is_ours]
    return " ".join(remedies) or None
