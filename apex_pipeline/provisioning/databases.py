"""Provision the databases: migrations, the roles, the alert tables."""

import os
from dataclasses import dataclass

from apex_pipeline.audit.authors import process_author
from apex_pipeline.audit.canonical_json import Json
from apex_pipeline.audit.events import Action, Author, Event
from apex_pipeline.audit.intents import intended
from apex_pipeline.audit.migrations_noted import note_migrations, unnoted
from apex_pipeline.metrics import ROW_COLUMNS
from apex_pipeline.postgres import declared_schema, migrations
from apex_pipeline.postgres.database import Database
from apex_pipeline.provisioning import analyst_role, database_roles
from apex_pipeline.provisioning.access_gaps import Gap, by_hand

_ROLES = (analyst_role, database_roles)


@dataclass(frozen=True, slots=True)
class DatabaseOutcome:
    """Result of provisioning the databases.

    Attributes:
        names: Migrations that were applied, or with `plan_only` would be.
        created: Roles that were, or would be, created.
        granted: Privileges that were, or would be, granted besides those that come with
            a role or a migration.
        by_hand: What you must fix by hand; None if nothing.
    """

    names: list[str]
    created: list[str]
    granted: list[str]
    by_hand: str | None


def provision_database(
    url: str,
    alerts_url: str | None,
    *,
    plan_only: bool,
    author: Author | None = None,
) -> DatabaseOutcome:
    """Apply what is missing, or only list it.

    The audit trail gets one event for what was applied and granted. A process that dies
    before its intent leaves migrations without one; the next call, or the daily audit
    job, writes it.

    Args:
        url: The metrics database.
        alerts_url: The database of the alert tables; None if not configured.
        plan_only: Whether to change nothing.
        author: Who provisions; by default the user of this process.

    Raises:
        DatabaseError: A database did not answer or refused.
    """
    with Database(url, application_name="apex provision") as database:
        if plan_only:
            outcome = _plan(database, migrations.pending(url))
        else:
            before = _gaps(database)
            names = migrations.apply(url)
            by = author or process_author(os.environ)
            outcome = _complete(database, by, before, names)
    if alerts_url:
        act = migrations.pending if plan_only else migrations.apply
        outcome.names.extend(act(alerts_url, migrations.MigrationFolder.ALERTS))
    return outcome


def _plan(database: Database, names: list[str]) -> DatabaseOutcome:
    gaps = _gaps(database)
    # Migrations bring tables, and the privileges on them.
    granted = [] if names else _granted(gaps)
    problems = [None if names else _renamed(database), by_hand(gaps)]
    return DatabaseOutcome(names, _created(gaps), granted, _joined(problems))


def _complete(
    database: Database, author: Author, before: list[Gap], names: list[str]
) -> DatabaseOutcome:
    """Create and grant what is missing after the migrations, with one event for all."""
    gaps = [gap for gap in _gaps(database) if gap.is_ours]
    if gaps:
        roles: list[Json] = [gap.what for gap in gaps]
        noted = database.ask(unnoted, names)
        subject: dict[str, Json] = {"database": "metrics", "roles": roles}
        subject |= {"migrations": list[Json](noted)} if noted else {}
        counts = {"migrations": len(noted)} if noted else {}
        with intended(database, Event(Action.PROVISION, author, subject, counts)):
            problems = _close_gaps(database)
    else:
        note_migrations(database, author, names)
        problems = _close_gaps(database)
    left = {gap.what for gap in _gaps(database)}
    created = [role for role in _created(before) if role not in left]
    granted = [] if names else [each for each in _granted(gaps) if each not in left]
    return DatabaseOutcome(
        names, created, granted, _joined([_renamed(database), *problems])
    )


def _close_gaps(database: Database) -> list[str | None]:
    """Grant the roles what they lack; describe what you must do by hand."""
    problems = []
    for role in _ROLES:
        problem = role.missing_access(database)
        # A role that owns nothing may find all there, and grant nothing.
        problems.append(role.grant(database) if problem else None)
    return problems


def _gaps(database: Database) -> list[Gap]:
    return [gap for role in _ROLES for gap in role.find_gaps(database)]


def _created(gaps: list[Gap]) -> list[str]:
    return [gap.what for gap in gaps if gap.is_role and gap.is_ours]


def _granted(gaps: list[Gap]) -> list[str]:
    return [gap.what for gap in gaps if not gap.is_role and gap.is_ours]


def _joined(problems: list[str | None]) -> str | None:
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
