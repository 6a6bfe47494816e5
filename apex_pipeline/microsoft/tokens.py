"""Get access tokens for the application from Entra ID, through MSAL."""

import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import msal

from apex_pipeline.errors import AuthError, TransientError
from apex_pipeline.microsoft import managed_identity
from apex_pipeline.microsoft.application_proof import msal_credential
from apex_pipeline.microsoft.authority import AuthorityHttp
from apex_pipeline.microsoft.http_transport import translated
from apex_pipeline.microsoft.token_cache import TokenCacheFile
from apex_pipeline.settings import DataverseSettings

# MSAL treats a token with less than five minutes left as expired, and so do we.
_EXPIRY_MARGIN_SECONDS = 300


class TokenSource:
    """Supplies the token for each request, mostly from memory or the file.

    Args:
        settings: The application and its authority.
        cache: Shared with other processes.
        http: The client for the authority.
        resource: The origin that the tokens are for, if not Dataverse.
        now: Seconds since the epoch.

    Attributes:
        hits: Requests served without asking Entra.
        misses: Requests that needed a token from Entra.
    """

    def __init__(
        self,
        settings: DataverseSettings,
        cache: TokenCacheFile,
        http: httpx.Client,
        *,
        resource: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._resource = resource or settings.resource
        self._scope = f"{self._resource}/.default"
        self._cache = cache
        self._http = http
        self._now = now
        self._lock = threading.Lock()
        self._token = ""
        self._expires_at = 0.0
        self._fault: TransientError | None = None
        self._barred_until = 0.0
        self.hits = 0
        self.misses = 0

    def cached(self) -> str | None:
        """The token in memory while it is valid; counts a hit."""
        if self._expires_at - self._now() <= _EXPIRY_MARGIN_SECONDS:
            return None
        self.hits += 1
        return self._token

    def acquire(self) -> str:
        """A valid token from memory, the shared file, or Entra; blocks meanwhile.

        Raises:
            AuthError: Entra refuses the credentials.
            TransientError: The authority did not answer, or failed.
            ConfigError: The authority's certificate is not trusted, or the client
                certificate's file is unusable.
        """
        with self._lock:
            token = self.cached()
            if token is not None:
                return token
            with self._cache.opened() as cache:
                return self._from_cache(cache) or self._from_entra(cache)

    def renew(self, refused: str) -> str:
        """A token other than the one that Dataverse refused.

        Raises:
            AuthError: See `acquire`; likewise the other errors.
        """
        with self._lock:
            if self._token == refused:
                self._expires_at = 0.0
            with self._cache.opened() as cache:
                for entry in self._entries(cache):
                    if entry["secret"] == refused:
                        cache.remove_at(entry)
        return self.acquire()

    def _from_cache(self, cache: msal.SerializableTokenCache) -> str | None:
        for entry in self._entries(cache):
            if int(entry["expires_on"]) - self._now() > _EXPIRY_MARGIN_SECONDS:
                self.hits += 1
                return self._keep(entry["secret"], int(entry["expires_on"]))
        return None

    def _from_entra(self, cache: msal.SerializableTokenCache) -> str:
        left = self._barred_until - time.monotonic()
        if self._fault is not None and left > 0:
            # An earlier request was told when to ask again.
            raise TransientError(str(self._fault), retry_after=left)
        self.misses += 1
        try:
            return self._asked(cache)
        except TransientError as error:
            self._fault = error
            self._barred_until = time.monotonic() + (error.retry_after or 0.0)
            raise

    def _asked(self, cache: msal.SerializableTokenCache) -> str:
        if self._settings.managed_identity:
            result = managed_identity.request_token(self._settings, self._resource)
            self._file(cache, result)
        else:
            result = self._of_application(cache)
        return self._keep(
            result["access_token"], self._now() + float(result["expires_in"])
        )

    def _file(self, cache: msal.SerializableTokenCache, result: dict[str, Any]) -> None:
        """Put a managed identity's token where `_entries` finds it."""
        cache.add(
            {
                "client_id": self._settings.client_id,
                "scope": [self._scope],
                "token_endpoint": f"{self._settings.authority}/oauth2/v2.0/token",
                "response": result,
            }
        )

    def _of_application(self, cache: msal.SerializableTokenCache) -> dict[str, Any]:
        with translated(f"ask {self._settings.authority} for a token"):
            try:
                result: dict[str, Any] = self._application(
                    cache
                ).acquire_token_for_client([self._scope])
            except ValueError as error:
                raise _unusable_authority(self._settings, error) from error
        return result

    def _application(
        self, cache: msal.SerializableTokenCache
    ) -> msal.ConfidentialClientApplication:
        """MSAL's application; creating it reads the authority's document."""
        return msal.ConfidentialClientApplication(
            self._settings.client_id,
            authority=self._settings.authority,
            client_credential=msal_credential(self._settings),
            token_cache=cache,
            http_client=AuthorityHttp(self._http, self._settings.authority),
            # Otherwise MSAL looks up an unknown authority at login.microsoftonline.com.
            instance_discovery=False,
        )

    def _entries(self, cache: msal.SerializableTokenCache) -> list[dict[str, Any]]:
        return list(
            cache.search(
                msal.TokenCache.CredentialType.ACCESS_TOKEN,
                target=[self._scope],
                query={"client_id": self._settings.client_id},
            )
        )

    def _keep(self, token: str, expires_at: float) -> str:
        self._token, self._expires_at = token, expires_at
        return token


def _unusable_authority(settings: DataverseSettings, error: ValueError) -> AuthError:
    """Translate the ValueError that MSAL raises for an invalid authority address."""
    first_line = (str(error).splitlines() or [""])[0]
    return AuthError(
        f"{settings.authority} is not an authority that issues tokens: {first_line} "
        "Check AZURE_TENANT_ID and AZURE_AUTHORITY_HOST."
    )
