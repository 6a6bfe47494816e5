"""Prepare a tenant's database, emulator and panel on this machine, without starting them."""

import dataclasses
import json
import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from apex_pipeline.errors import ApexError, ConfigError
from apex_pipeline.local.embedded_databases import METRICS, prepare_postgres
from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline.local.embedded_roles import OwnDatabase
from apex_pipeline.local.local_certificates import Certificates, ensure_certificates
from apex_pipeline.local.ports import HOST, HeldPorts
from apex_pipeline.local.private_files import write_private
from apex_pipeline.settings import (
    PanelSettings,
    existing_file,
    load_panel_settings,
    read_variable,
    wants_local,
)


@dataclass(frozen=True, slots=True)
class Ends:
    """The services at a tenant's two ends, and its panel.

    Attributes:
        own: Variables of the services that are ours.
    """

    state: Path
    panel: PanelSettings
    emulator_port: int
    postgres: EmbeddedPostgres | None
    databases: tuple[OwnDatabase, ...]
    certificates: Certificates | None
    own: Mapping[str, str] = field(repr=False)


def prepare_ends(
    environment: Mapping[str, str],
    ports: HeldPorts,
    state: Path,
    databases: Sequence[OwnDatabase],
) -> Ends:
    """Prepare one tenant; `databases` are those it needs besides its metrics."""
    local_database, local_dataverse = wants_local(environment)
    needed = (*([METRICS] if local_database else []), *databases)
    is_chosen = bool(read_variable(environment, "APEX_PANEL_PORT"))
    last = state / "ports.json"
    panel = load_panel_settings(environment)
    panel = _hold_panel(ports, panel, last, is_chosen=is_chosen)
    emulator_port = _hold_own(ports, HOST, "emulator", last) if local_dataverse else 0
    postgres, own = prepare_postgres(ports, state, needed)
    if local_database and not read_variable(environment, "APEX_HISTORY_START"):
        own["APEX_HISTORY_START"] = _history_start(state / "history-start")
    certificates = None
    if local_dataverse:
        certificates = ensure_certificates(state / "tls")
        own |= _emulated_dataverse(state, emulator_port)
        own["APEX_CA_BUNDLE"] = str(_trusted(environment, certificates.authority))
    return Ends(
        state,
        panel,
        emulator_port,
        postgres,
        needed,
        certificates,
        own,
    )


def _emulated_dataverse(state: Path, port: int) -> dict[str, str]:
    """Addresses of the emulator, and its application's credentials."""
    origin = f"https://localhost:{port}"
    return _application(state / "application.json") | {
        "DATAVERSE_RESOURCE": origin,
        "AZURE_AUTHORITY_HOST": origin,
    }


def _trusted(environment: Mapping[str, str], authority: Path) -> Path:
    """A bundle of the emulator's authority and the given certificates.

    Raises:
        ConfigError: The given bundle is not a file.
    """
    problems: list[str] = []
    given = existing_file("APEX_CA_BUNDLE", environment, problems)
    if problems:
        raise ConfigError(*problems)
    if given is None:
        return authority
    both = authority.with_name("trusted.pem")
    both.write_bytes(authority.read_bytes() + b"\n" + given.read_bytes())
    return both


def _history_start(path: Path) -> str:
    """The first day of the rollups: two years before the first start.

    The database stores the same day. But Dagster needs it before the database is
    reachable; otherwise earlier days would never be computed.
    """
    if not path.is_file():
        today = datetime.now(UTC).date()
        # There is no 29 February two years earlier.
        start = today.replace(year=today.year - 2, day=min(today.day, 28))
        path.write_text(start.isoformat())
    return path.read_text()


def _application(path: Path) -> dict[str, str]:
    """Ids and secret of the emulated application, created once."""
    if not path.is_file():
        made = {
            "AZURE_TENANT_ID": str(uuid.uuid4()),
            "AZURE_CLIENT_ID": str(uuid.uuid4()),
            "AZURE_CLIENT_SECRET": secrets.token_urlsafe(24),
        }
        write_private(path, json.dumps(made, allow_nan=False))
    application: dict[str, str] = json.loads(path.read_text())
    return application


def _hold_panel(
    ports: HeldPorts, panel: PanelSettings, last: Path, *, is_chosen: bool
) -> PanelSettings:
    """The panel on its port; on another one only if the user has not chosen it."""
    if ports.hold(panel.host, panel.port):
        return panel
    if is_chosen:
        raise ApexError(
            f"Port {panel.port} is in use. Choose another for the panel with "
            "APEX_PANEL_PORT, or unset it and `apex up` takes a free one."
        )
    return dataclasses.replace(panel, port=_hold_own(ports, panel.host, "panel", last))


def _hold_own(ports: HeldPorts, host: str, name: str, last: Path) -> int:
    """The port of the last start if it is free, otherwise any free one."""
    known: dict[str, int] = json.loads(last.read_text()) if last.is_file() else {}
    if name not in known or not ports.hold(host, known[name]):
        known[name] = ports.hold_any(host)
        last.write_text(json.dumps(known, allow_nan=False))
    return known[name]
