"""Probes that run only now and then, because each costs a request or takes a while."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

from apex_pipeline.errors import AuthError, ConfigError, DataverseError
from apex_pipeline.metrics import TABLE
from apex_pipeline.microsoft.credential_expiry import CredentialEnd, credential_end
from apex_pipeline.microsoft.http_transport import token_http
from apex_pipeline.microsoft.token_cache import TokenCacheFile
from apex_pipeline.microsoft.tokens import TokenSource
from apex_pipeline.monitoring.alerts.notice import Observation, Severity
from apex_pipeline.monitoring.alerts.send_limits import within
from apex_pipeline.monitoring.doctor.check_results import CheckState
from apex_pipeline.monitoring.doctor.dataverse_access import Access
from apex_pipeline.monitoring.doctor.table_comparison import columns
from apex_pipeline.monitoring.facts import CREDENTIAL_WARNED_DAYS
from apex_pipeline.monitoring.rules.catalogue import (
    CREDENTIAL_ENDS,
    TABLE_DRIFTED,
    TOKEN_REFUSED,
)
from apex_pipeline.provisioning.existing_state import FoundTable
from apex_pipeline.provisioning.inspection import inspect_table
from apex_pipeline.settings import Settings

_SECONDS = 5.0
_PATIENCE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe.

    Attributes:
        look: Runs the probe; returns None if it could not observe anything.
        every: Interval while nothing is wrong.
        every_if_wrong: Interval while something is wrong, to notice a recovery soon.
    """

    name: str
    look: Callable[[], Observation | None]
    every: timedelta
    every_if_wrong: timedelta


def probes(
    settings: Settings, environment: Mapping[str, str], today: date
) -> list[Probe]:
    return [
        Probe(
            "token",
            lambda: _token(settings),
            timedelta(minutes=1),
            # Entra may treat frequent refused attempts as an attack.
            timedelta(minutes=5),
        ),
        Probe(
            "table",
            lambda: _table(settings),
            timedelta(minutes=15),
            timedelta(minutes=2),
        ),
        Probe(
            "credential",
            lambda: _credential(settings, environment, today),
            timedelta(minutes=30),
            timedelta(minutes=5),
        ),
    ]


def look_at_one(
    candidates: Sequence[Probe],
    state: Mapping[str, Any],
    now: datetime,
    *,
    seconds: float = _PATIENCE_SECONDS,
) -> tuple[list[Observation], dict[str, Any]]:
    """Run the probe that has been due longest; a tick has no time for more than one.

    Args:
        candidates: All probes.
        state: State that the last call returned.
        now: Current time, timezone-aware.
        seconds: Timeout; a probe that takes longer observes nothing.

    Returns:
        The observation, if any, and the new state.
    """
    due = {probe.name: _due_at(probe, state, now) for probe in candidates}
    probe = min(candidates, key=lambda each: due[each.name])
    if due[probe.name] > now:
        return [], dict(state)
    seen = _look(probe, seconds)
    was_wrong = state.get(probe.name, {}).get("wrong", False)
    is_wrong = was_wrong if seen is None else bool(seen.findings)
    kept = {probe.name: {"at": now.isoformat(), "wrong": is_wrong}}
    return ([] if seen is None else [seen]), dict(state) | kept


def _look(probe: Probe, seconds: float) -> Observation | None:
    try:
        return within(seconds, probe.look)
    except TimeoutError:
        return None


def _due_at(probe: Probe, state: Mapping[str, Any], now: datetime) -> datetime:
    kept = state.get(probe.name)
    if kept is None:
        return now - timedelta(days=1)
    every = probe.every_if_wrong if kept["wrong"] else probe.every
    # A clock that was set back must not delay the probe.
    return min(datetime.fromisoformat(kept["at"]), now) + every


def _token(settings: Settings) -> Observation | None:
    """Ask for a token as each application user; one suffices for the sync to go on."""
    refusal: AuthError | ConfigError | None = None
    cache = TokenCacheFile(settings.token_cache_path)
    for user in settings.dataverse.users:
        try:
            with token_http(user.ca_bundle, timeout=_SECONDS) as http:
                TokenSource(user, cache, http).acquire()
        except (AuthError, ConfigError) as error:
            refusal = refusal or error
        except DataverseError:
            # No answer says nothing about our credentials; the failing runs report it.
            return None
        else:
            return Observation(TOKEN_REFUSED.name)
    found = TOKEN_REFUSED.finding(
        str(refusal), cause_key=str(getattr(refusal, "code", ""))
    )
    return Observation(TOKEN_REFUSED.name, (found,))


def _table(settings: Settings) -> Observation | None:
    access = Access(settings.dataverse, settings.token_cache_path)
    try:
        fault = _drift(access.ask(inspect_table))
    except (DataverseError, ConfigError):
        return None
    findings = (TABLE_DRIFTED.finding(fault),) if fault else ()
    return Observation(TABLE_DRIFTED.name, findings)


def _drift(table: FoundTable | None) -> str:
    if table is None:
        return f"The table {TABLE} does not exist."
    found = columns(table)
    return "" if found.state is CheckState.OK else found.measured


def _credential(
    settings: Settings, environment: Mapping[str, str], today: date
) -> Observation | None:
    """Observe the credential that ends first."""
    ends = []
    for user in settings.dataverse.users:
        try:
            end = credential_end(
                user, environment, settings.token_cache_path, seconds=_SECONDS
            )
        except ConfigError as error:
            return _end_unknown(error)
        if settings.dataverse.others:
            end = replace(end, source=f"{end.source}, application {user.client_id}")
        ends.append(end)
    return observe_end(min(ends, key=lambda each: each.on or date.max), today)


def _end_unknown(error: ConfigError) -> Observation:
    found = CREDENTIAL_ENDS.finding(
        str(error),
        cause_key="unknown",
        remedy="Follow the message. Until then nobody is warned before the end.",
    )
    title = "The end of the application's secret or certificate cannot be read"
    return Observation(CREDENTIAL_ENDS.name, (replace(found, title=title),))


def observe_end(end: CredentialEnd, today: date) -> Observation | None:
    """Observe whether a credential expires soon; None if its end is unknown."""
    days = end.days_left(today)
    if end.on is None or days is None:
        return None
    stages = [stage for stage in CREDENTIAL_WARNED_DAYS if days <= stage]
    if not stages:
        return Observation(CREDENTIAL_ENDS.name)
    when = f"in {days} days" if days > 1 else f"in {days} day" if days == 1 else "today"
    cause = f"It expires on {end.on.isoformat()}, {when}."
    if days < 0:
        cause = f"It expired on {end.on.isoformat()}."
    found = CREDENTIAL_ENDS.finding(
        cause,
        cause_key=str(min(stages) if days >= 0 else "over"),
        severity=Severity.WARNING if days > 1 else Severity.ERROR,
        facts=(("Known from", end.source),),
    )
    return Observation(CREDENTIAL_ENDS.name, (found,))
