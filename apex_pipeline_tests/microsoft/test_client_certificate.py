"""The PEM file instead of a secret: its certificate, or one plain error."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from apex_pipeline.errors import ConfigError
from apex_pipeline.microsoft.client_certificate import read_client_certificate
from apex_pipeline.microsoft.token_cache import TokenCacheFile
from apex_pipeline.microsoft.tokens import TokenSource
from apex_pipeline_tests.support.entra import Entra, dataverse_settings

NOW = datetime.now(UTC)
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def certificate(key: Key, days: int, starts: int = 0) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "apex")])
    is_edwards = isinstance(key, ed25519.Ed25519PrivateKey)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(days)
        .not_valid_before(NOW + timedelta(days=starts))
        .not_valid_after(NOW + timedelta(days=days))
        .sign(key, None if is_edwards else hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


def private(key: Key, *, password: bytes = b"", old: bool = False) -> str:
    kind = serialization.PrivateFormat
    return key.private_bytes(
        serialization.Encoding.PEM,
        kind.TraditionalOpenSSL if old else kind.PKCS8,
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption(),
    ).decode()


OURS = rsa.generate_private_key(65537, 2048)
OTHER = rsa.generate_private_key(65537, 2048)
CURVE = ec.generate_private_key(ec.SECP256R1())
EDWARDS = ed25519.Ed25519PrivateKey.generate()
LEAF, ISSUER, KEY = certificate(OURS, 10), certificate(OTHER, 3000), private(OURS)


@pytest.fixture
def file(tmp_path) -> Callable[[str | bytes], object]:
    path = tmp_path / "apex.pem"

    def write(content):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    "content",
    [
        KEY + LEAF,
        LEAF + KEY,
        LEAF + ISSUER + KEY,
        ISSUER + LEAF + KEY,
        ISSUER + KEY + LEAF,
        private(OURS, old=True) + LEAF,
        "\ufeffBag Attributes\n" + (KEY + ISSUER + LEAF).replace("\n", "\r\n"),
    ],
)
def test_the_certificate_of_the_key_is_used_whatever_the_order(file, content):
    path = file(content)
    found = read_client_certificate(path)
    assert found.ends_on == (NOW + timedelta(days=10)).date()
    first = x509.load_pem_x509_certificate(found.chain.encode())
    assert first == x509.load_pem_x509_certificate(LEAF.encode())
    assert "PRIVATE" not in repr(found)

    settings = dataverse_settings(client_secret=None, certificate_path=path)
    entra = Entra()
    cache = TokenCacheFile(path.parent / "cache.json")
    assert TokenSource(settings, cache, entra.client()).acquire() == "token-1"
    assert entra.forms[0]["client_assertion"].count(".") == 2


RENEWED = certificate(OURS, 400)
TO_COME = certificate(OURS, 900, starts=5)


@pytest.mark.parametrize(
    ("content", "days"),
    [
        (KEY + LEAF + RENEWED, 400),
        (KEY + RENEWED + LEAF, 400),
        (KEY + LEAF + TO_COME, 10),
        (KEY + TO_COME + RENEWED + LEAF, 400),
        (KEY + TO_COME, 900),
    ],
)
def test_of_several_certificates_of_the_key_the_one_that_holds_longest_counts(
    file, content, days
):
    found = read_client_certificate(file(content))
    assert found.ends_on == (NOW + timedelta(days=days)).date()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (private(OURS, password=b"x") + LEAF, "encrypted"),
        (private(OURS, password=b"x", old=True) + LEAF, "encrypted"),
        (private(CURVE) + certificate(CURVE, 9), "not RSA"),
        (private(EDWARDS) + certificate(EDWARDS, 9), "not RSA"),
        ((KEY + LEAF).replace("\n", "\\n"), "real line break"),
        (KEY + ISSUER, "do not match"),
        (KEY + certificate(CURVE, 9), "do not match"),
        (KEY, "no certificate; it must contain"),
        (LEAF, "no private key; it must contain"),
        (KEY + LEAF.replace("MII", "!!!"), "unreadable certificate"),
        (KEY.replace("MII", "AAA") + LEAF, "unreadable private key"),
        (b"\x30\x82\xff\x00", "PFX"),
        (b"", "no certificate"),
    ],
)
def test_everything_else_is_one_plain_sentence(file, content, told):
    with pytest.raises(ConfigError) as caught:
        read_client_certificate(file(content))
    (problem,) = caught.value.problems
    assert problem.startswith("AZURE_CLIENT_CERTIFICATE_PATH or ")
    assert told in problem


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        read_client_certificate(tmp_path / "none.pem")
