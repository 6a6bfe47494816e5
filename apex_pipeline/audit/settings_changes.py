"""Changes of settings, by name and fingerprint.

A variable is changed outside the pipeline, so it is noted by the first run that sees it.
Only variables that decide where data goes, how it is computed and who is alerted count:
those of the other parts differ from process to process.
"""

import hashlib
import hmac
from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import Connection

from apex_pipeline.audit.canonical_json import Json
from apex_pipeline.audit.events import Action, Author, Event
from apex_pipeline.audit.trail import append, newest_of, part
from apex_pipeline.settings import VARIABLES, read_variable

_PARTS = frozenset({"Postgres", "Dataverse", "Alerts", "Analysis"})
_DIGITS = 16
_DATABASE, _SECRET = "DATABASE_URL", "AZURE_CLIENT_SECRET"


def fingerprints(environment: Mapping[str, str]) -> dict[str, Json]:
    """The fingerprint of each variable that is set.

    That of a secret is keyed with another secret, the database's URL, so a reader of
    the trail cannot try out guesses.
    """
    return {
        variable.name: _fingerprint(environment, variable.name, value)
        for variable in VARIABLES
        if variable.part in _PARTS
        and (value := read_variable(environment, variable.name))
    }


def _fingerprint(environment: Mapping[str, str], name: str, value: str) -> str:
    key = read_variable(environment, _SECRET if name == _DATABASE else _DATABASE)
    mark = hmac.new(key.encode(), f"{name}={value}".encode(), hashlib.sha256)
    return mark.hexdigest()[:_DIGITS]


def note_settings(
    connection: Connection, now: Mapping[str, Json], author: Author, act: UUID
) -> None:
    """Append an event if settings differ from those of the last such event.

    Args:
        connection: The transaction.
        now: Their fingerprints.
        author: Who is the first to see them so.
        act: Identifies the act.
    """
    last = newest_of(connection, Action.CHANGE_SETTINGS)
    known = {} if last is None else part(part(last, "subject"), "settings")
    changed = sorted(
        name for name in now.keys() | known.keys() if now.get(name) != known.get(name)
    )
    if changed:
        event = Event(
            Action.CHANGE_SETTINGS,
            author,
            {"settings": dict(now)},
            {"settings": len(changed)},
            {name: known.get(name) for name in changed},
            {name: now.get(name) for name in changed},
        )
        append(connection, event, act)
