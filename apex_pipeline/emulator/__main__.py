"""`python -m apex_pipeline.emulator`: serves the emulator until it is stopped."""

import asyncio
import json
import logging
import os
import secrets
import socket
import sqlite3
from pathlib import Path
from typing import Any

import click

from apex_pipeline.emulator import faults, latency
from apex_pipeline.emulator.certificates import (
    ServerCertificate,
    make_certificate,
    write_secret,
)
from apex_pipeline.emulator.emulated_environment import StateFormatError
from apex_pipeline.emulator.instance import CLIENT_ID, TENANT_ID, Emulator, Options
from apex_pipeline.emulator.limits import UserLimits
from apex_pipeline.emulator.served_emulator import make_server

SECRET_VARIABLE = "EMULATOR_CLIENT_SECRET"  # noqa: S105 # its name, not its value

_DEFAULTS = UserLimits()
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_HELP = """Serve the Dataverse Web API on this machine, over HTTPS.

\b
It is an identity provider and an environment in one, at one address:
  authority   https://localhost:PORT/TENANT-ID   (MSAL: instance_discovery=False)
  scope       https://localhost:PORT/.default
  Web API     https://localhost:PORT/api/data/v9.2/
  Graph       https://localhost:PORT/graph/v1.0/  (sendMail in MIME format, and
              applications(appId='…'); scope https://localhost:PORT/graph/.default)

Clients must trust the certificate: set REQUESTS_CA_BUNDLE, SSL_CERT_FILE or their own
option to ca.pem in the state folder. EMULATOR_CLIENT_SECRET sets the client secret;
otherwise one is generated and kept in client_secret there. Records and definitions are
kept in the folder and survive kill -9.

\b
For tests, with the header "Authorization: Bearer SECRET", where SECRET is what the
file control_secret in the state folder holds:
  GET    /_emulator/health            what is served; without the secret, its status
  GET    /_emulator/requests          request log (DELETE empties it)
  GET    /_emulator/records/TABLE     every record, every column
  GET    /_emulator/mail              messages that Graph was given
  POST   /_emulator/faults            {"kind": …, "count": 1, "path": "Upsert"}
                                      (GET lists them, DELETE clears)
  POST   /_emulator/limits            {"requests": 100, "window_seconds": 10}
  POST   /_emulator/applications      {"client_id": …, "client_secret": …,
                                       "user": true, "roles": ["…"],
                                       "denied": ["prvCreate…"],
                                       "graph": {"permissions": ["Mail.Send"],
                                       "mailboxes": ["…"], "secret_ends": "…"}}
  POST   /_emulator/snapshot          {"name": …}; /_emulator/restore goes back
  POST   /_emulator/reset             back to the start

\b
Kinds of faults, each with count, skip, probability, method, path (a regular
expression), retry_after and delay:
{kinds}

Unsupported requests answer 501 with a Dataverse error body that names what is missing.

\b
In a Python test, without a process of its own:
  from apex_pipeline.emulator import serve
  with serve() as dataverse:
      dataverse.url, dataverse.ca_bundle, dataverse.client_secret, dataverse.records()
"""


def _help() -> str:
    kinds = "\n".join(f"  {name:13}{text}" for name, text in faults.KINDS.items())
    return _HELP.replace("{kinds}", kinds)


@click.command(help=_help(), context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8443,
    show_default=True,
    help="0 takes any free port.",
)
@click.option("--fd", type=int, hidden=True)
@click.option(
    "--port-file", type=click.Path(path_type=Path), help="File to write the port to."
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".apex/emulator"),
    show_default=True,
    help="Folder of the database, the certificates and the secret.",
)
@click.option(
    "--tls-cert",
    type=_FILE,
    help="Server certificate, PEM; by default one is made, with an authority.",
)
@click.option("--tls-key", type=_FILE, help="Its private key, PEM.")
@click.option(
    "--control-secret-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of the secret that opens /_emulator/: read if it exists, otherwise made"
    " with mode 0600. By default control_secret in the state folder.",
)
@click.option("--empty", is_flag=True, help="Start without apex_campaignmetrics.")
@click.option("--tenant-id", default=TENANT_ID, show_default=True)
@click.option("--client-id", default=CLIENT_ID, show_default=True)
@click.option(
    "--client-certificate",
    type=_FILE,
    help="Certificate that the application may sign with, PEM.",
)
@click.option(
    "--latency",
    "latency_name",
    type=click.Choice(list(latency.PROFILES)),
    default="none",
    show_default=True,
    help="Simulated speed of the service; it is also what execution time is charged.",
)
@click.option(
    "--servers",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="Web servers behind the affinity cookie.",
)
@click.option("--dop-hint", type=int, help="x-ms-dop-hint; by default the profile's.")
@click.option("--limit-requests", default=_DEFAULTS.requests, show_default=True)
@click.option(
    "--limit-execution-seconds",
    default=float(_DEFAULTS.execution_seconds),
    show_default=True,
)
@click.option("--limit-concurrent", default=_DEFAULTS.concurrent, show_default=True)
@click.option(
    "--limit-window-seconds", default=float(_DEFAULTS.window_seconds), show_default=True
)
@click.option(
    "--key-index-seconds",
    default=1.0,
    show_default=True,
    help="How long the index of a new alternate key is pending.",
)
@click.option(
    "--fault",
    "fault_texts",
    multiple=True,
    metavar="JSON",
    help='A fault from the start, such as {"kind": "drop_after", "probability": 0.1}.',
)
@click.option("--seed", default=0, show_default=True, help="Of the faults' dice.")
def main(**flags: Any) -> None:
    """Serve until SIGTERM or SIGINT."""
    if (flags["tls_cert"] is None) != (flags["tls_key"] is None):
        raise click.UsageError("--tls-cert and --tls-key belong together.")
    logging.basicConfig(level=logging.WARNING, format="emulator: %(message)s")
    state_dir: Path = flags["state_dir"]
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    options = _options(flags, state_dir)
    try:
        emulator = Emulator(options)
    except StateFormatError as error:
        raise click.ClickException(f"{options.state_file}: {error}.") from None
    except sqlite3.OperationalError as error:
        raise click.ClickException(
            f"{options.state_file} cannot be used ({error}). Another emulator may have"
            " it; give this one a --state-dir of its own."
        ) from None
    for text in flags["fault_texts"]:
        _add_fault(emulator, text)
    host: str = flags["host"]
    certificate = (
        ServerCertificate(flags["tls_cert"], flags["tls_key"])
        if flags["tls_cert"]
        else make_certificate(state_dir, host)
    )

    def listening(number: int) -> None:
        _announce(options, certificate, flags, number)
        if flags["port_file"] is not None:
            _write_port(flags["port_file"], number)

    server = make_server(
        emulator, certificate, host=host, port=flags["port"], listening=listening
    )
    asyncio.run(server.serve(_inherited(flags["fd"])))


def _inherited(descriptor: int | None) -> list[socket.socket] | None:
    """The socket that the parent process left listening for this one."""
    if descriptor is None:
        return None
    # With the protocol named, asyncio sends small answers without delay.
    listener = socket.socket(proto=socket.IPPROTO_TCP, fileno=descriptor)
    listener.set_inheritable(False)
    return [listener]


def _options(flags: dict[str, Any], state_dir: Path) -> Options:
    profile = flags["latency_name"]
    certificate: Path | None = flags["client_certificate"]
    return Options(
        client_secret=_client_secret(state_dir),
        control_secret=_kept_secret(_control_secret_file(flags)),
        tenant_id=flags["tenant_id"],
        client_id=flags["client_id"],
        certificate=certificate.read_text() if certificate else None,
        state_file=state_dir / "dataverse.sqlite",
        empty=flags["empty"],
        limits=UserLimits(
            requests=flags["limit_requests"],
            execution_seconds=flags["limit_execution_seconds"],
            concurrent=flags["limit_concurrent"],
            window_seconds=flags["limit_window_seconds"],
        ),
        profile=latency.PROFILES[profile],
        dop_hint=flags["dop_hint"] or latency.DOP_HINTS[profile],
        servers=flags["servers"],
        seed=flags["seed"],
        key_index_seconds=flags["key_index_seconds"],
    )


def _client_secret(state_dir: Path) -> str:
    """From the environment, else the one that is kept, else a new one, kept 0600."""
    given = os.environ.get(SECRET_VARIABLE)
    if given:
        return given
    return _kept_secret(state_dir / "client_secret")


def _control_secret_file(flags: dict[str, Any]) -> Path:
    given: Path | None = flags["control_secret_file"]
    state_dir: Path = flags["state_dir"]
    return given or state_dir / "control_secret"


def _kept_secret(path: Path) -> str:
    """What a file holds for its owner alone; a new secret where there is no file."""
    if not path.is_file():
        write_secret(path, secrets.token_urlsafe(32).encode())
    if path.stat().st_mode & 0o077:
        raise click.ClickException(
            f"Other users can read the secret in {path}. Run chmod 600 {path}."
        )
    secret = path.read_text().strip()
    if not secret:
        raise click.ClickException(f"{path} is empty. Write a secret, or delete it.")
    return secret


def _add_fault(emulator: Emulator, text: str) -> None:
    try:
        emulator.faults.add(json.loads(text))
    except (ValueError, TypeError) as error:
        raise click.BadParameter(f"{error}", param_hint="--fault") from None


def _announce(
    options: Options,
    certificate: ServerCertificate,
    flags: dict[str, Any],
    port: int,
) -> None:
    host, state_dir = flags["host"], flags["state_dir"]
    name = "localhost" if host in {"127.0.0.1", "localhost", "::1"} else host
    kept = SECRET_VARIABLE in os.environ
    secret = f"from {SECRET_VARIABLE}" if kept else f"in {state_dir / 'client_secret'}"
    click.echo(f"Dataverse emulator  https://{name}:{port}")
    click.echo(f"  tenant            {options.tenant_id}")
    click.echo(f"  application       {options.client_id}, secret {secret}")
    click.echo(
        f"  trust             {certificate.ca or 'the authority that signed it'}"
    )
    click.echo(f"  /_emulator/       secret in {_control_secret_file(flags)}")


def _write_port(path: Path, port: int) -> None:
    """Replace the file as a whole, so a reader never sees half of it."""
    partial = path.with_name(path.name + ".part")
    partial.write_text(f"{port}\n")
    partial.replace(path)


if __name__ == "__main__":
    main()
