"""Read the certificate that replaces the client secret, and its private key."""

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from apex_pipeline.errors import ConfigError

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_BOTH = "it must contain the private key and the certificate, both in PEM."


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A private key and its certificate.

    Attributes:
        private_key: PEM, not encrypted.
        chain: PEM; the key's own certificate first, because MSAL presents that to Entra.
        ends_on: The certificate's last day, UTC.
    """

    private_key: str = field(repr=False)
    chain: str
    ends_on: date


def read_client_certificate(path: Path) -> ClientCertificate:
    """Read a PEM file; key and certificates may come in any order.

    Of several certificates for the key, such as one and its renewal, the one that is
    valid longest counts.

    Raises:
        ConfigError: The file has no usable RSA key, or no certificate for that key.
    """
    text = _read(path)
    blocks = [(found[1], found[0]) for found in _BLOCK.finditer(text)]
    certificates = [block for kind, block in blocks if kind == "CERTIFICATE"]
    keys = [block for kind, block in blocks if kind.endswith("PRIVATE KEY")]
    if not certificates:
        raise _unusable(path, f"contains no certificate; {_BOTH}")
    if not keys:
        raise _unusable(path, f"contains no private key; {_BOTH}")
    key = _key(path, keys[0])
    parsed = {each: _certificate(path, each) for each in certificates}
    matching = [each for each in parsed if _belongs(parsed[each], key)]
    if not matching:
        raise _unusable(
            path, "contains a private key but no certificate for it: they do not match."
        )
    now = datetime.now(UTC)
    first = max(
        matching,
        key=lambda each: (
            parsed[each].not_valid_before_utc <= now,
            parsed[each].not_valid_after_utc,
        ),
    )
    others = [each for each in parsed if each != first]
    return ClientCertificate(
        keys[0],
        "\n".join([first, *others]) + "\n",
        parsed[first].not_valid_after_utc.date(),
    )


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise _unusable(path, f"cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise _unusable(
            path,
            "cannot be read as PEM. Convert a PFX file with `openssl pkcs12 -in FILE "
            "-nodes -out apex.pem`.",
        ) from error
    if "\\n" in text:
        raise _unusable(
            path, "contains \\n as two characters. Replace each by a real line break."
        )
    return text


def _key(path: Path, pem: str) -> RSAPrivateKey:
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except TypeError as error:
        raise _unusable(
            path,
            "contains an encrypted private key. Decrypt it with `openssl pkey -in FILE`.",
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _unusable(path, "contains an unreadable private key.") from error
    if not isinstance(key, RSAPrivateKey):
        raise _unusable(path, "contains a key that is not RSA; Entra accepts only RSA.")
    return key


def _certificate(path: Path, pem: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError as error:
        raise _unusable(path, "contains an unreadable certificate.") from error


def _belongs(certificate: x509.Certificate, key: RSAPrivateKey) -> bool:
    try:
        public = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return False
    return (
        isinstance(public, RSAPublicKey)
        and public.public_numbers() == key.public_key().public_numbers()
    )


def _unusable(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"AZURE_CLIENT_CERTIFICATE_PATH or AZURE_CLIENTS_FILE names {path}, which {why}"
    )
