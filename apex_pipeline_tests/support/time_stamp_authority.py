"""A time-stamp authority (RFC 3161) on this machine: OpenSSL's, behind HTTP."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from apex_pipeline_tests.support.http_server import serving

_CONFIGURATION = """
[tsa]
default_tsa = here
[here]
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/signer.pem
signer_key = {folder}/signer.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ordering = yes
tsa_name = yes
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


class TimeStampAuthority:
    """Certificates and answers of an authority, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        root_key = rsa.generate_private_key(65537, 2048)
        signer_key = rsa.generate_private_key(65537, 2048)
        root = _certificate("root", root_key, "root", root_key, is_signer=False)
        signer = _certificate("signer", signer_key, "root", root_key, is_signer=True)
        self.certificates = folder / "root.pem"
        self.certificates.write_bytes(_pem(root))
        (folder / "signer.pem").write_bytes(_pem(signer))
        (folder / "signer.key").write_bytes(
            signer_key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        (folder / "serial").write_text("01\n")
        (folder / "tsa.cnf").write_text(_CONFIGURATION.format(folder=folder))

    def answer(self, query: bytes) -> bytes:
        """The answer to a query, both in DER."""
        (self.folder / "query").write_bytes(query)
        subprocess.run(
            [
                *("openssl", "ts", "-reply", "-config", self.folder / "tsa.cnf"),
                *("-section", "here", "-queryfile", self.folder / "query"),
                *("-out", self.folder / "answer"),
            ],
            check=True,
            capture_output=True,
        )
        return (self.folder / "answer").read_bytes()

    @contextmanager
    def served(self) -> Iterator[str]:
        """Serve it; yields its URL."""
        authority = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                query = self.rfile.read(int(self.headers["Content-Length"]))
                answer = authority.answer(query)
                self.send_response(200)
                self.send_header("Content-Type", "application/timestamp-reply")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        with serving(Handler) as address:
            yield f"{address}/tsa"


def _certificate(name, key, issuer, issuer_key, *, is_signer):
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=not is_signer, path_length=None), True)
    )
    if is_signer:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
        builder = builder.add_extension(usage, True)
    return builder.sign(issuer_key, hashes.SHA256())


def _pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)
