"""What is known of each Dataverse environment that receives rows."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class Target:
    """A Dataverse environment that receives rows, or may do so."""

    resource: str
    first_delivered_at: datetime | None
    duplicates_accepted_at: datetime | None
    records_adopted_at: datetime | None = None


_TARGET = """
    SELECT resource, first_delivered_at, duplicates_accepted_at, records_adopted_at
    FROM dataverse_target
    WHERE resource = %(resource)s
"""

_ACCEPT_DUPLICATES = """
    INSERT INTO dataverse_target (resource, duplicates_accepted_at)
    VALUES (%(resource)s, %(at)s)
    ON CONFLICT (resource) DO UPDATE
    SET duplicates_accepted_at = excluded.duplicates_accepted_at
"""

_RECORD_ADOPTION = """
    INSERT INTO dataverse_target (resource, records_adopted_at)
    VALUES (%(resource)s, %(at)s)
    ON CONFLICT (resource) DO UPDATE
    SET records_adopted_at = excluded.records_adopted_at
"""

_RECORD_DELIVERY = """
    INSERT INTO dataverse_target AS known (resource, first_delivered_at)
    VALUES (%(resource)s, %(at)s)
    ON CONFLICT (resource) DO UPDATE
    SET first_delivered_at = excluded.first_delivered_at
    WHERE known.first_delivered_at IS NULL
"""


def target(connection: Connection, resource: str) -> Target | None:
    """Read the stored state of an environment; None if it is unknown."""
    row = connection.exec_driver_sql(_TARGET, {"resource": resource}).one_or_none()
    return None if row is None else Target(*row)


def accept_duplicates(connection: Connection, resource: str, at: datetime) -> None:
    """Store the operator's decision to deliver despite another flow's records."""
    connection.exec_driver_sql(_ACCEPT_DUPLICATES, {"resource": resource, "at": at})


def record_adoption(connection: Connection, resource: str, at: datetime) -> None:
    """Store that another flow's records were adopted and no longer prevent delivery."""
    connection.exec_driver_sql(_RECORD_ADOPTION, {"resource": resource, "at": at})


def record_delivery(connection: Connection, resource: str, at: datetime) -> None:
    """Store when the first row was delivered to an environment."""
    connection.exec_driver_sql(_RECORD_DELIVERY, {"resource": resource, "at": at})
