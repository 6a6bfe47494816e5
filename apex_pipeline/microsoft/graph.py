"""Microsoft Graph, accessed as the pipeline's own application: mail and registration.

The authority names its Graph: `msgraph_host` in its OpenID configuration differs between
the global service and the national clouds (observed; Microsoft Learn, "Microsoft Graph
national cloud deployments", lists the hosts). So this module knows no cloud by name.
"""

import base64
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from apex_pipeline.errors import AuthError, TransientError
from apex_pipeline.microsoft.authority import check
from apex_pipeline.microsoft.documented_success import (
    DISCOVERY,
    REGISTRATION,
    is_service_error,
)
from apex_pipeline.microsoft.http_answer import Answer, intercepted
from apex_pipeline.microsoft.http_transport import token_http, translated
from apex_pipeline.microsoft.token_cache import TokenCacheFile
from apex_pipeline.microsoft.tokens import TokenSource
from apex_pipeline.settings import DataverseSettings
from apex_pipeline.settings.host_names import is_web_address

SECONDS = 10.0


class Graph:
    """An open connection to Graph."""

    def __init__(self, http: httpx.Client, origin: str, tokens: TokenSource) -> None:
        self._http = http
        self._origin = origin
        self._tokens = tokens

    @property
    def origin(self) -> str:
        """Scheme and host of this Graph."""
        return self._origin

    def token(self) -> str:
        """A token for Graph; having one does not prove any permission.

        Raises:
            DataverseError: See `TokenSource.acquire`.
        """
        return self._tokens.acquire()

    def send_mail(self, mailbox: str, mime: bytes) -> Answer:
        """Send a complete message from a mailbox; 202 means that it was accepted.

        Microsoft Learn, "user: sendMail", in MIME format. Needs `Mail.Send`, for all
        mailboxes or, through Exchange, for this one.

        Raises:
            TransientError: No answer; the message may have been accepted.
            DataverseError: There is no token.
        """
        path = f"users/{quote(mailbox, safe='@')}/sendMail"
        return self._ask(
            "send mail",
            "POST",
            path,
            # Base64 in lines of 76 characters, as in MIME.
            content=base64.encodebytes(mime),
            headers={"Content-Type": "text/plain"},
        )

    def password_credentials(self, application: str) -> list[dict[str, Any]] | None:
        """The directory's entries for an application's secrets, without the secrets.

        Microsoft Learn, "Get application" and "passwordCredential resource type". Needs
        `Application.Read.All`; None if that was not granted.

        Raises:
            TransientError: No answer, or an invalid one.
            DataverseError: There is no token.
        """
        what = "read the application's registration"
        path = f"applications(appId='{quote(application)}')?$select=passwordCredentials"
        answer = self._ask(what, "GET", path)
        if answer.status == 403 and is_service_error(answer):
            return None
        if REGISTRATION(answer) is None:
            return _credentials(answer)
        if answer.status < 500 and not is_service_error(answer):
            raise intercepted(answer, what, "Microsoft Graph", REGISTRATION)
        raise TransientError(
            f"Could not {what}: {answer.error()[1]}", status=answer.status
        )

    def _ask(
        self,
        what: str,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request; retry once with a new token if the first is refused."""
        request = self._http.build_request(
            method, f"{self._origin}/v1.0/{path}", content=content, headers=headers
        )
        token = self._tokens.acquire()
        answer = self._send(request, token, what)
        if answer.status == 401:
            answer = self._send(request, self._tokens.renew(token), what)
        return answer

    def _send(self, request: httpx.Request, token: str, what: str) -> Answer:
        request.headers["Authorization"] = f"Bearer {token}"
        with translated(f"{what} through {self._origin}"):
            return Answer.of(self._http.send(request))


def _credentials(answer: Answer) -> list[dict[str, Any]]:
    found = answer.document
    return list(found["passwordCredentials"]) if isinstance(found, dict) else []


@contextmanager
def connect(
    application: DataverseSettings, token_cache: Path, *, seconds: float = SECONDS
) -> Iterator[Graph]:
    """Connect to the Graph of the application's cloud.

    Args:
        application: Our application; the same as for Dataverse.
        token_cache: File that keeps tokens for all processes.
        seconds: How long each answer may take.

    Raises:
        ConfigError: The CA bundle is unusable, or the authority's certificate untrusted.
        TransientError: The authority does not answer.
        AuthError: The authority names no Graph.
    """
    with token_http(application.ca_bundle, timeout=seconds) as http:
        origin = _origin(http, application.authority)
        tokens = TokenSource(
            application, TokenCacheFile(token_cache), http, resource=origin
        )
        yield Graph(http, origin, tokens)


def _origin(http: httpx.Client, authority: str) -> str:
    address = f"{authority}/v2.0/.well-known/openid-configuration"
    with translated(f"ask {authority} for its Graph"):
        answer = check(http.get(address), authority, DISCOVERY)
    found = answer.document
    host = found.get("msgraph_host") if isinstance(found, dict) else None
    origin = f"https://{host}"
    is_host = isinstance(host, str) and not re.search("[?#@]", host)
    if not is_host or not is_web_address(origin, frozenset({"https"})):
        raise AuthError(
            f"{authority} names no Microsoft Graph. Check AZURE_TENANT_ID and "
            "AZURE_AUTHORITY_HOST.",
            status=answer.status,
        )
    return origin
