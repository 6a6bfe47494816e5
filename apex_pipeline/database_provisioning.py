"""What the databases lack: the migrations, the analysts' role, the alerts' tables."""

from dataclasses import dataclass

from apex_pipeline import migrations
from apex_pipeline.analysis.analysts import grant, missing_access
from apex_pipeline.database import Database


@dataclass(frozen=True, slots=True)
class DatabaseOutcome:
    """What was found.

    Attributes:
        names: Migrations that were applied or, with a plan, would be.
        by_hand: What only a person can do; None if nothing.
    """

    names: list[str]
    by_hand: str | None


def provision_database(
    url: str, alerts_url: str | None, *, plan_only: bool
) -> DatabaseOutcome:
    """Make what is missing, or only look.

    Args:
        url: The metrics database.
        alerts_url: Where alerts keep incidents; None where nothing says so.
        plan_only: Whether to change nothing.

    Raises:
        DatabaseError: A database does not answer, or refuses us.
    """
    act = migrations.pending if plan_only else migrations.apply
    names = act(url)
    by_hand = None if plan_only and names else _analysts(url, plan_only=plan_only)
    if alerts_url:
        names += act(alerts_url, migrations.Part.ALERTS)
    return DatabaseOutcome(names, by_hand)


def _analysts(url: str, *, plan_only: bool) -> str | None:
    """What analysts cannot read; without a plan, what is left after granting it."""
    with Database(url, application_name="apex provision") as database:
        return missing_access(database) if plan_only else grant(database)
