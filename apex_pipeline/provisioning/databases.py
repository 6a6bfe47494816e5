"""What the databases lack: the migrations, the analysts' role, the alerts' tables."""

from dataclasses import dataclass

from apex_pipeline.metrics import ROW_COLUMNS
from apex_pipeline.postgres import declared_schema, migrations
from apex_pipeline.postgres.database import Database
from apex_pipeline.provisioning.analyst_role import grant, missing_access


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
    by_hand = None if plan_only and names else _by_hand(url, plan_only=plan_only)
    if alerts_url:
        names += act(alerts_url, migrations.Part.ALERTS)
    return DatabaseOutcome(names, by_hand)


def _by_hand(url: str, *, plan_only: bool) -> str | None:
    """What only a person can mend; analysts are granted what can be, without a plan."""
    with Database(url, application_name="apex provision") as database:
        problems = [
            _renamed(database),
            missing_access(database) if plan_only else grant(database),
        ]
    return " ".join(each for each in problems if each) or None


def _renamed(database: Database) -> str | None:
    with database.translated(), database.connect() as connection:
        names = declared_schema.lacking(connection, "campaign_metrics", ROW_COLUMNS)
    if not names:
        return None
    return (
        f"campaign_metrics has no column {', '.join(names)}: it was renamed or dropped. Give it "
        "its name back (ALTER TABLE … RENAME COLUMN), for what it held is not made again."
    )
