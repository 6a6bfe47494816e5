"""Send events to a receiver of OpenLineage, through its own client library."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import requests
from openlineage.client.event_v2 import RunEvent
from openlineage.client.transport.http import (
    ApiKeyTokenProvider,
    HttpConfig,
    HttpTransport,
    TokenProvider,
)

from apex_pipeline.errors import LineageError
from apex_pipeline.microsoft.http_answer import Answer
from apex_pipeline.microsoft.proxy_routes import proxy_towards
from apex_pipeline.settings import LineageSettings

logger = logging.getLogger(__name__)

_SECONDS = 5.0
# The next tick asks again, so one request is one attempt.
_NO_RETRIES = {"total": 0}
# The specification documents 200; Marquez answers 201, and receivers that queue 202 or 204.
_TAKEN = frozenset({200, 201, 202, 204})
# The receiver understood, and will never take this event.
_REFUSED = frozenset({400, 409, 413, 422})
# Until then a refusal that is no JSON may be a gateway's, and pass.
_PATIENCE = timedelta(days=1)


def _is_object(answer: Answer) -> bool:
    return isinstance(answer.document, dict) and bool(answer.document)


class Receiver:
    """Takes events by HTTP."""

    def __init__(
        self,
        settings: LineageSettings,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Prepare the client; it sends nothing yet.

        Raises:
            ConfigError: The proxy on the way cannot be used.
        """
        key = settings.api_key
        proxy_towards(httpx.URL(settings.url))
        self._now = now
        self._url = settings.url
        self._transport = HttpTransport(
            HttpConfig(
                url=settings.url,
                timeout=_SECONDS,
                auth=ApiKeyTokenProvider({"apiKey": key}) if key else TokenProvider({}),
                retry=_NO_RETRIES,
            )
        )
        # A redirect, such as to a sign-in page, would become a read that succeeds.
        self._transport.session.max_redirects = 0

    def send(self, event: RunEvent) -> None:
        """Send one event; one that the receiver refuses as such is logged and left out.

        Raises:
            LineageError: The receiver did not take it; it may take it later.
        """
        try:
            found = self._transport.emit(event)
        except requests.RequestException as error:
            if error.response is None:
                raise self._not_taken(event, type(error).__name__) from error
            found = error.response
        answer = Answer.of(found)
        # Receivers may call plain text a page, so the text decides.
        is_page = answer.body.lstrip().startswith(b"<")
        is_refusal = answer.status in _REFUSED and (
            _is_object(answer) or self._is_old(event)
        )
        if not is_refusal and (is_page or answer.status not in _TAKEN):
            raise self._not_taken(event, answer.looks())
        if is_refusal:
            logger.warning(
                "%s refuses the lineage of run %s (HTTP %s); it is left out",
                self._url,
                event.run.runId,
                answer.status,
            )

    def _is_old(self, event: RunEvent) -> bool:
        return self._now() - datetime.fromisoformat(event.eventTime) > _PATIENCE

    def _not_taken(self, event: RunEvent, why: str) -> LineageError:
        return LineageError(
            f"{self._url} does not take the lineage of run {event.run.runId} ({why}). It "
            "is sent again at the next tick. Check OPENLINEAGE_URL and OPENLINEAGE_API_KEY, and the receiver's log."
        )
