"""The table of incidents: reading and writing its rows."""

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from apex_pipeline.monitoring.alerts.incidents import Incident
from apex_pipeline.monitoring.alerts.notice import Severity
from apex_pipeline.texts.redaction import redacted

_COLUMNS = tuple(field.name for field in fields(Incident))

_INCIDENTS = f"""
    SELECT {", ".join(_COLUMNS)}
    FROM apex_alerts.incident
    WHERE location = %(location)s
        AND (resolved_at IS NULL OR resolved_at > %(since)s)
    ORDER BY opened_at, fingerprint
"""  # noqa: S608  constants

_SAVE = f"""
    INSERT INTO apex_alerts.incident (location, {", ".join(_COLUMNS)})
    VALUES (%(location)s, {", ".join(f"%({name})s" for name in _COLUMNS)})
    ON CONFLICT (location, fingerprint, opened_at) DO UPDATE
    SET {
    ", ".join(
        f"{name} = excluded.{name}"
        for name in _COLUMNS
        if name not in {"fingerprint", "opened_at"}
    )
}
"""  # noqa: S608  constants

_FORGET = """
    DELETE FROM apex_alerts.incident
    WHERE location = %(location)s AND resolved_at < %(before)s
"""


def read(connection: Connection, location: str, since: datetime) -> list[Incident]:
    """A location's open incidents, and those resolved since then, by their opening."""
    values = {"location": location, "since": since}
    rows = connection.exec_driver_sql(_INCIDENTS, values).mappings()
    return [_incident(row) for row in rows]


def save(connection: Connection, location: str, incident: Incident) -> None:
    """Write an incident, new or not."""
    values = {name: getattr(incident, name) for name in _COLUMNS} | {
        "location": location,
        "severity": incident.severity.value,
        "facts": json.dumps(incident.facts, allow_nan=False),
        "inhibits": sorted(incident.inhibits),
    }
    connection.exec_driver_sql(_SAVE, redacted(values))


def forget(connection: Connection, location: str, before: datetime) -> None:
    """Delete what was resolved before an instant."""
    connection.exec_driver_sql(_FORGET, {"location": location, "before": before})


def _incident(row: Mapping[Any, Any]) -> Incident:
    values = {
        name: value.astimezone(UTC) if isinstance(value, datetime) else value
        for name, value in row.items()
    }
    return Incident(
        **values
        | {
            "severity": Severity(row["severity"]),
            "facts": tuple((name, text) for name, text in row["facts"]),
            "inhibits": frozenset(row["inhibits"]),
        }
    )
