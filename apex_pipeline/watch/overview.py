"""What an operator asks first, and who else may have noticed something."""

import dataclasses
from collections.abc import Mapping

from apex_pipeline import store
from apex_pipeline.alerts.journal import VARIABLE, Journal
from apex_pipeline.credential_end import credential_end
from apex_pipeline.errors import DatabaseError
from apex_pipeline.settings import load_code_location, load_settings, read_variable
from apex_pipeline.status import read_status

_DIRECTORY_SECONDS = 2.0


def overview(environment: Mapping[str, str]) -> dict[str, object]:
    """The state of the sync, the end of the credential, and the open incidents.

    Incidents are None where nobody keeps them, or they cannot be read now.

    Raises:
        ConfigError: The environment is incomplete or contradictory.
        DatabaseError: Postgres did not answer, or lacks our tables.
    """
    settings = load_settings(environment)
    with store.connect(settings.database_url) as opened:
        found = dataclasses.asdict(read_status(opened, settings.dataverse))
    end = credential_end(
        settings.dataverse,
        environment,
        settings.token_cache_path,
        seconds=_DIRECTORY_SECONDS,
    )
    return found | {
        "credential_expires_on": end.on,
        "credential_source": end.source,
        "open_incidents": _open_incidents(environment),
    }


def _open_incidents(environment: Mapping[str, str]) -> list[str] | None:
    url = read_variable(environment, VARIABLE)
    if not url:
        return None
    try:
        location = load_code_location(environment)
        with Journal(url, location, wait_seconds=1.0) as journal:
            return [each.title for each in journal.incidents()]
    except DatabaseError:
        return None
