"""Check the authority's answers before MSAL sees them.

MSAL accepts what it understands and raises its own errors for the rest. A gateway's page
or a passing fault would then look like wrong credentials. Error codes are from Microsoft
Learn, "Microsoft Entra authentication and authorization error codes".
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import httpx

from apex_pipeline.errors import AuthError, DataverseError, TransientError
from apex_pipeline.microsoft.checked_answers import discovery_for_msal, token_for_msal
from apex_pipeline.microsoft.documented_success import DISCOVERY, TOKEN
from apex_pipeline.microsoft.http_answer import Answer, Expectation, intercepted
from apex_pipeline.texts.printable_text import printable_line

_UNKNOWN_IDENTITY = (
    "The token in AZURE_FEDERATED_TOKEN_FILE fits no federated credential of the "
    "application: compare issuer, subject and audience in Entra. A new credential takes "
    "some minutes to work."
)
_REMEDIES = {
    7000215: "AZURE_CLIENT_SECRET is wrong: it must be the secret's value, not its id.",
    7000222: "The client secret has expired: create a new one and set it.",
    7000216: "Set AZURE_CLIENT_SECRET or AZURE_CLIENT_CERTIFICATE_PATH.",
    **dict.fromkeys((70021, 700211, 700212, 700213), _UNKNOWN_IDENTITY),
    700016: "AZURE_CLIENT_ID is not an application of this tenant.",
    700024: "This machine's clock is wrong, so its signatures are not valid now: set it "
    "by NTP. A workload identity's token may also have expired in its file: see why its "
    "issuer no longer replaces it.",
    700027: "The certificate is not registered with the application.",
    90002: "AZURE_TENANT_ID is not a tenant of this authority.",
    900023: "AZURE_TENANT_ID is not a tenant of this authority.",
    500011: "DATAVERSE_RESOURCE is not an environment that this tenant knows.",
}
_PASSING_CODES = frozenset({90006, 90024, 90033, 90055})
# RFC 6749, 4.1.2.1; Entra uses them at the token endpoint as well.
_PASSING_ERRORS = frozenset({"temporarily_unavailable", "server_error"})
# RFC 6749, 5.2, and "OAuth 2.0 client credentials flow" of Microsoft Learn.
_DOCUMENTED_ERRORS = frozenset(
    {
        *("invalid_request", "invalid_client", "invalid_grant", "invalid_scope"),
        *("unauthorized_client", "unsupported_grant_type", "invalid_resource"),
        *("interaction_required", "consent_required", "access_denied"),
    }
)
_MOST_SAID = 1_000
_MOST_NAME = 100
_AADSTS = re.compile(r"\bAADSTS(\d{4,9})\b", re.ASCII)


class AuthorityHttp:
    """The HTTP client that MSAL uses.

    Its methods raise `AuthError` for a refusal, and `TransientError` for an answer that
    is neither the documented success nor a refusal.
    """

    def __init__(self, http: httpx.Client, authority: str) -> None:
        self._http = http
        self._authority = authority

    def get(self, url: str, **options: Any) -> httpx.Response:
        """Read the authority's configuration document."""
        found = self._http.get(url, **options)
        return discovery_for_msal(check(found, self._authority, DISCOVERY))

    def post(
        self, url: str, *, data: Mapping[str, str | bytes] | None = None, **options: Any
    ) -> httpx.Response:
        """Send a form; values may be bytes, as a signed assertion is."""
        form = {
            name: value.decode() if isinstance(value, bytes) else value
            for name, value in (data or {}).items()
        }
        found = self._http.post(url, data=form, **options)
        return token_for_msal(check(found, self._authority, TOKEN))

    def close(self) -> None:
        """Leave the client to its owner."""


def check(response: httpx.Response, authority: str, expected: Expectation) -> Answer:
    """Return the answer if it is the documented success.

    Raises:
        AuthError: The authority refuses.
        TransientError: The authority fails for now, or something else answers in its
            place.
    """
    answer = Answer.of(response)
    if expected(answer) is None:
        return answer
    retry_after = answer.retry_after(datetime.now(UTC))
    if answer.status in {408, 429} or answer.status >= 500:
        raise TransientError(
            f"{authority} issues no token for now: {answer.looks()}.",
            status=answer.status,
            retry_after=retry_after,
        )
    if is_refusal(answer):
        raise _refused(answer.document, retry_after)
    raise intercepted(
        answer, f"get a token from {authority}", "the authority", expected
    )


def is_refusal(answer: Answer) -> bool:
    """Whether it is an OAuth error as the authority tells it.

    Frameworks and gateways put words of their own into a member `error`.
    """
    found = answer.document
    return (
        answer.status in {400, 401}
        and isinstance(found, dict)
        and (
            _number(found) is not None
            or str(found.get("error")) in _DOCUMENTED_ERRORS | _PASSING_ERRORS
        )
    )


def _number(found: Mapping[str, Any]) -> int | None:
    """The AADSTS number, from the list or from the description."""
    codes = found.get("error_codes")
    listed = codes[0] if isinstance(codes, list) and codes else None
    if isinstance(listed, int) and 1_000 <= listed < 10**9:
        return listed
    described = found.get("error_description")
    number = _AADSTS.search(described) if isinstance(described, str) else None
    return int(number[1]) if number else None


def _refused(found: Any, retry_after: float | None) -> DataverseError:
    """Translate an OAuth error, which may be a passing fault."""
    text = str(found.get("error_description") or found.get("error") or "")
    # Ids and the time follow the sentence, on the same line or the next.
    described = printable_line(text.partition("Trace ID:")[0], _MOST_SAID)
    number = _number(found)
    name = f"AADSTS{number}" if number else printable_line(found["error"], _MOST_NAME)
    asked = found.get("correlation_id")
    request_id = printable_line(asked, _MOST_NAME) if isinstance(asked, str) else None
    if number in _PASSING_CODES or str(found.get("error")) in _PASSING_ERRORS:
        return TransientError(
            f"No token for now: {described or name}",
            code=name,
            request_id=request_id,
            retry_after=retry_after,
        )
    remedy = _REMEDIES.get(
        number or 0, "Check AZURE_TENANT_ID, AZURE_CLIENT_ID and secret."
    )
    return AuthError(
        f"No token: {(described or name).rstrip('.')}. {remedy}",
        code=name,
        request_id=request_id,
    )
