"""Whether all is well at this moment, for whoever asks from outside."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from apex_pipeline.alerts.findings import Finding, Observation, is_within
from apex_pipeline.alerts.incidents import Incident
from apex_pipeline.alerts.journal import VARIABLE, Journal, Progress
from apex_pipeline.alerts.notice import Severity
from apex_pipeline.database import Database
from apex_pipeline.durations import words
from apex_pipeline.errors import DatabaseError
from apex_pipeline.settings import check_settings, load_settings, state_dir
from apex_pipeline.watch import everything, storage_room, sync_health
from apex_pipeline.watch.catalogue import (
    DATABASE_UNUSABLE,
    STORAGE_UNUSABLE,
    WATCH_STALLED,
)

_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Kept:
    """What the journal tells; all of it empty where there is none."""

    incidents: tuple[Incident, ...] = ()
    silenced: tuple[str, ...] = ()
    progress: Progress | None = None
    faults: tuple[Finding, ...] = ()


def reasons(environment: Mapping[str, str], now: datetime) -> list[str]:
    """Why it is not well, one line each; empty if it is.

    Looks for itself at the database and the disk. What others found is taken from the
    journal, where there is one. Silences hold here too; warnings are no reason.

    Raises:
        ConfigError: Something of the configuration is wrong, of whichever part.
    """
    check_settings(environment)
    settings = load_settings(environment)
    kept = _kept(environment, now)
    found = {finding.fingerprint: finding for finding in kept.faults}
    room = storage_room.observe({"state folder": state_dir(environment)})
    for observation in (*room, *_delivery(settings.database_url, kept, now)):
        found |= {each.fingerprint: each for each in observation.findings}
    known = {each.fingerprint: each for each in kept.incidents}
    return [
        f"{each.title}. {' '.join(each.cause.split())}".strip()
        for each in _causes([*(known | found).values()])
        if not any(is_within(each.fingerprint, scope) for scope in kept.silenced)
    ]


def _causes(found: Sequence[Incident | Finding]) -> list[Incident | Finding]:
    """The errors, without what only follows from one that comes before it."""
    causes: list[Incident | Finding] = []
    for each in found:
        if each.severity is not Severity.ERROR:
            continue
        followed = [scope for cause in causes for scope in cause.inhibits]
        if not any(is_within(each.fingerprint, scope) for scope in followed):
            causes.append(each)
    return causes


def stalled(progress: Progress | None, now: datetime) -> Finding | None:
    """What is wrong with the watch, by when it was at work last."""
    if progress is not None and now - progress.updated_at <= everything.STALLED:
        return None
    if progress is None:
        return WATCH_STALLED.finding("It has never looked.", cause_key="stalled")
    return WATCH_STALLED.finding(
        f"It looked {words(now - progress.updated_at)} ago for the last time.",
        cause_key="stalled",
    )


def _kept(environment: Mapping[str, str], now: datetime) -> _Kept:
    url = environment.get(VARIABLE)
    if not url:
        return _Kept()
    try:
        with Journal(url, wait_seconds=_PATIENCE_SECONDS) as journal:
            progress = journal.progress(everything.WATCHER)
            fault = stalled(progress, now)
            return _Kept(
                tuple(i for i in journal.incidents() if i.well_since is None),
                tuple(silence.scope for silence, _ in journal.silences()),
                progress,
                () if fault is None else (fault,),
            )
    except DatabaseError as error:
        return _Kept(faults=(STORAGE_UNUSABLE.finding(str(error)),))


def _delivery(url: str, kept: _Kept, now: datetime) -> Iterator[Observation]:
    database = Database(
        url, wait_seconds=_PATIENCE_SECONDS, application_name="apex_pipeline status"
    )
    try:
        with database:
            health = sync_health.read_health(database)
    except DatabaseError as error:
        wrong = DATABASE_UNUSABLE.finding(str(error))
        yield Observation(DATABASE_UNUSABLE.name, (wrong,))
        return
    state = kept.progress.state if kept.progress else {}
    oldest = health.pending.oldest_created_at or now
    known = sync_health.utc(state["empty_at"]) if "empty_at" in state else oldest
    empty_at = sync_health.last_empty(health, known, now)
    yield from sync_health.observe(health, empty_at, now)
