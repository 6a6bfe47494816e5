"""Settings of rollups and exports: first day, time zone, latency objective, folder."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings.folders import state_dir
from apex_pipeline.settings.named_paths import path_of_folder
from apex_pipeline.settings.secret_parts import secret_parts
from apex_pipeline.settings.tenant import load_tenant
from apex_pipeline.settings.variable_reading import read_variable
from apex_pipeline.texts.redaction import OURS

UTC_ZONE = "UTC"
_EARLIEST = date(2000, 1, 1)
# Entries of this machine's zone directory that Postgres does not know: zones with leap
# seconds, copies, and the machine's own zone.
_NOT_IN_POSTGRES = {"right", "posix", "posixrules", "localtime"}

# One letter is the drive of a Windows path, which is no URL either.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")

# Dagster's partitions need a first day before the database can be read. The rollups
# begin two years before it was provisioned, and none was before November 2026.
_FIRST_LABEL = date(2024, 11, 1)


@dataclass(frozen=True, slots=True)
class AnalysisSettings:
    """Settings of rollups, history, forecast and export.

    Attributes:
        history_start: First day of the rollups; None for the default, which the
            database stored when it was provisioned.
        time_zone: IANA name of the business time zone.
        slo_p95_ms: Objective for a run's 95th percentile of latency, in milliseconds.
        export_dir: Absolute path of the folder for CSV files.
        export_parquet: Whether Parquet files are written beside them.
        export_url: A folder in an object store, in place of `export_dir`.
    """

    history_start: date | None
    time_zone: str
    slo_p95_ms: int | None
    export_dir: Path
    export_parquet: bool = False
    export_url: str | None = None

    @property
    def first_label(self) -> date:
        """First partition in Dagster; the rollups may begin later."""
        return self.history_start or _FIRST_LABEL

    @property
    def time_zones(self) -> tuple[str, ...]:
        """Time zones that rollups are computed for: UTC and the business time zone."""
        return tuple(dict.fromkeys((UTC_ZONE, self.time_zone)))


def load_analysis_settings(environment: Mapping[str, str]) -> AnalysisSettings:
    """Read the settings of rollups, history, forecast and export.

    Raises:
        ConfigError: A variable is malformed. Lists all problems.
    """
    problems: list[str] = []
    folder, url = _export_place(environment, problems)
    settings = AnalysisSettings(
        history_start=_history_start(environment, problems),
        time_zone=_time_zone(environment, problems),
        slo_p95_ms=_slo(environment, problems),
        export_dir=(folder or state_dir(environment) / "exports").absolute(),
        export_parquet=_export_parquet(environment, problems),
        export_url=url,
    )
    if settings.export_dir.exists() and not settings.export_dir.is_dir():
        problems.append(
            f"APEX_EXPORT_DIR is {settings.export_dir}, which is not a folder."
        )
    if problems:
        raise ConfigError(*problems)
    return settings


def load_export_url(environment: Mapping[str, str]) -> str | None:
    """The folder in an object store that APEX_EXPORT_DIR names; None if it names none.

    Raises:
        ConfigError: The URL is malformed.
    """
    problems: list[str] = []
    _, url = _export_place(environment, problems)
    if problems:
        raise ConfigError(*problems)
    return url


def _export_place(
    environment: Mapping[str, str], problems: list[str]
) -> tuple[Path | None, str | None]:
    """A folder of this machine, or a URL; neither for the default."""
    text = read_variable(environment, "APEX_EXPORT_DIR")
    if not text:
        return None, None
    tenant = load_tenant(environment)
    if not _SCHEME.match(text):
        return tenant.folder(path_of_folder("APEX_EXPORT_DIR", text)), None
    try:
        parts = urlsplit(text)
        # The name of an S3 access point holds colons.
        is_arn = parts.netloc.startswith("arn:")
        has_port = is_arn or parts.port is None or parts.port > 0
    except ValueError:
        has_port = False
    if not has_port or "://" not in text:
        problems.append(
            "APEX_EXPORT_DIR must be a folder, or look like s3://bucket/folder. Write ./ "
            "before a relative folder whose name holds a colon."
        )
        return None, None
    if parts.scheme == "file":
        if parts.netloc not in {"", "localhost"} or not parts.path.startswith("/"):
            problems.append("APEX_EXPORT_DIR must look like file:///srv/exports.")
        folder = path_of_folder("APEX_EXPORT_DIR", unquote(parts.path or "/"))
        return tenant.folder(folder), None
    if not parts.netloc or parts.password or parts.query or parts.fragment:
        # Also a key of an account in its query, which would show in every message.
        OURS.remember(*secret_parts(text))
        problems.append(
            "APEX_EXPORT_DIR must look like s3://bucket/folder, without a password, query "
            "or fragment. Adapters find credentials in variables of their own."
        )
    return None, tenant.address(text.rstrip("/"))


def _history_start(environment: Mapping[str, str], problems: list[str]) -> date | None:
    text = read_variable(environment, "APEX_HISTORY_START")
    if not text:
        return None
    try:
        found = date.fromisoformat(text)
    except ValueError:
        problems.append("APEX_HISTORY_START must be a date like 2024-11-01.")
        return None
    if not _EARLIEST <= found <= date.today():  # noqa: DTZ011  a day, wherever
        problems.append(
            f"APEX_HISTORY_START must be between {_EARLIEST} and today; {found} is not."
        )
        return None
    return found


def _time_zone(environment: Mapping[str, str], problems: list[str]) -> str:
    name = read_variable(environment, "APEX_TIME_ZONE") or UTC_ZONE
    try:
        is_known = bool(ZoneInfo(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        is_known = False
    if not is_known or name.partition("/")[0] in _NOT_IN_POSTGRES:
        problems.append(
            "APEX_TIME_ZONE must be an IANA name like Europe/Berlin; the current value is "
            "unknown."
        )
        return UTC_ZONE
    return name


def _export_parquet(environment: Mapping[str, str], problems: list[str]) -> bool:
    text = read_variable(environment, "APEX_EXPORT_FORMATS") or "csv"
    formats = {part.strip() for part in text.split(",")}
    if "csv" not in formats or formats - {"csv", "parquet"}:
        problems.append("APEX_EXPORT_FORMATS must be csv or csv,parquet.")
    return "parquet" in formats


def _slo(environment: Mapping[str, str], problems: list[str]) -> int | None:
    text = read_variable(environment, "APEX_SLO_P95_MS")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**31):
        problems.append("APEX_SLO_P95_MS must be a whole number of milliseconds.")
        return None
    return int(text)
