"""Current problems in one line each, for `apex status --check` and health endpoints."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from apex_pipeline.errors import DatabaseError
from apex_pipeline.monitoring.alerts.incidents import Incident
from apex_pipeline.monitoring.alerts.journal import VARIABLE, Journal, WatcherProgress
from apex_pipeline.monitoring.alerts.notice import (
    Fault,
    Observation,
    Severity,
    is_within,
)
from apex_pipeline.monitoring.alerts.send_limits import begun, by
from apex_pipeline.monitoring.answer_time import answer_by
from apex_pipeline.monitoring.doctor import dagster_health
from apex_pipeline.monitoring.doctor.check_results import CheckState
from apex_pipeline.monitoring.rules import disk_space, health_watch, sync_health
from apex_pipeline.monitoring.rules.catalogue import (
    CODE_LOCATION_DOWN,
    DATABASE_UNUSABLE,
    STORAGE_UNUSABLE,
    WATCH_STALLED,
)
from apex_pipeline.monitoring.rules.sync_health import SyncHealth
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import (
    check_settings,
    load_journal_name,
    load_settings,
    read_variable,
    state_dir,
)
from apex_pipeline.texts.durations import words

# Both databases are queried in parallel.
_CONNECTING_SECONDS = 3.0
_STATEMENT_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class _Kept:
    """What the alert journal knows; empty if no journal is configured."""

    incidents: tuple[Incident, ...] = ()
    silenced: tuple[str, ...] = ()
    progress: WatcherProgress | None = None
    faults: tuple[Fault, ...] = ()


def reasons(
    environment: Mapping[str, str], now: datetime, *, began: float | None = None
) -> list[str]:
    """List the current errors, one line each; empty if healthy.

    Checks the metrics database, the disk and the code location itself, and adds the
    open incidents of the journal, if there is one. Warnings and silenced incidents are
    left out. It answers in time; see `answer_by`.

    Args:
        environment: The variables.
        now: Current time, timezone-aware.
        began: When the process began to load; by default now.

    Raises:
        ConfigError: Any part of the configuration is wrong.
    """
    check_settings(environment)
    settings = load_settings(environment)
    ends_at = answer_by(began)
    health = begun(lambda: _health(settings.database_url, now))
    journal = begun(lambda: _kept(environment, now))
    location = begun(lambda: _code_location(environment))
    kept = by(ends_at, journal, _unreadable("It did not answer in time."))
    found = {finding.fingerprint: finding for finding in kept.faults}
    room = disk_space.observe({"state folder": state_dir(environment)})
    answer = by(ends_at, health, "Postgres did not answer in time.")
    for observation in (
        by(ends_at, location, _not_loaded("It did not answer in time.")),
        *room,
        *_delivery(answer, kept, now),
    ):
        found |= {each.fingerprint: each for each in observation.findings}
    known = {each.fingerprint: each for each in kept.incidents}
    return [
        f"{each.title}. {' '.join(each.cause.split())}".strip()
        for each in _causes([*(known | found).values()])
        if not any(is_within(each.fingerprint, scope) for scope in kept.silenced)
    ]


def _causes(found: Sequence[Incident | Fault]) -> list[Incident | Fault]:
    """The errors, without mere consequences of an earlier one."""
    causes: list[Incident | Fault] = []
    for each in found:
        if each.severity is not Severity.ERROR:
            continue
        followed = [scope for cause in causes for scope in cause.inhibits]
        if not any(is_within(each.fingerprint, scope) for scope in followed):
            causes.append(each)
    return causes


def stalled(progress: WatcherProgress | None, now: datetime) -> Fault | None:
    """A finding if the health watch has not run lately; None if it has."""
    if progress is not None and now - progress.updated_at <= health_watch.STALLED:
        return None
    if progress is None:
        return WATCH_STALLED.finding(
            "The health watch has never run.", cause_key="stalled"
        )
    return WATCH_STALLED.finding(
        f"The health watch last ran {words(now - progress.updated_at)} ago.",
        cause_key="stalled",
    )


def _code_location(environment: Mapping[str, str]) -> Observation:
    """Observe whether our code server in this DAGSTER_HOME serves definitions.

    The health watch runs inside one of them, so it cannot observe this itself.
    """
    servers = dagster_health.code_servers(environment)
    found = dagster_health.code_location(servers) if servers else None
    if found is None or found.state is not CheckState.FAILED:
        return Observation(CODE_LOCATION_DOWN.name)
    return _not_loaded(found.measured)


def _not_loaded(why: str) -> Observation:
    wrong = CODE_LOCATION_DOWN.finding(why)
    return Observation(CODE_LOCATION_DOWN.name, (wrong,))


def _kept(environment: Mapping[str, str], now: datetime) -> _Kept:
    url = read_variable(environment, VARIABLE)
    if not url:
        return _Kept()
    try:
        location = load_journal_name(environment)
        with Journal(
            url,
            location,
            wait_seconds=_CONNECTING_SECONDS,
            statement_seconds=_STATEMENT_SECONDS,
        ) as journal:
            progress = journal.progress(health_watch.WATCHER)
            fault = stalled(progress, now)
            return _Kept(
                tuple(i for i in journal.incidents() if i.well_since is None),
                tuple(silence.scope for silence, _ in journal.silences.in_force()),
                progress,
                () if fault is None else (fault,),
            )
    except DatabaseError as error:
        return _unreadable(str(error))


def _unreadable(why: str) -> _Kept:
    return _Kept(faults=(STORAGE_UNUSABLE.finding(why),))


def _health(url: str, now: datetime) -> SyncHealth | str:
    """Read the metrics database; return the error message if that fails."""
    try:
        with Database(
            url,
            wait_seconds=_CONNECTING_SECONDS,
            statement_seconds=_STATEMENT_SECONDS,
            application_name="apex_pipeline status",
        ) as database:
            return sync_health.read_health(database, now)
    except DatabaseError as error:
        return str(error)


def _delivery(
    health: SyncHealth | str, kept: _Kept, now: datetime
) -> Iterator[Observation]:
    if isinstance(health, str):
        wrong = DATABASE_UNUSABLE.finding(health)
        yield Observation(DATABASE_UNUSABLE.name, (wrong,))
        return
    state = kept.progress.state if kept.progress else {}
    empty_at = sync_health.utc(state["empty_at"]) if "empty_at" in state else None
    yield from sync_health.observe(health, empty_at, now)
