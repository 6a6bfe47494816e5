"""Registered applications, and what proves to be one: a secret or a certificate."""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote
from uuid import NAMESPACE_OID, uuid4, uuid5

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm

from apex_pipeline.emulator.clock import Clock
from apex_pipeline.emulator.storage import Storage

_PAST = "2020-01-01T00:00:00Z"
_LATER = "2299-12-31T00:00:00Z"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

# By Entra's number: status, error, and the text with places for values.
_REFUSALS = """
70003 400 unsupported_grant_type The app requested an unsupported grant type '{}'.
90002 400 invalid_tenant Tenant '{:.100}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.
500011 400 invalid_resource The resource principal named {:.200} was not found in the tenant. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant.
700016 400 unauthorized_client Application with identifier '{:.100}' was not found in the directory '{}'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant.
700021 401 invalid_client Client assertion application identifier or audience doesn't match.
700024 401 invalid_client Client assertion is not within its valid time range.
700027 401 invalid_client The certificate with identifier used to sign the client assertion is not registered on application. [Reason - The key was not found.]
900144 400 invalid_request The request body must contain the following parameter: 'resource'.
901002 400 invalid_request The 'resource' request parameter is not supported.
1002012 400 invalid_scope The provided value for scope {:.200} is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).
7000215 401 invalid_client Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '{}'.
7000218 401 invalid_client The request body must contain the following parameter: 'client_assertion' or 'client_secret'.
7000222 401 invalid_client The provided client secret keys for app '{}' are expired. Visit the Azure portal to create new keys for your app.
"""  # one line each
_BY_NUMBER = {
    int(number): (int(status), error, text)
    for number, status, error, text in (
        line.split(maxsplit=3) for line in _REFUSALS.strip().splitlines()
    )
}


class TokenError(Exception):
    """An error of the token endpoint."""

    def __init__(self, number: int, *values: str) -> None:
        """The error of Entra's number; its text names the values."""
        self.number = number
        self.status, self.error, text = _BY_NUMBER[number]
        self.text = text.format(*values)
        super().__init__(self.text)

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


def basic_credentials(authorization: str) -> dict[str, str]:
    """`client_id` and `client_secret` of HTTP Basic, as form fields.

    Entra takes either ("OAuth 2.0 client credentials flow"). RFC 6749 has both parts
    percent-encoded; clients that leave that out send no percent signs.
    """
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return {}
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except ValueError:
        return {}
    client_id, _, secret = text.partition(":")
    return {"client_id": unquote(client_id), "client_secret": unquote(secret)}


@dataclass(frozen=True, slots=True)
class Grants:
    """What an application may do in Graph, and what Graph shows of its secrets.

    Attributes:
        permissions: Application permissions with an administrator's consent, such as
            `Mail.Send`.
        mailboxes: Addresses that Exchange lets it send from, whatever the permissions.
        secret_ends: When its secret ends, ISO 8601.
        other_secrets: Further `passwordCredentials` as Graph is to show them.
    """

    permissions: Sequence[str] = ()
    mailboxes: Sequence[str] = ()
    secret_ends: str | None = None
    other_secrets: Sequence[Mapping[str, Any]] = ()


class Applications:
    """The applications of the tenant."""

    def __init__(self, storage: Storage, tenant_id: str) -> None:
        self._storage = storage
        self._tenant_id = tenant_id

    def register(
        self,
        client_id: str,
        *,
        secret: str | None = None,
        certificate: str | None = None,
        expired: bool = False,
        grants: Grants | None = None,
    ) -> None:
        """Add an application, or replace the credentials that are given.

        Args:
            client_id: The application's id.
            secret: Its client secret; only a digest is kept.
            certificate: Its certificate, PEM.
            expired: Whether its secret has run out.
            grants: What it may do in Graph; what was granted stays without.
        """
        name = client_id.lower()
        known = self._storage.document("application", name) or {}
        kept = {
            "secret": _digest(secret) if secret else known.get("secret"),
            "hint": secret[:3] if secret else known.get("hint"),
            "certificate": certificate or known.get("certificate"),
            "expired": expired,
            "grants": asdict(grants) if grants else known.get("grants"),
        }
        self._storage.put_document("application", name, kept)

    def granted(self, client_id: str) -> dict[str, Any]:
        """What an application may do in Graph, by the names of `Grants`."""
        known = self._storage.document("application", client_id) or {}
        return known.get("grants") or asdict(Grants())

    def shown(self, client_id: str) -> dict[str, Any] | None:
        """An application as Graph shows it; None for an unknown one.

        From "application", "passwordCredential" and "keyCredential resource type".
        """
        known = self._storage.document("application", client_id)
        if known is None:
            return None
        granted = self.granted(client_id)
        secrets = list(granted["other_secrets"])
        if known["secret"] is not None:
            end = _PAST if known["expired"] else granted["secret_ends"] or _LATER
            secrets.append(_password(known.get("hint"), end))
        keys = [_key(known["certificate"])] if known["certificate"] else []
        return {
            "id": str(uuid5(NAMESPACE_OID, client_id)),
            "appId": client_id,
            "displayName": f"# {client_id}",
            "passwordCredentials": secrets,
            "keyCredentials": keys,
        }

    def check(self, client_id: str, form: Mapping[str, str]) -> None:
        """Hold what a token request offers against what is registered.

        Raises:
            TokenError: The application is unknown, or it is not it.
        """
        application = self._storage.document("application", client_id)
        if application is None:
            raise TokenError(700016, client_id, self._tenant_id)
        if form.get("client_assertion_type") == _ASSERTION:
            assertion = form.get("client_assertion", "")
            claims = _verified(client_id, assertion, application["certificate"])
            audience = str(claims.get("aud")).lower()
            if self._tenant_id not in audience or claims.get("sub") != client_id:
                raise TokenError(700021)
        else:
            _check_secret(client_id, form.get("client_secret"), application)


def _password(hint: str | None, end: str) -> dict[str, object]:
    return {
        "customKeyIdentifier": None,
        "displayName": "emulated",
        "endDateTime": end,
        "hint": hint,
        "keyId": str(uuid5(NAMESPACE_OID, f"{hint} {end}")),
        "secretText": None,
        "startDateTime": _PAST,
    }


def _key(certificate: str) -> dict[str, object]:
    parsed = x509.load_pem_x509_certificate(certificate.encode())
    thumbprint = parsed.fingerprint(SHA1())  # noqa: S303 # as Entra shows it
    return {
        "customKeyIdentifier": base64.b64encode(thumbprint).decode(),
        "displayName": parsed.subject.rfc4514_string(),
        "endDateTime": f"{parsed.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
        "key": None,
        "keyId": str(uuid5(NAMESPACE_OID, thumbprint.hex())),
        "startDateTime": f"{parsed.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}",
        "type": "AsymmetricX509Cert",
        "usage": "Verify",
    }


def _check_secret(
    client_id: str, secret: str | None, application: Mapping[str, Any]
) -> None:
    if not secret:
        raise TokenError(7000218)
    stored = application["secret"]
    if stored is None or not hmac.compare_digest(stored, _digest(secret)):
        raise TokenError(7000215, client_id)
    if application["expired"]:
        raise TokenError(7000222, client_id)


def _verified(
    client_id: str, assertion: str, certificate: str | None
) -> dict[str, Any]:
    """Claims of a client assertion that the registered certificate signed.

    The certificate is named by `x5t` (SHA-1) or `x5t#S256`, as in "Microsoft identity
    platform application authentication certificate credentials".
    """
    refused = TokenError(700027)
    if certificate is None:
        raise refused
    parsed = x509.load_pem_x509_certificate(certificate.encode())
    prints = {
        "x5t": _thumbprint(parsed, SHA1()),  # noqa: S303 # x5t is SHA-1
        "x5t#S256": _thumbprint(parsed, SHA256()),
    }
    try:
        header = jwt.get_unverified_header(assertion)
        named = [name for name in prints if name in header]
        if not named or any(header[n].rstrip("=") != prints[n] for n in named):
            raise refused
        return jwt.decode(
            assertion,
            parsed.public_key(),  # type: ignore[arg-type]  # RSA in practice
            ["RS256", "PS256"],
            issuer=client_id,
            leeway=300,
            options={"verify_aud": False, "require": ["exp"]},
        )
    except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError):
        raise TokenError(700024) from None
    except jwt.InvalidTokenError:
        raise refused from None


def _thumbprint(certificate: x509.Certificate, algorithm: HashAlgorithm) -> str:
    digest = certificate.fingerprint(algorithm)
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
