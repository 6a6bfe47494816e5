"""`apex alerts`."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import click

from apex_pipeline.cli.output import plain, waiting
from apex_pipeline.cli.terminal import say
from apex_pipeline.durations import words
from apex_pipeline.errors import ConfigError
from apex_pipeline.monitoring.alerts.alert_center import NO_CHANNEL, ways
from apex_pipeline.monitoring.alerts.channels import send_test_notice
from apex_pipeline.monitoring.alerts.incidents import Incident
from apex_pipeline.monitoring.alerts.journal import NO_JOURNAL, VARIABLE, Journal
from apex_pipeline.monitoring.alerts.outbox import Backlog
from apex_pipeline.monitoring.rules.silences import check_scope, read_end
from apex_pipeline.settings import (
    dagster_environment,
    load_code_location,
    read_variable,
    resolve_local,
)

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group()
def alerts() -> None:
    """See what is wrong, silence it for a while, try the channels."""


@alerts.command("list")
@_JSON
@click.option(
    "--days",
    type=click.IntRange(0, 90),
    default=0,
    help="Also those that were resolved within so many days.",
)
def list_alerts(*, as_json: bool, days: int) -> None:
    """Show the open incidents, the silences, and what does not get through.

    Exit 0, whether or not something is open; `apex status --check` is for scripts.
    """
    names = [way.name for way in ways(os.environ)]
    with _journal() as journal:
        incidents = journal.incidents(resolved_within=timedelta(days=days))
        silences = [
            {"incident": silence.scope, "until": silence.until, "reason": reason}
            for silence, reason in journal.silences()
        ]
        backlogs = journal.backlogs(names)
    if as_json:
        document = {
            "incidents": [_document(each) for each in incidents],
            "silences": silences,
            "channels": names,
            "undelivered": {each.channel: each.waiting for each in backlogs},
        }
        say(json.dumps(document, default=plain, allow_nan=False))
        return
    for incident in incidents:
        say("\n".join(_lines(incident)))
    if not incidents:
        say("Nothing is wrong.")
    for silence in silences:
        end = f"{silence['until']:%Y-%m-%d %H:%M} UTC"
        say(f"silenced until {end}: {silence['incident']}  {silence['reason']}")
    for line in map(_backlog, backlogs):
        say(line)
    if not names:
        say(NO_CHANNEL)


@alerts.command("silence")
@click.argument("incident")
@click.option("--until", help="End, such as 2026-12-24T18:00 (UTC) or …+01:00.")
@click.option("--for", "duration", help="In place of the end: 90min, 4h, 2d or 1w.")
@click.option("--reason", default="", help="For whoever comes across it.")
@_JSON
def silence_alert(
    *,
    incident: str,
    until: str | None,
    duration: str | None,
    reason: str,
    as_json: bool,
) -> None:
    """Tell nobody of INCIDENT before an end, which has to be given.

    INCIDENT as notices and `apex alerts list` name it, or the part before the slash for
    all of a kind. What is still wrong at the end is told then. A second silence of the
    same takes the place of the first.
    """
    end = read_end(until, duration, datetime.now(UTC))
    with _journal() as journal:
        check_scope(incident, [each.fingerprint for each in journal.incidents()])
        journal.silence(incident, end, reason)
    if as_json:
        say(
            json.dumps(
                {"incident": incident, "until": end}, default=plain, allow_nan=False
            )
        )
    else:
        say(f"Nobody is told of {incident} before {end:%Y-%m-%d %H:%M} UTC.")


@alerts.command("test")
@_JSON
def test_alert(*, as_json: bool) -> None:
    """Send a test message through each channel.

    Exit 1: a channel did not take it; 2: none is configured.
    """
    found = ways(os.environ)
    if not found:
        raise ConfigError(NO_CHANNEL)
    with waiting("Sending …"):
        outcomes = send_test_notice(found, datetime.now(UTC))
    if as_json:
        say(
            json.dumps({each.channel: each.error for each in outcomes}, allow_nan=False)
        )
    else:
        for each in outcomes:
            say(f"{each.channel}: {each.error or 'took the message'}")
    sys.exit(1 if any(each.error for each in outcomes) else 0)


@contextmanager
def _journal() -> Iterator[Journal]:
    url = read_variable(dict(os.environ) | dagster_environment(os.environ), VARIABLE)
    if not url:
        # A stopped `apex up` is the cause, where it serves the two ends as well.
        resolve_local(os.environ)
        raise ConfigError(NO_JOURNAL)
    with Journal(url, load_code_location(os.environ)) as opened:
        yield opened


def _lines(incident: Incident) -> Iterator[str]:
    end = incident.resolved_at or datetime.now(UTC)
    lasted = words(max(end - incident.opened_at, timedelta()))
    state = "resolved, lasted" if incident.resolved_at else "open for"
    if incident.is_open and incident.well_since:
        state = f"well since {incident.well_since:%H:%M} UTC, but it comes and goes; open for"
    yield f"{incident.severity.value}: {incident.title} ({state} {lasted})"
    yield f"  incident  {incident.fingerprint}"
    if incident.cause:
        yield f"  cause     {' '.join(incident.cause.split())}"
    if not incident.resolved_at:
        yield f"  remedy    {incident.remedy}"
    if incident.link:
        yield f"  page      {incident.link}"


def _document(incident: Incident) -> dict[str, object]:
    names = (
        *("fingerprint", "severity", "title", "cause", "remedy", "link", "count"),
        *("opened_at", "resolved_at", "told_at"),
    )
    return {name: getattr(incident, name) for name in names} | {
        "facts": dict(incident.facts)
    }


def _backlog(backlog: Backlog) -> str:
    given_up = f", {backlog.given_up} given up" if backlog.given_up else ""
    return (
        f"{backlog.channel}: {backlog.waiting} notices not delivered{given_up}: "
        f"{backlog.error or 'on their way'}"
    )
