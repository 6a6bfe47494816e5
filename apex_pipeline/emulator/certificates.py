"""A certificate authority of the emulator's own, and the server certificate from it."""

import os
from dataclasses import dataclass
from pathlib import Path

import trustme

NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """Files for a TLS server; `ca` is what its clients have to trust.

    Attributes:
        certificate: The chain, PEM.
        key: The private key, PEM, 0600.
        ca: The authority's certificate, PEM; None where it is somebody else's.
    """

    certificate: Path
    key: Path
    ca: Path | None = None


def make_certificate(folder: Path, host: str) -> ServerCertificate:
    """Make the files, or take those of an earlier start for the same names."""
    files = ServerCertificate(
        folder / "server.pem", folder / "server.key", folder / "ca.pem"
    )
    marker = folder / "server.names"
    names = list(dict.fromkeys([*NAMES, host]))
    if files.key.is_file() and marker.is_file():
        if marker.read_text().split() == names:
            return files
        marker.unlink()
    authority = trustme.CA(organization_name="Dataverse emulator")
    issued = authority.issue_cert(*names)
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    files.certificate.write_bytes(chain)
    write_secret(files.key, issued.private_key_pem.bytes())
    (folder / "ca.pem").write_bytes(authority.cert_pem.bytes())
    marker.write_text("\n".join(names))
    return files


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, from its first byte on."""
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
