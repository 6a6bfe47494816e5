"""The table against the map of columns. Pure; the comparison is provisioning's."""

from apex_pipeline.dataverse.answer_shape import as_documented
from apex_pipeline.metrics import COLUMNS, TABLE
from apex_pipeline.monitoring.doctor.check_results import (
    Finding,
    State,
    failed,
    ok,
    warning,
)
from apex_pipeline.provisioning.drift import column_drifts
from apex_pipeline.provisioning.existing_state import FoundTable

ADMINISTRATOR = "APEX_ADMIN_*, as for provisioning"

_BY_HAND = "As said; `apex provision dataverse --plan` lists the same."


def columns(table: FoundTable) -> Finding:
    """All columns: there, and of a type, length, precision and range that will do.

    Raises:
        DataverseError: What was read of them is not of the documented shape.
    """
    missing = [c.dataverse for c in COLUMNS if c.dataverse not in table.columns]
    with as_documented(f"read the columns of {TABLE}"):
        drifts = list(column_drifts(table))
    if missing:
        return failed("; ".join([f"missing: {', '.join(missing)}", *drifts]))
    if drifts:
        return failed(" ".join(drifts), _BY_HAND)
    return ok(f"{len(COLUMNS)} of {len(COLUMNS)}, each wide enough")


def change_tracking(table: FoundTable) -> Finding:
    """Whether deletions and changes can be read later."""
    return ok("on") if table.has_change_tracking else failed("off")


def auditing(table: FoundTable) -> Finding:
    """The table's own switch."""
    return ok("on") if table.is_audited else failed("off")


def organization_auditing(is_on: bool | None) -> Finding:  # noqa: FBT001  what was read
    """The environment's switch, without which the table's has no effect."""
    if is_on is None:
        return Finding(
            State.NOT_CHECKED,
            "the application's role may not see it",
            f"An administrator may: name one in {ADMINISTRATOR}.",
        )
    return ok("on") if is_on else warning("off")
