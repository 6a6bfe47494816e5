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
_AADSTS = re.compile(r"AADSTS(\d{4,9})")


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
    found = answer.document
    if (
        answer.status >= 400
        and isinstance(found, dict)
        and isinstance(found.get("error"), str)
    ):
        raise refused(found, retry_after)
    raise intercepted(
        answer, f"get a token from {authority}", "the authority", expected
    )


def refused(
    result: Mapping[str, Any], retry_after: float | None = None
) -> DataverseError:
    """Translate an OAuth error, which may be a passing fault."""
    # Ids and the time follow the sentence, on the same line or the next.
    text = str(result.get("error_description") or result.get("error"))
    description = text.partition("Trace ID:")[0].strip()
    number = _AADSTS.search(text)
    codes = result.get("error_codes")
    listed = codes[0] if isinstance(codes, list) and codes else None
    code = listed if isinstance(listed, int) else number and int(number[1])
    name = f"AADSTS{code}" if code else str(result.get("error"))
    request_id = result.get("correlation_id")
    if code in _PASSING_CODES or result.get("error") in _PASSING_ERRORS:
        return TransientError(
            f"No token for now: {description}",
            code=name,
            request_id=request_id,
            retry_after=retry_after,
        )
    remedy = _REMEDIES.get(
        code or 0, "Check AZURE_TENANT_ID, AZURE_CLIENT_ID and secret."
    )
    return AuthError(
        f"No token: {description} {remedy}", code=name, request_id=request_id
    )
