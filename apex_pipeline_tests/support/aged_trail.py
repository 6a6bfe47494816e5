"""An audit trail of past days."""

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from apex_pipeline.audit import trail
from apex_pipeline.audit.anchoring import Edges, work_daily
from apex_pipeline.audit.chain import digest
from apex_pipeline.audit.events import Action, Author, Event
from apex_pipeline.postgres.database import Database

AUTHOR = Author("ada@host", "run-1")


@pytest.fixture
def database(database_url):
    with Database(database_url, application_name="test") as opened:
        yield opened


def append(database, count=1, reason=None):
    for _ in range(count):
        act = uuid4()
        event = Event(Action.EXPORT, AUTHOR, {"to": "=cmd"}, reason=reason)
        database.transact(lambda c: trail.append(c, event, act))  # noqa: B023  run at once


def daily(database, keep=None, **edges):
    return work_daily(
        database, AUTHOR, Edges(edges.pop("check_stamp", lambda _: None), **edges), keep
    )


def age(database_url, days):
    """Make all events and anchors older, with a trail that fits."""
    with psycopg.connect(database_url) as connection:
        connection.execute("SET LOCAL session_replication_role = replica")
        found = connection.execute(f"{trail.EVENTS} ORDER BY sequence").fetchall()
        previous = "00" * 32
        hashes: dict[int, str] = {}
        for row in found:
            event: dict[str, Any] = trail.shown(row)
            at = datetime.fromisoformat(event["at"]) - timedelta(days=days)
            event |= {"at": f"{at:%Y-%m-%dT%H:%M:%S}Z", "previous_hash": previous}
            if event["action"] == "anchor":
                sequence = event["subject"]["sequence"]
                event["subject"] = {"sequence": sequence, "hash": hashes[sequence]}
            del event["hash"]
            previous = hashes[row[0]] = digest(event)
            connection.execute(
                "UPDATE audit_event SET at = %s, subject = %s, "
                "previous_hash = decode(%s, 'hex'), hash = decode(%s, 'hex') "
                "WHERE sequence = %s",
                (
                    event["at"],
                    json.dumps(event["subject"]),
                    event["previous_hash"],
                    previous,
                    row[0],
                ),
            )
            connection.execute(
                "UPDATE audit_anchor SET hash = decode(%s, 'hex'), "
                "anchored_at = anchored_at - %s WHERE sequence = %s",
                (previous, timedelta(days=days), row[0]),
            )
