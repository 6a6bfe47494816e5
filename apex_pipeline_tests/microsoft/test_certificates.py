import ssl
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import create_connection, create_server

import pytest
from cryptography import x509

from apex_pipeline.local.local_certificates import Certificates, ensure_certificates


def contents(files: Certificates) -> list[bytes]:
    return [f.read_bytes() for f in (files.authority, files.certificate, files.key)]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_client_that_trusts_the_authority_reaches_the_server(tmp_path, host):
    files = ensure_certificates(tmp_path / "tls")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.certificate, files.key)

    def serve_one() -> None:
        connection, _ = listener.accept()
        with server.wrap_socket(connection, server_side=True) as secure:
            secure.sendall(secure.recv(4))

    with create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve_one)
        thread.start()
        client = ssl.create_default_context(cafile=str(files.authority))
        with (
            create_connection(listener.getsockname()) as connection,
            client.wrap_socket(connection, server_hostname=host) as secure,
        ):
            secure.sendall(b"ping")
            assert secure.recv(4) == b"ping"
        thread.join()


def test_the_certificates_stay_the_same_from_start_to_start(tmp_path):
    before = contents(ensure_certificates(tmp_path))

    assert contents(ensure_certificates(tmp_path)) == before


def test_the_key_is_for_its_owner_alone(tmp_path):
    files = ensure_certificates(tmp_path / "tls")

    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
    assert stat.S_IMODE(files.key.parent.stat().st_mode) == 0o700


def test_a_certificate_is_made_anew_a_month_before_it_expires(tmp_path):
    files = ensure_certificates(tmp_path)
    before = contents(files)
    expires = x509.load_pem_x509_certificate(before[1]).not_valid_after_utc

    ensure_certificates(tmp_path, now=expires - timedelta(days=31))
    assert contents(files) == before

    ensure_certificates(tmp_path, now=expires - timedelta(days=29))
    assert contents(files) != before
    renewed = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    assert renewed.not_valid_after_utc > expires


@pytest.mark.parametrize("name", ["authority.pem", "server.pem", "server.key"])
@pytest.mark.parametrize("damage", ["missing", "cut short", "another's"])
def test_damaged_certificates_are_made_anew(tmp_path, name, damage):
    ensure_certificates(tmp_path)
    victim: Path = tmp_path / name
    if damage == "missing":
        victim.unlink()
    elif damage == "cut short":
        victim.write_bytes(victim.read_bytes()[:40])
    else:
        ensure_certificates(tmp_path / "other")
        victim.write_bytes((tmp_path / "other" / name).read_bytes())

    files = ensure_certificates(tmp_path)

    authority, server = (
        x509.load_pem_x509_certificate(f.read_bytes())
        for f in (files.authority, files.certificate)
    )
    server.verify_directly_issued_by(authority)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
        files.certificate, files.key
    )
    assert server.not_valid_after_utc > datetime.now(UTC) + timedelta(days=365)
