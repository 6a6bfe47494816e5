"""Teams, by a workflow that posts what it is sent into a channel or a chat.

Trigger "When a Teams webhook request is received". Microsoft Learn, "Create incoming
webhooks with Workflows". Its answer, 2xx without a body, says that the workflow has taken
the card, not that it has posted it: one that fails afterwards shows only in its own run
history.
"""

import re
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from apex_pipeline.errors import ApexError
from apex_pipeline.microsoft.documented_success import Documented
from apex_pipeline.microsoft.http_answer import Answer, stand_in
from apex_pipeline.monitoring.alerts import webhook
from apex_pipeline.monitoring.alerts.adaptive_card import payload
from apex_pipeline.monitoring.alerts.notice import DeliveryError, Notice
from apex_pipeline.monitoring.alerts.send_limits import Pace, until_taken

_HEADERS = {"Content-Type": "application/json; charset=utf-8"}
_CODE = re.compile(r"\w{1,60}", re.ASCII)
_RENEW = (
    "Look at the workflow in Power Automate; if it is gone, make a new one, and set "
    "its address in APEX_TEAMS_WEBHOOK_URL."
)
_REMEDIES = {
    400: "Its first action must take an Adaptive Card; make it from the template.",
    401: 'Its trigger must be open to anyone: "Who can trigger the flow" is "Anyone".',
    403: 'Its trigger must be open to anyone: "Who can trigger the flow" is "Anyone".',
    404: _RENEW,
    410: _RENEW,
}

_CARD_TAKEN = Documented(
    frozenset({200, 201, 202, 204}),
    shape=lambda answer: answer.body.strip() in {b"", b"1"},
    shape_text="an empty body",
)
# A Teams workflow takes a card with 202 and no body; the connectors that workflows
# replaced said `1` (observed).


class Teams:
    """Posts a card for each notice."""

    name = "teams"

    def __init__(
        self,
        url: str,
        ca_bundle: Path | None = None,
        *,
        pace: Pace | None = None,
        patiently: Callable[[Callable[[], Answer]], Answer] = until_taken,
    ) -> None:
        self._url = url
        self._ca_bundle = ca_bundle
        self._pace = pace or _pace_of(url)
        self._patiently = patiently

    def send(self, notice: Notice) -> None:
        """Post a card.

        Raises:
            DeliveryError: It was not taken, or nobody knows whether it was.
        """
        body = payload(notice)
        try:
            self._pace.take()
            answer = self._patiently(partial(self._post, body))
        except DeliveryError as error:
            raise _undelivered(str(error), error.retry_after) from None
        except ApexError as error:
            raise _undelivered(str(error)) from None
        if _CARD_TAKEN(answer) is not None:
            raise _undelivered(_refusal(answer))

    def reach(self, seconds: float) -> str:
        """What can be seen without setting the workflow off.

        Raises:
            DeliveryError: It cannot be reached.
        """
        try:
            took = webhook.reach(self._url, ca_bundle=self._ca_bundle, seconds=seconds)
        except ApexError as error:
            raise _undelivered(str(error)) from None
        return f"TLS in {1000 * took:,.0f} ms, nothing sent"

    def _post(self, body: bytes) -> Answer:
        return webhook.call(
            "POST", self._url, body=body, headers=_HEADERS, ca_bundle=self._ca_bundle
        )


@cache
def _pace_of(url: str) -> Pace:
    """One pace for each workflow, kept by the process that sends.

    Microsoft publishes no limit for workflows; the connectors before them took 4 a
    second and 100 an hour, and a workflow shares its owner's daily allowance.
    """
    del url
    return Pace(apart=1.0, per_hour=30)


def _refusal(answer: Answer) -> str:
    if 300 <= answer.status < 400:
        return (
            f"it redirects (HTTP {answer.status}), which is not followed: the address "
            f"is a secret. {_RENEW}"
        )
    if answer.ok or answer.is_page:
        return stand_in(answer, "Teams")
    code = answer.error()[0] or ""
    named = f", {code}" if _CODE.fullmatch(code) else ""
    remedy = _REMEDIES.get(answer.status, "Look at the workflow in Power Automate.")
    return f"it answers HTTP {answer.status}{named}. {remedy}"


def _undelivered(reason: str, retry_after: float | None = None) -> DeliveryError:
    return DeliveryError(f"The Teams workflow: {reason}", retry_after=retry_after)
