"""Migrations in the audit trail: which were applied, by any process.

A migration commits by itself, so its event cannot be in the same transaction. Instead
the two lists are compared: a migration that no event names yet gets one.
"""

from collections.abc import Collection
from uuid import uuid4

from sqlalchemy import Connection

from apex_pipeline.audit.canonical_json import Json
from apex_pipeline.audit.events import Action, Author, Event
from apex_pipeline.audit.trail import Transacting, append

_UNNOTED = """
    SELECT migration_id FROM _yoyo_migration
    WHERE migration_id NOT IN (
        SELECT jsonb_array_elements_text(subject -> 'migrations') FROM audit_event
        WHERE action = 'provision' AND subject ? 'migrations'
        UNION ALL
        SELECT jsonb_array_elements_text(event -> 'subject' -> 'migrations')
        FROM audit_intent
        WHERE event -> 'subject' ? 'migrations'
    )
    ORDER BY migration_id
"""

# Older events may be gone with what they named.
_IS_PRUNED = "SELECT EXISTS (SELECT FROM audit_event WHERE action = 'prune')"


def note_migrations(
    database: Transacting, author: Author, applied: Collection[str] = ()
) -> None:
    """Append an event that names what was applied, and what no event names yet.

    Args:
        database: Where they were applied.
        author: Who applied them, or found them.
        applied: Names of those applied just now, perhaps again.
    """
    act = uuid4()

    def note(connection: Connection) -> None:
        names = unnoted(connection, applied)
        if names:
            subject: dict[str, Json] = {
                "database": "metrics",
                "migrations": list[Json](names),
            }
            counts = {"migrations": len(names)}
            append(connection, Event(Action.PROVISION, author, subject, counts), act)

    database.transact(note, repeatable=True)


def unnoted(connection: Connection, applied: Collection[str] = ()) -> list[str]:
    """The names of what was applied just now, and of what no event names yet."""
    is_pruned = connection.exec_driver_sql(_IS_PRUNED).scalar_one()
    found = [] if is_pruned else connection.exec_driver_sql(_UNNOTED).scalars().all()
    return sorted({*found, *applied})
