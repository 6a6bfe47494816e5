"""What an operator asks first, and who else may have noticed something."""

import dataclasses
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from apex_pipeline.errors import ConfigError, DatabaseError
from apex_pipeline.microsoft.credential_expiry import CredentialEnd, credential_end
from apex_pipeline.monitoring.alerts.journal import VARIABLE, Journal
from apex_pipeline.monitoring.alerts.send_limits import begun, by
from apex_pipeline.monitoring.answer_time import answer_by
from apex_pipeline.monitoring.status import Status, read_ledger, read_status
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import (
    Settings,
    load_journal_name,
    load_settings,
    read_variable,
)

# Together less than the time for an answer, so a failure says why.
_CONNECTING_SECONDS = 3.0
_QUERY_SECONDS = 4.0
_STATEMENT_SECONDS = 3.0
# To ask who holds the lock that a statement has waited for.
_HOLDER_SECONDS = 1.5
_JOURNAL_SECONDS = 2.0
_DIRECTORY_SECONDS = 2.0

_FIGURES = tuple(each.name for each in dataclasses.fields(Status))


def overview(
    environment: Mapping[str, str], *, began: float | None = None
) -> dict[str, object]:
    """The state of the sync, the end of the credential, and the open incidents.

    It answers in time (see `answer_by`), with what it knows. What could not be read is
    None, and `database_error` says why where that is due to Postgres. Incidents are also
    None without a journal.

    Args:
        environment: The variables.
        began: When the process began to load; by default now.

    Raises:
        ConfigError: The environment is incomplete or contradictory.
    """
    settings = load_settings(environment)
    ends_at = answer_by(began)
    figures = begun(lambda: _figures(settings, ends_at))
    end = begun(lambda: _credential_end(settings, environment))
    incidents = begun(lambda: _open_incidents(environment))
    found = by(ends_at, figures, _unknown("Postgres did not answer in time."))
    known = by(ends_at, end, CredentialEnd(None, "Microsoft Graph gives no answer"))
    return found | {
        "credential_expires_on": known.on,
        "credential_source": known.source,
        "open_incidents": by(ends_at, incidents, None),
    }


def seconds_for_queries(left: float) -> float:
    """The budget of all queries, which shortens waits for locks but no single query.

    A busy machine leaves little time for the answer. Waiting for a lock must then end
    early enough to name its holder in time.

    Args:
        left: Seconds until the answer is due.
    """
    return min(_QUERY_SECONDS, max(left - _HOLDER_SECONDS, 0.0))


def _credential_end(
    settings: Settings, environment: Mapping[str, str]
) -> CredentialEnd:
    try:
        return credential_end(
            settings.dataverse,
            environment,
            settings.token_cache_path,
            seconds=_DIRECTORY_SECONDS,
        )
    except ConfigError as error:
        return CredentialEnd(None, str(error))


def _figures(settings: Settings, ends_at: float) -> dict[str, object]:
    known: dict[str, object] = {}
    try:
        with Database(
            settings.database_url,
            wait_seconds=_CONNECTING_SECONDS,
            statement_seconds=_STATEMENT_SECONDS,
            application_name="apex_pipeline status",
        ) as database:
            # A server that wakes up has time of its own for that.
            database.connect().close()
            database.spend(seconds_for_queries(ends_at - time.monotonic()))
            known = read_ledger(database, datetime.now(UTC))
            found = read_status(database, settings.dataverse)
            return dataclasses.asdict(found) | {"database_error": None}
    except DatabaseError as error:
        return _unknown(str(error)) | known


def _unknown(why: str) -> dict[str, object]:
    return dict.fromkeys(_FIGURES) | {"database_error": why}


def _open_incidents(environment: Mapping[str, str]) -> list[str] | None:
    url = read_variable(environment, VARIABLE)
    if not url:
        return None
    try:
        location = load_journal_name(environment)
        with Journal(
            url,
            location,
            wait_seconds=_JOURNAL_SECONDS,
            statement_seconds=_JOURNAL_SECONDS,
        ) as journal:
            return [each.title for each in journal.incidents()]
    except DatabaseError:
        return None
