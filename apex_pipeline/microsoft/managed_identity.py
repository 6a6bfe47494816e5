"""Get tokens for the identity that Azure assigned to this machine, through MSAL.

MSAL knows where to ask: App Service, Container Apps and Azure Arc name an endpoint in the
environment; virtual machines and nodes have one at a fixed address. Errors are those of
Microsoft Learn, "How to use managed identities to acquire an access token".
"""

import re
from datetime import UTC, datetime
from typing import Any

import httpx
import msal

from apex_pipeline.errors import AuthError, ConfigError, TransientError
from apex_pipeline.microsoft.bounded_answers import BoundedAnswers
from apex_pipeline.microsoft.checked_answers import (
    challenge_for_msal,
    machine_token_for_msal,
)
from apex_pipeline.microsoft.documented_success import MACHINE_TOKEN
from apex_pipeline.microsoft.http_answer import Answer, intercepted
from apex_pipeline.microsoft.http_transport import translated
from apex_pipeline.settings import USER_ASSIGNED, Credential
from apex_pipeline.texts.printable_text import printable_line

_WHOM = "the endpoint of this machine's managed identity"
_TIMEOUT = httpx.Timeout(30.0, connect=3.0)
# "The endpoint is updating" and "going through updates, within 70 seconds".
_PASSING = frozenset({404, 408, 410, 429})
_DOCUMENTED_ERRORS = frozenset(
    {
        *("invalid_request", "invalid_resource", "invalid_scope", "invalid_client"),
        *("unauthorized_client", "access_denied", "unsupported_response_type"),
        *("bad_request_102", "unknown_source", "unknown"),
    }
)
_MOST_SAID = 1_000
_MOST_NAME = 100
# Azure Arc names the file of a key, whose content it wants to see.
_KEY_NAMED = re.compile(r"basic realm=[^=]+\.key", re.IGNORECASE)


def request_token(application: Credential, resource: str) -> dict[str, Any]:
    """Ask for a token; its value is `access_token`, its seconds are `expires_in`.

    Raises:
        AuthError: This machine has no such identity, or it may not enter the resource.
        ConfigError: This kind of machine is not supported.
        TransientError: The endpoint does not answer, or asks us to wait.
    """
    # The address is reached within the machine's own network, so no proxy is used.
    transport = BoundedAnswers(httpx.HTTPTransport())
    with (
        translated(f"reach {_WHOM}"),
        httpx.Client(trust_env=False, transport=transport) as http,
    ):
        client = msal.ManagedIdentityClient(
            _identity(application), http_client=_Endpoint(http, application)
        )
        try:
            result: dict[str, Any] = client.acquire_token_for_client(resource=resource)
        except ValueError as error:
            raise ConfigError(
                f"The managed identity of this machine cannot be used: {error}"
            ) from error
        except OSError as error:
            raise ConfigError(
                f"The key of this machine's Azure Arc agent cannot be read: {error}. Add "
                "the account that runs the pipeline to the group himds."
            ) from error
    if "access_token" not in result:
        # What MSAL says may quote the answer.
        raise TransientError(
            f"{_WHOM} does not issue a token as documented: an agent of Azure Arc asks "
            "once for its key, and then accepts it. Look at the agent's log."
        )
    if int(result.get("expires_in", 0)) <= 0:
        raise TransientError(f"{_WHOM} does not tell how long its token lasts.")
    return result


def _identity(
    application: Credential,
) -> msal.UserAssignedManagedIdentity | msal.SystemAssignedManagedIdentity:
    if application.managed_identity == USER_ASSIGNED:
        return msal.UserAssignedManagedIdentity(client_id=application.client_id)
    return msal.SystemAssignedManagedIdentity()


class _Endpoint:
    """The HTTP client that MSAL uses; lets through what the endpoint itself says."""

    def __init__(self, http: httpx.Client, application: Credential) -> None:
        self._http = http
        self._application = application

    def get(self, url: str, **options: Any) -> httpx.Response:
        found = self._http.get(url, timeout=_TIMEOUT, **options)
        answer = Answer.of(found)
        if answer.status in _PASSING or answer.status >= 500:
            raise TransientError(
                f"Could not get a token from {_WHOM} for now: {answer.looks()}.",
                status=answer.status,
                retry_after=answer.retry_after(datetime.now(UTC)),
            )
        if MACHINE_TOKEN(answer) is None:
            return machine_token_for_msal(answer)
        challenge = answer.headers.get("www-authenticate", "")
        if answer.status == 401 and _KEY_NAMED.fullmatch(challenge):
            return challenge_for_msal(answer)
        if _is_refusal(answer):
            raise _refused(self._application, answer)
        raise intercepted(answer, "get a token", _WHOM, MACHINE_TOKEN)

    def close(self) -> None:
        """Leave the client to its owner."""


def _is_refusal(answer: Answer) -> bool:
    """Whether the endpoint says no: in OAuth's words, or in those of App Service."""
    found = answer.document
    if answer.status not in {400, 401, 403} or not isinstance(found, dict):
        return False
    if isinstance(found.get("message"), str):
        return found.get("statusCode") == answer.status
    return str(found.get("error")) in _DOCUMENTED_ERRORS


def _refused(application: Credential, answer: Answer) -> AuthError:
    found = answer.document if isinstance(answer.document, dict) else {}
    code = printable_line(found.get("error") or f"HTTP {answer.status}", _MOST_NAME)
    told = found.get("error_description") or found.get("message") or code
    said = printable_line(told, _MOST_SAID).rstrip(".")
    remedy = (
        "Assign the identity with the client id AZURE_CLIENT_ID to this machine, or set "
        "APEX_MANAGED_IDENTITY=system to use the machine's own."
        if application.managed_identity == USER_ASSIGNED
        else "Turn the machine's system-assigned identity on, or set "
        "APEX_MANAGED_IDENTITY=user and AZURE_CLIENT_ID to another's client id."
    )
    return AuthError(f"No token: {said}. {remedy}", code=code)
