"""The documented success of every request to the authority and to Graph.

A proxy's sign-in page, a captive portal or a gateway that queues requests answers with
2xx as well. So each request names the answer that its documentation gives for it: exact
status, headers, body. Anything else is a passing fault, and the work counts as not done.

Sources are pages of Microsoft Learn unless named.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from apex_pipeline.microsoft.http_answer import Answer
from apex_pipeline.settings.host_names import is_web_address

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Documented:
    """One documented success; called with an answer, it says what that lacks.

    Attributes:
        statuses: Any of these.
        headers: Names, in words, to a test of the headers.
        media_type: Of the body, where it is documented.
        shape: Whether the body is as documented.
        shape_text: The same in words.
    """

    statuses: frozenset[int]
    headers: Mapping[str, Callable[[Mapping[str, str]], bool]] = field(
        default_factory=dict
    )
    media_type: str | None = None
    shape: Callable[[Answer], bool] = lambda answer: not answer.body.strip()
    shape_text: str = "an empty body"

    def __call__(self, answer: Answer) -> str | None:
        """What the answer lacks, in words; None for the documented success."""
        if answer.status not in self.statuses:
            return f"status {' or '.join(map(str, sorted(self.statuses)))}"
        for name, is_given in self.headers.items():
            if not is_given(answer.headers):
                return f"the header {name}"
        if self.media_type is not None and answer.media_type != self.media_type:
            return f"the content type {self.media_type}"
        return None if self.shape(answer) else self.shape_text


def json_object(
    members: Mapping[str, Callable[[Any], bool]],
) -> Callable[[Answer], bool]:
    """A test for a JSON object that holds these members, and is no error."""

    def is_so(answer: Answer) -> bool:
        found = answer.document
        return (
            isinstance(found, dict)
            and bool(found)
            and "error" not in found
            and all(test(found.get(name)) for name, test in members.items())
        )

    return is_so


def is_service_error(answer: Answer) -> bool:
    """Whether it is an error as Microsoft's services tell it: a code, and a message.

    Graph's message may be empty. Firewalls and gateways answer with the same statuses, and
    with words of their own.
    """
    found = answer.document
    error = found.get("error") if isinstance(found, dict) else None
    return (
        not answer.ok
        and isinstance(error, dict)
        and is_text(error.get("code"))
        and isinstance(error.get("message"), str)
    )


def are_objects(value: object) -> bool:
    """Whether it is a list of JSON objects."""
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def is_text(value: object) -> bool:
    """Whether it is a text that says something."""
    return isinstance(value, str) and bool(value)


def is_token(value: object) -> bool:
    """Whether it fits into a header; an error about one that does not would quote it."""
    return isinstance(value, str) and re.fullmatch(r"[!-~]+", value) is not None


def _is_https(value: object) -> bool:
    return (
        isinstance(value, str)
        and is_web_address(value, frozenset({"https"}))
        # MSAL takes the path's first part for the tenant.
        and re.match("/[^/]", urlsplit(value).path) is not None
        and "@" not in urlsplit(value).netloc
    )


def _is_seconds(value: object) -> bool:
    return (
        not isinstance(value, bool)
        and re.fullmatch(r"[1-9]\d{0,11}", str(value)) is not None
    )


def _is_machine_token(answer: Answer) -> bool:
    found = answer.document
    if not isinstance(found, dict) or not json_object({"access_token": is_token})(
        answer
    ):
        return False
    ends = [found[name] for name in ("expires_in", "expires_on") if name in found]
    return bool(ends) and all(map(_is_seconds, ends))


TOKEN = Documented(
    frozenset({200}),
    shape=json_object(
        {
            "access_token": is_token,
            "token_type": lambda value: str(value).lower() == "bearer",
            "expires_in": _is_seconds,
        }
    ),
    shape_text="a bearer token and the seconds that it lasts",
)
"""The token endpoint (RFC 6749, 5.1)."""

MACHINE_TOKEN = Documented(
    frozenset({200}),
    shape=_is_machine_token,
    shape_text="a token and when it ends",
)
"""The endpoint of a managed identity ("How to use managed identities to acquire an access
token"). Its kinds tell the seconds that the token lasts, the instant when it ends, or both."""

DISCOVERY = Documented(
    frozenset({200}),
    shape=json_object(
        {"authorization_endpoint": _is_https, "token_endpoint": _is_https}
    ),
    shape_text="the addresses of the authority's endpoints",
)
"""The authority's document (OpenID Connect Discovery 1.0, 4.2)."""

MAIL_TAKEN = Documented(frozenset({202}))
"""Graph's `sendMail` ("user: sendMail")."""

REGISTRATION = Documented(
    frozenset({200}),
    media_type=JSON,
    shape=json_object({"passwordCredentials": are_objects}),
    shape_text="the application's registration",
)
"""Graph's application ("Get application")."""
