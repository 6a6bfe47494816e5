"""Plan: compare what Dataverse should contain with what it contains. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from apex_pipeline.metrics import COLUMNS, TABLE
from apex_pipeline.provisioning.drift import find_drifts
from apex_pipeline.provisioning.existing_state import (
    METADATA_PRIVILEGES,
    PREFIX,
    PUBLISHER,
    ROLE,
    SOLUTION,
    TABLE_PRIVILEGES,
    Found,
    FoundTable,
)


class ChangeKind(StrEnum):
    """Kinds of change, in the order in which they are made."""

    PUBLISHER = "publisher"
    SOLUTION = "solution"
    TABLE = "table"
    COLUMN = "column"
    SETTINGS = "settings"
    ROLE = "role"
    FILING = "filing"
    PRIVILEGES = "privileges"
    USER = "user"
    ASSIGNMENT = "assignment"


@dataclass(frozen=True, slots=True)
class Change:
    """One change; `text` completes "would be created: …"."""

    kind: ChangeKind
    subject: str
    text: str

    def is_in(self, plan: "Plan") -> bool:
        """Whether a plan still contains this change."""
        return any(
            (each.kind, each.subject) == (self.kind, self.subject)
            for each in plan.changes
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """Differences between the existing and the desired state.

    Attributes:
        changes: Changes that provisioning can make.
        drifts: Differences that need a fix by hand, each with its remedy.
        notes: Information that needs no action.
    """

    changes: tuple[Change, ...]
    drifts: tuple[str, ...]
    notes: tuple[str, ...]


def make_plan(found: Found) -> Plan:
    """Compare the existing with the desired state."""
    return Plan(tuple(_changes(found)), tuple(find_drifts(found)), tuple(_notes(found)))


def combined(plans: Sequence[Plan]) -> Plan:
    """The plan for several application users, which share everything else."""
    changes = {(each.kind, each.subject): each for p in plans for each in p.changes}
    return Plan(
        tuple(changes.values()),
        tuple(dict.fromkeys(drift for plan in plans for drift in plan.drifts)),
        tuple(dict.fromkeys(note for plan in plans for note in plan.notes)),
    )


def _changes(found: Found) -> Iterator[Change]:
    if found.publisher is None:
        yield Change(
            ChangeKind.PUBLISHER,
            PUBLISHER,
            f"publisher {PUBLISHER} with prefix {PREFIX}",
        )
    if found.solution is None:
        yield Change(ChangeKind.SOLUTION, SOLUTION, f"solution {SOLUTION}")
    yield from _table_changes(found.table)
    if found.role is None:
        yield Change(ChangeKind.ROLE, ROLE, f"role {ROLE}")
    yield from _filings(found)
    if found.role is None or found.table is None or found.missing_privileges():
        names = ", ".join(TABLE_PRIVILEGES).lower()
        yield Change(
            ChangeKind.PRIVILEGES,
            ROLE,
            f"privileges of {ROLE}: {names} on {TABLE}, "
            f"{' and '.join(METADATA_PRIVILEGES)}; no delete",
        )
    if found.user is None:
        text = f"application user of {found.application} in the root business unit"
        yield Change(ChangeKind.USER, found.application, text)
    if (
        found.user is None
        or found.role is None
        or found.role.id not in found.user.roles
    ):
        text = f"role {ROLE} for the application user of {found.application}"
        yield Change(ChangeKind.ASSIGNMENT, found.application, text)


def _filings(found: Found) -> Iterator[Change]:
    """Changes that add an existing table or role to our solution.

    Provisioning adds what it creates at once. A managed table stays out, because our
    exported solution would then depend on the table's own solution.
    """
    table, role = found.table, found.role
    if table is not None and not table.is_managed and not found.is_filed(table.id):
        yield Change(ChangeKind.FILING, TABLE, f"place of table {TABLE} in {SOLUTION}")
    if role is not None and not found.is_filed(role.id):
        yield Change(ChangeKind.FILING, ROLE, f"place of role {ROLE} in {SOLUTION}")


def _table_changes(table: FoundTable | None) -> Iterator[Change]:
    if table is None:
        columns = "; ".join(f"{c.dataverse} ({c.type.label})" for c in COLUMNS)
        yield Change(
            ChangeKind.TABLE,
            TABLE,
            f"table {TABLE}, owned by the organization, with change tracking, auditing "
            f"and {len(COLUMNS)} columns: {columns}",
        )
        return
    for column in COLUMNS:
        if column.dataverse not in table.columns:
            text = f"column {column.dataverse} of {TABLE} ({column.type.label})"
            yield Change(ChangeKind.COLUMN, column.dataverse, text)
    missing = []
    if not table.has_change_tracking:
        missing.append("change tracking")
    if not table.is_audited:
        missing.append("auditing")
    if missing:
        text = f"{' and '.join(missing)} of {TABLE}, switched on"
        yield Change(ChangeKind.SETTINGS, TABLE, text)


def _notes(found: Found) -> Iterator[str]:
    if not found.is_audited:
        yield (
            f"Auditing of {TABLE} has no effect, because it is off for the environment. "
            "Switch it on in the Power Platform admin center: Audit settings in the "
            "environment's settings."
        )
    if found.table is not None and found.table.is_managed:
        yield (
            f"{TABLE} belongs to a managed solution and is left out of {SOLUTION}, which "
            "would otherwise depend on it when exported."
        )
    if found.user is None:
        return
    others = sorted(name for name in found.user.roles.values() if name != ROLE)
    if others:
        yield (
            f"The application user of {found.application} has more roles than it needs "
            f"for the sync: {', '.join(others)}."
        )
