"""A certificate authority for this machine's own services, in the state folder."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from apex_pipeline.errors import ConfigError, install_extra

_NAMES = ("localhost", "127.0.0.1")
_LIFETIME = timedelta(days=730)
_RENEW_BEFORE = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files of the authority's certificate, and of the server's certificate and key."""

    authority: Path
    certificate: Path
    key: Path


def ensure_certificates(folder: Path, *, now: datetime | None = None) -> Certificates:
    """Return the certificates; create them if missing, damaged, or about to expire.

    The authority's own key is not stored, so it cannot sign anything else.

    Raises:
        ConfigError: New certificates are needed, and trustme is not installed.
    """
    now = now or datetime.now(UTC)
    found = Certificates(
        folder / "authority.pem", folder / "server.pem", folder / "server.key"
    )
    if not _serve(found, now):
        _make(found, now)
    return found


def _serve(files: Certificates, now: datetime) -> bool:
    """Whether the files exist, belong together, and are valid for a while."""
    try:
        server = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        authority = x509.load_pem_x509_certificate(files.authority.read_bytes())
        server.verify_directly_issued_by(authority)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key)
    except (OSError, ValueError, TypeError, InvalidSignature):
        return False
    return server.not_valid_after_utc - now > _RENEW_BEFORE


def _make(files: Certificates, now: datetime) -> None:
    try:
        import trustme  # noqa: PLC0415 - the extra is needed here and now only
    except ImportError:
        raise ConfigError(
            "The local emulator needs a certificate, and the library for it is not "
            f"installed. {install_extra('local')} Or set DATAVERSE_RESOURCE."
        ) from None
    files.key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = trustme.CA(organization_name="apex_pipeline on this machine")
    server = authority.issue_cert(*_NAMES, not_after=now + _LIFETIME)
    files.key.unlink(missing_ok=True)
    files.key.touch(mode=0o600)
    server.private_key_pem.write_to_path(files.key)
    chain = b"".join(blob.bytes() for blob in server.cert_chain_pems)
    files.certificate.write_bytes(chain)
    # Written last, as the sign that the other files are complete.
    authority.cert_pem.write_to_path(files.authority)
