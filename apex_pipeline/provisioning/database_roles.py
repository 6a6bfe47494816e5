"""The database roles of the pipeline's processes: `apex_sync` and `apex_panel`.

Each is a group without login, to be granted to the login of a process. A role that has
all privileges works too; then these two are not needed.
"""

import psycopg
from psycopg import errors, sql

from apex_pipeline.postgres.database import Database
from apex_pipeline.provisioning.access_gaps import Gap, by_hand

SYNC = "apex_sync"
PANEL = "apex_panel"

_COMMENTS = {
    SYNC: "Reads and marks rows, and keeps the tables of apex_pipeline.",
    PANEL: "Reads what the panel shows, and records runs.",
}

_READ = ("SELECT",)
_ADD = ("SELECT", "INSERT")
_KEEP = ("SELECT", "INSERT", "UPDATE")
_REMAKE = ("SELECT", "INSERT", "DELETE")
_ALL = ("SELECT", "INSERT", "UPDATE", "DELETE")
# What lets a role hold a lock on a table that stays empty.
_HOLD = ("UPDATE",)
_NONE: tuple[str, ...] = ()

# Rows belong to their authors: of these, only the mark is ours.
_MARK = ("SELECT", "INSERT", "UPDATE (exported_at)")

PRIVILEGES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "campaign_metrics": (_MARK, _ADD),
    "v_campaign_metrics_pending": (_READ, _READ),
    "campaign_metrics_pending": (_READ, _READ),
    "campaign_metrics_quarantine": (_ALL, _READ),
    "quarantined_campaign_metrics": (_READ, _READ),
    "pending_look": (_KEEP, _READ),
    "sync_run": (_KEEP, _READ),
    "dataverse_pacing": (_KEEP, _READ),
    "dataverse_target": (_KEEP, _READ),
    "adopted_record": (_REMAKE, _READ),
    "foreign_record": (_ALL, _READ),
    "dataverse_finding": (_READ, _READ),
    "reconciliation_finding": (_ALL, _READ),
    "reconciliation_progress": (_KEEP, _READ),
    "reconciliation_run": (_KEEP, _READ),
    "writer_lock": (_HOLD, _NONE),
    "reconciliation_lock": (_HOLD, _NONE),
    "recording_lock": (_HOLD, _HOLD),
    "migration_lock": (_NONE, _NONE),
    "rollup_source": (_REMAKE, _READ),
    "rollup_history": (_KEEP, _READ),
    "rollup_comparison": (_KEEP, _READ),
    "business_time_zone": (_KEEP, _READ),
    "campaign_name": (_ALL, _READ),
    "daily_campaign_rollup": (_ALL, _READ),
    "daily_rollup_total": (_ALL, _READ),
    "weekly_campaign_rollup": (_ALL, _READ),
    "weekly_rollup_total": (_ALL, _READ),
    "zoned_campaign_daily": (_READ, _READ),
    "zoned_campaign_weekly": (_READ, _READ),
    "campaign_daily": (_READ, _READ),
    "campaign_weekly": (_READ, _READ),
    "totals_daily": (_READ, _READ),
    "totals_weekly": (_READ, _READ),
    "campaign_history_30d": (_READ, _READ),
    "campaign_history_60d": (_READ, _READ),
    "campaign_history_90d": (_READ, _READ),
    "cost_forecast": (_READ, _READ),
    "cost_forecast_campaign": (_READ, _READ),
    "cost_forecast_horizon": (_READ, _READ),
    "cost_forecast_outcome": (_READ, _READ),
    "cost_forecast_day": (_REMAKE, _READ),
    "cost_forecast_part": (_REMAKE, _READ),
    "cost_forecast_score": (_REMAKE, _READ),
    "cost_forecast_total": (_REMAKE, _READ),
    "cost_forecast_training": (_REMAKE, _READ),
    "analyst_object": (_READ, _NONE),
    "audit_event": (_ADD, _ADD),
    "audit_anchor": (_ADD, _READ),
    "audit_verification": (_ADD, _READ),
    "audit_intent": (_ALL, _ALL),
    "audit_lock": (_HOLD, _HOLD),
    "_yoyo_migration": (_READ, _READ),
}
"""Each table and view, and what `apex_sync` and `apex_panel` may do to it."""

# Whether our role may grant it comes last.
_LACKING = """
    SELECT privilege, name, has_table_privilege(
        to_regclass(name),
        replace(privilege, ' (exported_at)', '') || ' WITH GRANT OPTION'
    )
    FROM unnest(
        CAST(%(privileges)s AS text[]), CAST(%(names)s AS text[])
    ) AS wanted (privilege, name)
    WHERE to_regclass(name) IS NOT NULL AND NOT CASE privilege
        WHEN 'UPDATE (exported_at)' THEN NOT EXISTS (
            SELECT FROM pg_attribute
            WHERE attrelid = to_regclass(name) AND attname = 'exported_at'
                AND NOT attisdropped
                AND NOT has_column_privilege(%(role)s, attrelid, attnum, 'UPDATE')
        )
        ELSE has_table_privilege(%(role)s, to_regclass(name), privilege)
    END
"""

# Recording copies its lines into a temporary table.
_LACKING_BESIDES = """
    SELECT 'USAGE', has_schema_privilege(current_schema(), 'USAGE WITH GRANT OPTION')
    WHERE NOT has_schema_privilege(%(role)s, current_schema(), 'USAGE')
    UNION ALL
    SELECT privilege, has_database_privilege(
        current_database(), privilege || ' WITH GRANT OPTION'
    )
    FROM unnest(ARRAY['CONNECT', 'TEMPORARY']) AS privilege
    WHERE NOT has_database_privilege(%(role)s, current_database(), privilege)
"""

# Of two who provision at once, one may find that the other was faster.
_ATTEMPTS = 3

_MAY_CREATE = (
    "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
)

_MISSING_ROLES = (
    "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regrole(name) IS NULL"
)


def grant(database: Database) -> str | None:
    """Create the roles that are missing, and grant them what they lack.

    Returns:
        What you must do by hand, since our role may not; None if nothing.

    Raises:
        DatabaseError: Postgres did not answer.
    """
    problem: str | None = None
    for _ in range(_ATTEMPTS):
        with database.translated(), database.connect() as connection:
            connection.autocommit = True
            _make_roles(connection)
            _grant_what_is_lacking(connection)
        problem = missing_access(database)
        if problem is None:
            break
    return problem


def _make_roles(connection: psycopg.Connection) -> None:
    for role in _missing_roles(connection):
        name = sql.Identifier(role)
        if _tried(connection, sql.SQL("CREATE ROLE {} NOLOGIN").format(name)):
            comment = sql.SQL("COMMENT ON ROLE {} IS {}")
            _tried(connection, comment.format(name, sql.Literal(_COMMENTS[role])))


def _grant_what_is_lacking(connection: psycopg.Connection) -> None:
    for role in _COMMENTS.keys() - _missing_roles(connection):
        # Everyone has these by default; the role must keep them when PUBLIC loses them.
        for privilege, names in _besides(connection).items():
            _granted(connection, privilege, names, role)
        for (privilege, _), names in _lacking(connection, role).items():
            # One statement for all; one for each where some are not ours to grant.
            if not _granted(connection, privilege, names, role):
                for name in names:
                    _granted(connection, privilege, [name], role)


def find_gaps(database: Database) -> list[Gap]:
    """Find the roles that are missing, and what the others lack.

    Raises:
        DatabaseError: Postgres did not answer.
    """
    with database.translated(), database.connect() as connection:
        connection.autocommit = True
        missing = _missing_roles(connection)
        may_create = connection.execute(_MAY_CREATE).fetchone() == (True,)
        gaps = [
            Gap(
                role,
                is_role=True,
                is_ours=may_create,
                remedy=f"The role {role} is missing. To use it, run as a user who may "
                f"create roles: CREATE ROLE {role} NOLOGIN; then run `apex provision "
                "database`.",
            )
            for role in missing
        ]
        gaps += [
            Gap(
                f"{privilege} on {_shown(names)} to {role}",
                is_role=False,
                is_ours=is_ours,
                remedy=f"The role {role} lacks {privilege} on {_shown(names)}; the owner "
                "can grant it.",
            )
            for role in _COMMENTS
            if role not in missing
            for (privilege, is_ours), names in _lacking(connection, role).items()
        ]
    return gaps


def missing_access(database: Database) -> str | None:
    """Describe the roles that are missing, and what the others lack; None if nothing.

    Raises:
        DatabaseError: Postgres did not answer.
    """
    return by_hand(find_gaps(database), ours_too=True)


def _shown(names: list[str]) -> str:
    return ", ".join(name.replace('"', "") for name in names)


def _missing_roles(connection: psycopg.Connection) -> list[str]:
    rows = connection.execute(_MISSING_ROLES, [list(_COMMENTS)])
    return [name for (name,) in rows]


def _lacking(
    connection: psycopg.Connection, role: str
) -> dict[tuple[str, bool], list[str]]:
    """What a role lacks: the privilege, whether we may grant it, and on what."""
    column = list(_COMMENTS).index(role)
    wanted = [
        (privilege, name)
        for name, granted in PRIVILEGES.items()
        for privilege in granted[column]
    ]
    values = {
        "role": role,
        "privileges": [privilege for privilege, _ in wanted],
        "names": [name for _, name in wanted],
    }
    found: dict[tuple[str, bool], list[str]] = {}
    for privilege, name, is_ours in connection.execute(_LACKING, values):
        found.setdefault((privilege, is_ours), []).append(_quoted(name, connection))
    besides = _besides(connection)
    rows = connection.execute(_LACKING_BESIDES, {"role": role})
    return found | {(each, is_ours): besides[each] for each, is_ours in rows}


def _besides(connection: psycopg.Connection) -> dict[str, list[str]]:
    """What every role needs besides tables: the privilege, and on what."""
    row = connection.execute("SELECT current_schema(), current_database()").fetchone()
    schema, database = (_quoted(str(name), connection) for name in row or ("", ""))
    on_database = [f"DATABASE {database}"]
    return {
        "USAGE": [f"SCHEMA {schema}"],
        "CONNECT": on_database,
        "TEMPORARY": on_database,
    }


def _quoted(name: str, connection: psycopg.Connection) -> str:
    return sql.Identifier(name).as_string(connection)


def _granted(
    connection: psycopg.Connection, privilege: str, names: list[str], role: str
) -> bool:
    statement = f"GRANT {privilege} ON {', '.join(names)} TO {role}"
    return _tried(connection, sql.SQL(statement))


def _tried(connection: psycopg.Connection, statement: sql.SQL | sql.Composed) -> bool:
    """Run a statement that needs a right which our role may lack."""
    try:
        connection.execute(statement)
    # If two provision at once, the second finds the role, or a changed row.
    except (
        errors.InsufficientPrivilege,
        errors.DuplicateObject,
        errors.UniqueViolation,
    ):
        return False
    except errors.InternalError as error:
        if "concurrently" not in str(error):
            raise
        return False
    return True
