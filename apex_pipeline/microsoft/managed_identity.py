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

_WHOM = "the endpoint of this machine's managed identity"
_TIMEOUT = httpx.Timeout(30.0, connect=3.0)
# "The endpoint is updating" and "going through updates, within 70 seconds".
_PASSING = frozenset({404, 408, 410, 429})
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
    """Whether the endpoint says no."""
    return (
        answer.status >= 400
        and isinstance(answer.document, dict)
        and "access_token" not in answer.document
    )


def _refused(application: Credential, answer: Answer) -> AuthError:
    result = answer.document if isinstance(answer.document, dict) else {}
    said = str(result.get("error_description") or result.get("error"))
    remedy = (
        "Assign the identity with the client id AZURE_CLIENT_ID to this machine, or set "
        "APEX_MANAGED_IDENTITY=system to use the machine's own."
        if application.managed_identity == USER_ASSIGNED
        else "Turn the machine's system-assigned identity on, or set "
        "APEX_MANAGED_IDENTITY=user and AZURE_CLIENT_ID to another's client id."
    )
    return AuthError(f"No token: {said}. {remedy}", code=str(result.get("error")))
