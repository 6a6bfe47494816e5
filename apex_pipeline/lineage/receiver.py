"""Send events to a receiver of OpenLineage, through its own client library."""

import logging

import requests
from openlineage.client.event_v2 import RunEvent
from openlineage.client.transport.http import (
    ApiKeyTokenProvider,
    HttpConfig,
    HttpTransport,
    TokenProvider,
)

from apex_pipeline.errors import LineageError
from apex_pipeline.settings import LineageSettings

logger = logging.getLogger(__name__)

_SECONDS = 5.0
# The next tick asks again, so one request is one attempt.
_NO_RETRIES = {"total": 0}
# The receiver understood, and will never take this event.
_REFUSED = frozenset({400, 409, 413, 422})


class Receiver:
    """Takes events by HTTP."""

    def __init__(self, settings: LineageSettings) -> None:
        key = settings.api_key
        self._url = settings.url
        self._transport = HttpTransport(
            HttpConfig(
                url=settings.url,
                timeout=_SECONDS,
                auth=ApiKeyTokenProvider({"apiKey": key}) if key else TokenProvider({}),
                retry=_NO_RETRIES,
            )
        )

    def send(self, event: RunEvent) -> None:
        """Send one event; one that the receiver refuses as such is logged and left out.

        Raises:
            LineageError: The receiver did not take it; it may take it later.
        """
        try:
            self._transport.emit(event)
        except requests.HTTPError as error:
            status = 0 if error.response is None else error.response.status_code
            if status not in _REFUSED:
                raise self._not_taken(f"HTTP {status}") from error
            logger.warning(
                "%s refuses the lineage of run %s (HTTP %s); it is left out",
                self._url,
                event.run.runId,
                status,
            )
        except requests.RequestException as error:
            raise self._not_taken(type(error).__name__) from error

    def _not_taken(self, why: str) -> LineageError:
        return LineageError(
            f"{self._url} takes no lineage ({why}). It is sent again at the next tick. "
            "Check OPENLINEAGE_URL and OPENLINEAGE_API_KEY, and the receiver's log."
        )
