"""What an operator asks first, and who else may have noticed something."""

import dataclasses
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from apex_pipeline.errors import DatabaseError
from apex_pipeline.microsoft.credential_expiry import CredentialEnd, credential_end
from apex_pipeline.monitoring.alerts.journal import VARIABLE, Journal
from apex_pipeline.monitoring.alerts.send_limits import begun, by
from apex_pipeline.monitoring.status import Status, read_ledger, read_status
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import (
    Settings,
    load_code_location,
    load_settings,
    read_variable,
)

# Together less than the ten seconds in which an answer is promised, whatever hangs.
_SECONDS = 7.0
_CONNECTING_SECONDS = 3.0
_STATEMENT_SECONDS = 3.0
_JOURNAL_SECONDS = 2.0
_DIRECTORY_SECONDS = 2.0

_FIGURES = tuple(each.name for each in dataclasses.fields(Status))


def overview(environment: Mapping[str, str]) -> dict[str, object]:
    """The state of the sync, the end of the credential, and the open incidents.

    It answers within seven seconds, with what it knows. What could not be read is None,
    and `database_error` says why where that is due to Postgres. Incidents are None also
    where nobody keeps them.

    Raises:
        ConfigError: The environment is incomplete or contradictory.
    """
    settings = load_settings(environment)
    ends_at = time.monotonic() + _SECONDS
    figures = begun(lambda: _figures(settings))
    end = begun(
        lambda: credential_end(
            settings.dataverse,
            environment,
            settings.token_cache_path,
            seconds=_DIRECTORY_SECONDS,
        )
    )
    incidents = begun(lambda: _open_incidents(environment))
    late = f"no answer in {_SECONDS:g} s"
    found = by(ends_at, figures, _unknown(f"Postgres has given {late}."))
    known = by(ends_at, end, CredentialEnd(None, f"Microsoft Graph gives {late}"))
    return found | {
        "credential_expires_on": known.on,
        "credential_source": known.source,
        "open_incidents": by(ends_at, incidents, None),
    }


def _figures(settings: Settings) -> dict[str, object]:
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
            database.spend(_SECONDS - _CONNECTING_SECONDS)
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
        location = load_code_location(environment)
        with Journal(
            url,
            location,
            wait_seconds=_JOURNAL_SECONDS,
            statement_seconds=_JOURNAL_SECONDS,
        ) as journal:
            return [each.title for each in journal.incidents()]
    except DatabaseError:
        return None
