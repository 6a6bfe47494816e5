"""Checks of the Dataverse table, with the comparison that provisioning uses. Pure."""

from dataclasses import dataclass

from apex_pipeline.dataverse.answer_shape import as_documented
from apex_pipeline.metrics import COLUMNS, TABLE
from apex_pipeline.monitoring.doctor.check_results import (
    CheckState,
    Measurement,
    failed,
    ok,
    warning,
)
from apex_pipeline.provisioning.drift import column_drifts
from apex_pipeline.provisioning.existing_state import FoundTable

ADMINISTRATOR = "APEX_ADMIN_*, as for provisioning"

_BY_HAND = "Follow the message; `apex provision dataverse --plan` lists the same."


def columns(table: FoundTable) -> Measurement:
    """Check that all columns exist with sufficient type, length, precision and range.

    Raises:
        DataverseError: The definitions that were read are not as documented.
    """
    missing = [c.dataverse for c in COLUMNS if c.dataverse not in table.columns]
    with as_documented(f"read the columns of {TABLE}"):
        drifts = list(column_drifts(table))
    if missing:
        return failed("; ".join([f"missing: {', '.join(missing)}", *drifts]))
    if drifts:
        return failed(" ".join(drifts), _BY_HAND)
    return ok(f"{len(COLUMNS)} of {len(COLUMNS)}, each wide enough")


def change_tracking(table: FoundTable) -> Measurement:
    """Check that change tracking is on, which reconciliation reads."""
    return ok("on") if table.has_change_tracking else failed("off")


def auditing(table: FoundTable) -> Measurement:
    """Check the table's auditing switch."""
    return ok("on") if table.is_audited else failed("off")


@dataclass(frozen=True, slots=True)
class Auditing:
    """Settings of an organization (Microsoft Learn, "Configure auditing").

    Attributes:
        kept_days: How long logs are kept; -1 for ever, None if the service does not say.
    """

    is_on: bool
    kept_days: int | None


def organization_auditing(found: Auditing | None) -> Measurement:
    """Check the environment's auditing switch, which the table's depends on."""
    if found is None:
        return Measurement(
            CheckState.NOT_CHECKED,
            "the application's role may not read it",
            f"To check it, set an administrator in {ADMINISTRATOR}.",
        )
    if not found.is_on:
        return warning("off")
    match found.kept_days:
        case None:
            return ok("on")
        case -1:
            return ok("on; logs are kept for ever")
        case days:
            return ok(f"on; logs are kept for {days} {'day' if days == 1 else 'days'}")
