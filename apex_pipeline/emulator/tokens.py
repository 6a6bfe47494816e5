"""The identity provider: OIDC document, token endpoint, and the check of tokens.

Shapes and codes are those of Microsoft Entra ID ("Microsoft identity platform and the
OAuth 2.0 client credentials flow", "Microsoft Entra authentication error codes");
pairs of status and code are observed. Tokens are signed with a key of the emulator's
own, so that it recognises them after a restart; nobody else can check them.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import uuid4

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm

from apex_pipeline.emulator.environment import Clock
from apex_pipeline.emulator.storage import Storage

LIFETIME_SECONDS = 3599
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_TOKENS_REMEMBERED = 1000


class TokenError(Exception):
    """An error of the token endpoint, with Entra's number."""

    def __init__(self, status: int, error: str, number: int, text: str) -> None:
        """Keep the parts of the body."""
        super().__init__(text)
        self.status = status
        self.error = error
        self.number = number
        self.text = text

    def body(self, clock: Clock) -> dict[str, object]:
        """Entra's error body."""
        trace, correlation = str(uuid4()), str(uuid4())
        at = f"{datetime.fromtimestamp(clock.now(), UTC):%Y-%m-%d %H:%M:%SZ}"
        return {
            "error": self.error,
            "error_description": f"AADSTS{self.number}: {self.text} Trace ID: {trace}"
            f" Correlation ID: {correlation} Timestamp: {at}",
            "error_codes": [self.number],
            "timestamp": at,
            "trace_id": trace,
            "correlation_id": correlation,
        }


class IdentityProvider:
    """One tenant with its applications."""

    def __init__(self, storage: Storage, clock: Clock, tenant_id: str) -> None:
        """Take up the applications that the file holds."""
        self.tenant_id = tenant_id
        self.lifetime_seconds = LIFETIME_SECONDS
        self._storage = storage
        self._clock = clock
        self._known: dict[str, dict[str, object]] = {}
        key = storage.document("secret", "token_key")
        if key is None:
            key = secrets.token_hex(32)
            storage.put_document("secret", "token_key", key)
        self._key: str = key

    def register(
        self,
        client_id: str,
        *,
        secret: str | None = None,
        certificate: str | None = None,
        expired: bool = False,
    ) -> None:
        """Add an application, or replace the credentials that are given.

        Args:
            client_id: The application's id.
            secret: Its client secret; only a digest is kept.
            certificate: Its certificate, PEM.
            expired: Whether its secret has run out.
        """
        name = client_id.lower()
        known = self._storage.document("application", name) or {}
        self._storage.put_document(
            "application",
            name,
            {
                "secret": _digest(secret) if secret else known.get("secret"),
                "certificate": certificate or known.get("certificate"),
                "expired": expired,
            },
        )

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
            "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
            "end_session_endpoint": f"{base}/oauth2/v2.0/logout",
            "jwks_uri": f"{base}/discovery/v2.0/keys",
            "issuer": f"{origin}/{self.tenant_id}/v2.0",
            "token_endpoint_auth_methods_supported": [
                "client_secret_post",
                "private_key_jwt",
            ],
            "response_types_supported": ["code", "id_token", "token"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "tenant_region_scope": None,
        }

    def grant(
        self, origin: str, tenant: str, form: Mapping[str, str]
    ) -> dict[str, object]:
        """Answer a token request of the client credentials flow.

        Raises:
            TokenError: The request is refused.
        """
        self._check_tenant(tenant)
        if form.get("grant_type") != "client_credentials":
            raise TokenError(
                400,
                "unsupported_grant_type",
                70003,
                "The app requested an unsupported grant type"
                f" '{form.get('grant_type', '')}'.",
            )
        client_id = form.get("client_id", "").lower()
        self._check_credentials(client_id, form)
        audience = _audience(form.get("scope", ""), origin)
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
        return {
            "token_type": "Bearer",
            "expires_in": self.lifetime_seconds,
            "ext_expires_in": self.lifetime_seconds,
            "access_token": jwt.encode(claims, self._key, "HS256"),
        }

    def application_of(self, authorization: str, origin: str) -> str | None:
        """The client id of a valid bearer token for this environment, else None."""
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
        if not _same_environment(str(claims["aud"]), origin):
            return None
        return str(claims["appid"])

    def _decode(self, token: str) -> dict[str, object] | None:
        try:
            return jwt.decode(
                token,
                self._key,
                ["HS256"],
                options={
                    "verify_aud": False,
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                    "require": ["exp", "aud", "appid"],
                },
            )
        except jwt.InvalidTokenError:
            return None

    def _check_tenant(self, tenant: str) -> None:
        if tenant.lower() != self.tenant_id:
            raise TokenError(
                400,
                "invalid_tenant",
                90002,
                f"Tenant '{tenant[:100]}' not found. Check to make sure you have the"
                " correct tenant ID and are signing into the correct cloud.",
            )

    def _check_credentials(self, client_id: str, form: Mapping[str, str]) -> None:
        application = self._storage.document("application", client_id)
        if application is None:
            raise TokenError(
                400,
                "unauthorized_client",
                700016,
                f"Application with identifier '{client_id[:100]}' was not found in the"
                f" directory '{self.tenant_id}'. This can happen if the application has"
                " not been installed by the administrator of the tenant or consented to"
                " by any user in the tenant.",
            )
        if form.get("client_assertion_type") == _ASSERTION:
            _check_assertion(
                client_id,
                form.get("client_assertion", ""),
                application["certificate"],
                self.tenant_id,
            )
            return
        secret = form.get("client_secret")
        if not secret:
            raise TokenError(
                401,
                "invalid_client",
                7000218,
                "The request body must contain the following parameter:"
                " 'client_assertion' or 'client_secret'.",
            )
        stored = application["secret"]
        if stored is None or not hmac.compare_digest(stored, _digest(secret)):
            raise TokenError(
                401,
                "invalid_client",
                7000215,
                "Invalid client secret provided. Ensure the secret being sent in the"
                " request is the client secret value, not the client secret ID, for a"
                f" secret added to app '{client_id}'.",
            )
        if application["expired"]:
            raise TokenError(
                401,
                "invalid_client",
                7000222,
                f"The provided client secret keys for app '{client_id}' are expired."
                " Visit the Azure portal to create new keys for your app.",
            )


def _check_assertion(
    client_id: str, assertion: str, certificate: str | None, tenant_id: str
) -> None:
    """Hold a client assertion against the registered certificate.

    The certificate is named by `x5t` (SHA-1) or `x5t#S256`, as in "Microsoft identity
    platform application authentication certificate credentials".
    """
    refused = TokenError(
        401,
        "invalid_client",
        700027,
        "The certificate with identifier used to sign the client assertion is not"
        " registered on application. [Reason - The key was not found.]",
    )
    try:
        header = jwt.get_unverified_header(assertion)
        if certificate is None:
            raise refused
        parsed = x509.load_pem_x509_certificate(certificate.encode())
        named = {name: header[name] for name in ("x5t", "x5t#S256") if name in header}
        prints = {
            "x5t": _thumbprint(parsed, SHA1()),  # noqa: S303 # x5t is SHA-1
            "x5t#S256": _thumbprint(parsed, SHA256()),
        }
        if not named or any(
            value.rstrip("=") != prints[name] for name, value in named.items()
        ):
            raise refused
        claims = jwt.decode(
            assertion,
            parsed.public_key(),  # type: ignore[arg-type]  # RSA in practice
            ["RS256", "PS256"],
            issuer=client_id,
            options={"verify_aud": False, "verify_exp": False, "verify_nbf": False},
        )
    except jwt.InvalidTokenError:
        raise refused from None
    if (
        tenant_id not in str(claims.get("aud")).lower()
        or claims.get("sub") != client_id
    ):
        raise TokenError(
            401,
            "invalid_client",
            700021,
            "Client assertion application identifier or audience doesn't match.",
        )


def _thumbprint(certificate: x509.Certificate, algorithm: HashAlgorithm) -> str:
    digest = certificate.fingerprint(algorithm)
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _audience(scope: str, origin: str) -> str:
    """The resource that a scope names.

    Raises:
        TokenError: It is not of the form `<resource>/.default`, or the resource is not
            this environment.
    """
    resource, separator, _ = scope.partition("/.default")
    if not separator or " " in scope.strip():
        raise TokenError(
            400,
            "invalid_scope",
            1002012,
            f"The provided value for scope {scope[:200]} is not valid. Client"
            " credential flows must have a scope value with /.default suffixed to the"
            " resource identifier (application ID URI).",
        )
    if not _same_environment(resource, origin):
        raise TokenError(
            400,
            "invalid_resource",
            500011,
            f"The resource principal named {resource[:200]} was not found in the"
            " tenant. This can happen if the application has not been installed by the"
            " administrator of the tenant or consented to by any user in the tenant.",
        )
    return resource


def _same_environment(resource: str, origin: str) -> bool:
    """Whether a resource is this server; all names of the loopback are one."""
    return _normalized(resource) == _normalized(origin)


def _normalized(origin: str) -> tuple[str, str]:
    rest = origin.lower().removeprefix("https://").strip("/")
    host, _, port = rest.rpartition(":")
    if not port.isdigit():
        host, port = rest, "443"
    host = host.strip("[]")
    return ("loopback" if host in LOOPBACK else host), port


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
