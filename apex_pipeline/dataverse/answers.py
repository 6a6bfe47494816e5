"""Interpret Dataverse answers: what went wrong, and what to do.

Statuses and codes are from Microsoft Learn ("Compose HTTP requests and handle errors",
"Web service error codes", "Service protection API limits", "Troubleshoot bulk
operation errors"). The status decides first, because live organizations and the
documentation do not always agree on the code.
"""

import re
from enum import Enum, auto

from apex_pipeline.errors import (
    AuthError,
    DataverseError,
    RejectedError,
    SchemaDriftError,
    TransientError,
)
from apex_pipeline.microsoft.http_answer import (
    Answer,
    Expectation,
    intercepted,
)

SQL_TIMEOUT = "0x80044151"
PAYLOAD_ERROR = "0x80048d19"
"""Wrong JSON type, number out of int32, or a property that the table does not have."""

ROW_FAULTS = frozenset({"0x80044331", "0x80044330", "0x8004432f", "0x8004431a"})
"""Length, decimal range, whole-number range, choice: always the row's own fault."""

# Gateways use 520 to 529 for a failing origin (Cloudflare's documentation).
_TRANSIENT_STATUSES = frozenset({408, 500, 502, 503, 504, *range(520, 530)})
GATEWAY_TIMEOUTS = frozenset({502, 504, 524})
"""What gateways say when a request takes too long, and when they fail themselves."""

_TRANSIENT_CODES = frozenset(
    {
        "0x80044150",  # generic SQL error: deadlock 1205, first-use races
        SQL_TIMEOUT,
        "0x80040255",  # transaction already rolled back: a swallowed deadlock
        "0x8004ed47",  # a customization holds the metadata lock
    }
)
LOST_RACES = frozenset({"0x80060892", "0x80073002", "0x80040237"})
"""An upsert that lost the race to create the same record; a retry updates it. If the
retry fails too, the row itself collides with another."""

_NOT_A_MEMBER = "0x80072560"
_USER_DISABLED = "0x80040225"
_ORGANIZATION_DISABLED = "0x8004a104"
_ADMINISTRATION_MODE = re.compile(r"admin(istration)?(\s+only)?\s+mode", re.IGNORECASE)
_UNKNOWN_SEGMENT = "resource not found for the segment"
_CODE = re.compile(r"(0x[0-9a-fA-F]+)?")
_BEARER = re.compile(r"(^|,)\s*bearer(\s|,|$)", re.IGNORECASE)


class Remedy(Enum):
    """What the sender does after an answer."""

    NONE = auto()
    """The request succeeded."""
    WAIT = auto()
    """429: all requests wait."""
    RENEW = auto()
    """401: the token is no longer accepted."""
    RETRY = auto()
    """The next attempt may succeed."""
    GIVE_UP = auto()
    """The next attempt would fail the same way."""


def is_dataverse_error(answer: Answer) -> bool:
    """Whether the body is an error as Dataverse writes it: its code, and a text.

    Microsoft Learn, "Compose HTTP requests and handle errors"; the code may be empty.
    """
    error = answer.document.get("error") if isinstance(answer.document, dict) else None
    if not isinstance(error, dict):
        return False
    code, message = error.get("code"), error.get("message")
    return (
        isinstance(message, str)
        and isinstance(code, str)
        and _CODE.fullmatch(code) is not None
    )


def asks_for_pause_itself(answer: Answer) -> bool:
    """Whether a 429 or 503 is Dataverse's own, and not one of a gateway.

    Its body may be missing, and nothing then tells who answers. The headers are those of
    every answer of Dataverse; gateways add some of the same family to their pages.
    """
    if answer.is_page:
        return False
    names = ("odata-version", "x-ms-")
    return (
        is_dataverse_error(answer)
        or not answer.body.strip()
        or any(name.startswith(names) for name in answer.headers)
    )


def remedy(answer: Answer, expected: Expectation | None = None) -> Remedy:
    """What to do after an answer to an idempotent request.

    Args:
        answer: The answer.
        expected: Recognizes the documented success. Omit it for a part of a `$batch`,
            which was checked with the whole.
    """
    if answer.status < 400:
        is_success = answer.ok if expected is None else expected(answer) is None
        return Remedy.NONE if is_success else Remedy.RETRY
    if answer.status == 429:
        return Remedy.WAIT
    if is_intercepted(answer):
        return Remedy.RETRY
    if answer.status == 401:
        return Remedy.RENEW
    code, _ = answer.error()
    if (
        answer.status in _TRANSIENT_STATUSES
        or code in _TRANSIENT_CODES
        or (answer.status in {400, 412} and code in LOST_RACES)
    ):
        return Remedy.RETRY
    return Remedy.GIVE_UP


def is_intercepted(answer: Answer) -> bool:
    """Whether an error comes from something on the way instead of Dataverse.

    A 401 of Dataverse has no documented body, but asks for no other proof than a token.
    A gateway may also say that a request is too large or that the service fails for now,
    and that is just as true.
    """
    if is_dataverse_error(answer):
        return False
    if answer.status == 401:
        challenge = answer.headers.get("www-authenticate", "")
        if challenge:
            return _BEARER.search(challenge) is None
        return answer.is_page
    if answer.status == 429:
        return not asks_for_pause_itself(answer)
    return answer.status >= 400 and answer.status not in {413, *_TRANSIENT_STATUSES}


def is_too_much(answer: Answer) -> bool:
    """Whether the request may have been too large for Dataverse or a gateway."""
    statuses = {413, *GATEWAY_TIMEOUTS}
    return answer.status in statuses or answer.error()[0] == SQL_TIMEOUT


def failure(
    answer: Answer, what: str, expected: Expectation | None = None
) -> DataverseError:
    """The error for an answer that is not a success.

    Args:
        answer: The answer.
        what: The attempted action, for the message: "upsert 100 records".
        expected: See `remedy`.
    """
    if answer.status < 400 or is_intercepted(answer):
        return intercepted(answer, what, "Dataverse", expected)
    code, message = answer.error()
    text = f"Dataverse refused to {what}: {message}"
    kind: type[DataverseError] = RejectedError
    if answer.status == 401:
        kind = AuthError
        text = (
            f"Dataverse does not accept the token to {what}: {message.rstrip('.')}. "
            "Check that DATAVERSE_RESOURCE is the environment's own address."
        )
    elif answer.status == 403 or code == _ORGANIZATION_DISABLED:
        kind, text = AuthError, _forbidden(code, what, message)
    elif answer.status in {404, 405, 501} or _UNKNOWN_SEGMENT in message.lower():
        kind = SchemaDriftError
        text = (
            f"Dataverse has nothing at that address to {what}: {message.rstrip('.')}. "
            "Create the table with `apex provision dataverse`."
        )
    elif remedy(answer) is Remedy.RETRY and code not in LOST_RACES:
        kind, text = TransientError, f"Dataverse failed to {what}: {message}"
    return kind(text, status=answer.status, code=code, request_id=answer.request_id)


def _forbidden(code: str | None, what: str, message: str) -> str:
    if code == _NOT_A_MEMBER:
        return (
            f"The application may not {what}: {message} Add it as an application user "
            "of the environment, with the role Apex Metrics Sync."
        )
    if code == _USER_DISABLED:
        return (
            f"The application may not {what}: {message} Enable its application user in "
            "the Power Platform admin center, or give it a business unit."
        )
    if code == _ORGANIZATION_DISABLED or _ADMINISTRATION_MODE.search(message):
        return (
            f"The application may not {what}: {message} The environment is disabled or "
            "in administration mode: switch that off in the Power Platform admin center "
            "(*Environments*, the environment, *Edit*)."
        )
    return (
        f"The application may not {what}: {message} Give its application user a role "
        "with that privilege (create, read and write on the table)."
    )
