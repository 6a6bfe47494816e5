"""What analysts read: since when, in which time zone, and where files go."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings.endpoints import state_dir
from apex_pipeline.settings.variables import read_variable

UTC_ZONE = "UTC"
_EARLIEST = date(2000, 1, 1)
# Files beside the IANA zones on this machine, which Postgres does not have: zones that
# count leap seconds, second copies, and this machine's own zone.
_NOT_IN_POSTGRES = {"right", "posix", "posixrules", "localtime"}

# Dagster's partitions need a first day before the database can be asked. The database
# begins two years before it was provisioned, and none was before this was written.
_FIRST_LABEL = date(2024, 11, 1)


@dataclass(frozen=True, slots=True)
class AnalysisSettings:
    """How rollups are cut and where they begin.

    Attributes:
        history_start: First day of the rollups; None for the one that the database
            keeps since it was provisioned.
        time_zone: IANA name of the business time zone.
        slo_p95_ms: Latency objective for a run's 95th percentile, milliseconds.
        export_dir: Folder for CSV files, absolute.
    """

    history_start: date | None
    time_zone: str
    slo_p95_ms: int | None
    export_dir: Path

    @property
    def first_label(self) -> date:
        """First day that Dagster knows a partition of; the rollups may begin later."""
        return self.history_start or _FIRST_LABEL

    @property
    def time_zones(self) -> tuple[str, ...]:
        """All time zones that rollups are made for: UTC, and the business's own."""
        return tuple(dict.fromkeys((UTC_ZONE, self.time_zone)))


def load_analysis_settings(environment: Mapping[str, str]) -> AnalysisSettings:
    """Read the settings of rollups, history, forecast and export.

    Raises:
        ConfigError: Something is malformed. All of it is named at once.
    """
    problems: list[str] = []
    export_dir = read_variable(environment, "APEX_EXPORT_DIR")
    folder = Path(export_dir).expanduser() if export_dir else None
    settings = AnalysisSettings(
        history_start=_history_start(environment, problems),
        time_zone=_time_zone(environment, problems),
        slo_p95_ms=_slo(environment, problems),
        export_dir=(folder or state_dir(environment) / "exports").absolute(),
    )
    if settings.export_dir.exists() and not settings.export_dir.is_dir():
        problems.append(
            f"APEX_EXPORT_DIR names {settings.export_dir}, which is not a folder."
        )
    if problems:
        raise ConfigError(*problems)
    return settings


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
            f"APEX_HISTORY_START must lie between {_EARLIEST} and today; {found} does "
            "not."
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
            "APEX_TIME_ZONE must be an IANA name like Europe/Berlin; what is set is "
            "not known."
        )
        return UTC_ZONE
    return name


def _slo(environment: Mapping[str, str], problems: list[str]) -> int | None:
    text = read_variable(environment, "APEX_SLO_P95_MS")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**31):
        problems.append("APEX_SLO_P95_MS must be a whole number of milliseconds.")
        return None
    return int(text)
