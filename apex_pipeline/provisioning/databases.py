"""Provision the databases: migrations, the roles, the alert tables."""

import os
from dataclasses import dataclass

from apex_pipeline.audit.authors import process_author
from apex_pipeline.audit.events import Author
from apex_pipeline.audit.migrations_noted import note_migrations
from apex_pipeline.metrics import ROW_COLUMNS
from apex_pipeline.postgres import declared_schema, migrations
from apex_pipeline.postgres.database import Database
from apex_pipeline.provisioning import analyst_role, database_roles


@dataclass(frozen=True, slots=True)
class DatabaseOutcome:
    """Result of provisioning the databases.

    Attributes:
        names: Migrations that were applied, or with `plan_only` would be.
        by_hand: What you must fix by hand; None if nothing.
    """

    names: list[str]
    by_hand: str | None


def provision_database(
    url: str,
    alerts_url: str | None,
    *,
    plan_only: bool,
    author: Author | None = None,
) -> DatabaseOutcome:
    """Apply what is missing, or only list it.

    The audit trail gets one event for what was applied. A process that dies in between
    leaves migrations without one; the next call, or the daily audit job, writes it.

    Args:
        url: The metrics database.
        alerts_url: The database of the alert tables; None if not configured.
        plan_only: Whether to change nothing.
        author: Who provisions; by default the user of this process.

    Raises:
        DatabaseError: A database did not answer or refused.
    """
    act = migrations.pending if plan_only else migrations.apply
    names = act(url)
    if not plan_only:
        with Database(url, application_name="apex provision") as database:
            note_migrations(database, author or process_author(os.environ), names)
    by_hand = None if plan_only and names else _by_hand(url, plan_only=plan_only)
    if alerts_url:
        names += act(alerts_url, migrations.Part.ALERTS)
    return DatabaseOutcome(names, by_hand)


def _by_hand(url: str, *, plan_only: bool) -> str | None:
    """Describe what you must fix by hand; unless `plan_only`, grant the roles what they lack."""
    with Database(url, application_name="apex provision") as database:
        problems = [_renamed(database)]
        for role in (analyst_role, database_roles):
            problem = role.missing_access(database)
            # A role that owns nothing may find all there, and grant nothing.
            if problem and not plan_only:
                problem = role.grant(database)
            problems.append(problem)
    return " ".join(each for each in problems if each) or None


def _renamed(database: Database) -> str | None:
    with database.session() as connection:
        names = declared_schema.lacking(connection, "campaign_metrics", ROW_COLUMNS)
    if not names:
        return None
    return (
        f"campaign_metrics has no column {', '.join(names)}: it was renamed or dropped. "
        "Restore its name (ALTER TABLE … RENAME COLUMN); provisioning cannot restore its "
        "values."
    )
