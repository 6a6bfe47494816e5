"""The identity provider: OIDC document, token endpoint, and the check of tokens.

Shapes and codes are those of Microsoft Entra ID ("Microsoft identity platform and the
OAuth 2.0 client credentials flow", "Microsoft Entra authentication error codes");
pairs of status and code are observed. Tokens are signed with a key of the emulator's
own, so it recognises them after a restart; no one else can check them.
"""

import secrets
from collections.abc import Mapping
from typing import Any

import jwt

from apex_pipeline.emulator.clock import Clock
from apex_pipeline.emulator.registered_applications import Applications, TokenError
from apex_pipeline.emulator.storage import Storage

LIFETIME_SECONDS = 3599
GRAPH_PATH = "/graph"
_METHODS = ("client_secret_post", "private_key_jwt", "client_secret_basic")
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_TOKENS_REMEMBERED = 1000
_CHECKED_HERE: Any = {
    **dict.fromkeys(("verify_aud", "verify_exp", "verify_iat", "verify_nbf"), False),
    "require": ["exp", "aud", "appid"],
}


class IdentityProvider:
    """One tenant with its applications."""

    def __init__(self, storage: Storage, clock: Clock, tenant_id: str) -> None:
        self.tenant_id = tenant_id
        self.lifetime_seconds = LIFETIME_SECONDS
        self.applications = Applications(storage, tenant_id)
        self._clock = clock
        self._known: dict[str, dict[str, object]] = {}
        key = storage.document("secret", "token_key")
        if key is None:
            key = secrets.token_hex(32)
            storage.put_document("secret", "token_key", key)
        self._key: str = key

    def discovery(self, origin: str, tenant: str) -> dict[str, object]:
        """The OIDC document.

        Raises:
            TokenError: The tenant is unknown.
        """
        self._check_tenant(tenant)
        base = f"{origin}/{tenant}"
        return {
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "issuer": f"{origin}/{self.tenant_id}/v2.0",
            "token_endpoint_auth_methods_supported": _METHODS,
            "response_types_supported": ["code", "id_token", "token"],
            # A bare host on the service, where Graph has one of its own.
            "msgraph_host": f"{origin.removeprefix('https://')}{GRAPH_PATH}",
        }

    def grant(
        self, origin: str, tenant: str, form: Mapping[str, str], *, version: int = 2
    ) -> dict[str, object]:
        """Answer a token request of the client credentials flow.

        Version 1 names the resource, version 2 a scope; version 1 answers with texts
        for numbers ("Service to service calls using client credentials").

        Raises:
            TokenError: The request is refused.
        """
        self._check_tenant(tenant)
        if form.get("grant_type") != "client_credentials":
            raise TokenError(70003, form.get("grant_type", ""))
        client_id = form.get("client_id", "").lower()
        self.applications.check(client_id, form)
        audience = _audience(form, origin, version)
        now = int(self._clock.now())
        claims = {
            "aud": audience,
            "iss": f"https://sts.windows.net/{self.tenant_id}/",
            "iat": now,
            "nbf": now,
            "exp": now + self.lifetime_seconds,
            "appid": client_id,
            "appidacr": "1",
            "tid": self.tenant_id,
            "ver": "1.0",
            "uti": secrets.token_urlsafe(16),
        }
        if _same_resource(audience, f"{origin}{GRAPH_PATH}"):
            # Permissions granted later are in the next token.
            claims["roles"] = self.applications.granted(client_id)["permissions"]
        granted = {
            "token_type": "Bearer",
            "expires_in": self.lifetime_seconds,
            "ext_expires_in": self.lifetime_seconds,
            "access_token": jwt.encode(claims, self._key, "HS256"),
        }
        if version == 2:
            return granted
        first = {
            "expires_on": now + self.lifetime_seconds,
            "not_before": now,
            "resource": audience,
        }
        return {name: str(value) for name, value in (granted | first).items()}

    def application_of(self, authorization: str, origin: str) -> str | None:
        """The client id of a valid bearer token for this environment, else None."""
        claims = self.claims_of(authorization, origin)
        return None if claims is None else str(claims["appid"])

    def claims_of(self, authorization: str, resource: str) -> dict[str, object] | None:
        """What a valid bearer token for a resource says, else None."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            return None
        claims = self._known.get(token)
        if claims is None:
            claims = self._decode(token)
            if claims is None:
                return None
            if len(self._known) >= _TOKENS_REMEMBERED:
                self._known.clear()
            self._known[token] = claims
        if float(str(claims["exp"])) <= self._clock.now():
            return None
        return claims if _same_resource(str(claims["aud"]), resource) else None

    def _decode(self, token: str) -> dict[str, object] | None:
        try:
            return jwt.decode(
                token,
                self._key,
                ["HS256"],
                options=_CHECKED_HERE,
            )
        except jwt.InvalidTokenError:
            return None

    def _check_tenant(self, tenant: str) -> None:
        if tenant.lower() != self.tenant_id:
            raise TokenError(90002, tenant)


def _audience(form: Mapping[str, str], origin: str, version: int) -> str:
    """The resource that a request names.

    Raises:
        TokenError: It is not of the form `<resource>/.default`, or the resource is not
            this environment or its Graph.
    """
    if version == 1:
        resource = form.get("resource", "")
        if not resource:
            raise TokenError(900144)
    else:
        if "resource" in form:
            raise TokenError(901002)
        resource = _of_scope(form.get("scope", ""))
    if not any(_same_resource(resource, origin + path) for path in ("", GRAPH_PATH)):
        raise TokenError(500011, resource)
    return resource


def _of_scope(scope: str) -> str:
    resource, separator, _ = scope.partition("/.default")
    if not separator or " " in scope.strip():
        raise TokenError(1002012, scope)
    return resource


def _same_resource(resource: str, other: str) -> bool:
    """Whether two are the same; all names of the loopback are one."""
    return _normalized(resource) == _normalized(other)


def _normalized(resource: str) -> tuple[str, str, str]:
    origin, _, path = resource.lower().removeprefix("https://").partition("/")
    host, _, port = origin.rpartition(":")
    if not port.isdigit():
        host, port = origin, "443"
    host = host.strip("[]")
    return ("loopback" if host in LOOPBACK else host), port, path.strip("/")
