"""`apex alerts`."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import click

from apex_pipeline.audit.authors import process_author
from apex_pipeline.cli.command_line import AS_JSON, takes
from apex_pipeline.cli.output import plain, waiting
from apex_pipeline.cli.terminal import say
from apex_pipeline.errors import ConfigError
from apex_pipeline.flags_and_launchpad_forms.alert_forms import (
    ListAlertsForm,
    SilenceForm,
)
from apex_pipeline.monitoring.alerts.audit_relay import relay
from apex_pipeline.monitoring.alerts.channels import (
    NO_CHANNEL,
    configured_channels,
    send_test_notice,
)
from apex_pipeline.monitoring.alerts.incidents import Incident
from apex_pipeline.monitoring.alerts.journal import NO_JOURNAL, VARIABLE, Journal
from apex_pipeline.monitoring.alerts.outbox import Backlog
from apex_pipeline.monitoring.rules.silences import check_scope, read_end
from apex_pipeline.settings import (
    dagster_environment,
    load_journal_name,
    read_variable,
    resolve_local,
)
from apex_pipeline.texts.durations import words


@click.group()
def alerts() -> None:
    """List open incidents, silence them for a while, and test the channels."""


@alerts.command("list")
@AS_JSON
@takes(ListAlertsForm)
def list_alerts(*, as_json: bool, form: ListAlertsForm) -> None:
    """List open incidents, silences and undelivered notices.

    Exits 0 even if incidents are open. In scripts use `apex status --check`.
    """
    names = [way.name for way in configured_channels(os.environ)]
    with _journal() as journal:
        incidents = journal.incidents(resolved_within=timedelta(days=form.days))
        silences = [
            {"incident": silence.scope, "until": silence.until, "reason": reason}
            for silence, reason in journal.silences.in_force()
        ]
        backlogs = journal.outbox.backlogs(names)
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
        say("No open incidents.")
    for silence in silences:
        end = f"{silence['until']:%Y-%m-%d %H:%M} UTC"
        say(f"silenced until {end}: {silence['incident']}  {silence['reason']}")
    for line in map(_backlog, backlogs):
        say(line)
    if not names:
        say(NO_CHANNEL)


@alerts.command("silence")
@takes(SilenceForm)
@AS_JSON
def silence_alert(*, form: SilenceForm, as_json: bool) -> None:
    """Send no notices about INCIDENT until the end that you give.

    Pass INCIDENT as notices and `apex alerts list` show it, or only the part before the
    slash to silence every incident of that kind. If it is still open when the silence
    ends, its notice is sent then. A new silence replaces an earlier one for the same
    INCIDENT.
    """
    incident, end = (
        form.incident,
        read_end(form.until, form.duration, datetime.now(UTC)),
    )
    with _journal() as journal:
        check_scope(incident, [each.fingerprint for each in journal.incidents()])
        journal.silences.put(incident, end, form.reason, process_author(os.environ))
        late = relay(journal, os.environ)
    if as_json:
        say(
            json.dumps(
                {"incident": incident, "until": end}, default=plain, allow_nan=False
            )
        )
    else:
        say(f"Silenced {incident} until {end:%Y-%m-%d %H:%M} UTC.")
    if late is not None:
        say(f"note: its event in the audit trail follows later: {late}", err=True)


@alerts.command("test")
@AS_JSON
def test_alert(*, as_json: bool) -> None:
    """Send a test message through each alert channel.

    Exit 0: every channel accepted it; 1: at least one failed; 2: no channel is
    configured.
    """
    configured = configured_channels(os.environ)
    if not configured:
        raise ConfigError(NO_CHANNEL)
    with waiting("Sending …"):
        outcomes = send_test_notice(configured, datetime.now(UTC))
    if as_json:
        say(
            json.dumps({each.channel: each.error for each in outcomes}, allow_nan=False)
        )
    else:
        for each in outcomes:
            say(f"{each.channel}: {each.error or 'accepted the message'}")
    sys.exit(1 if any(each.error for each in outcomes) else 0)


@contextmanager
def _journal() -> Iterator[Journal]:
    url = read_variable(dict(os.environ) | dagster_environment(os.environ), VARIABLE)
    if not url:
        # If a stopped `apex up` is the cause, this raises the error that says so.
        resolve_local(os.environ)
        raise ConfigError(NO_JOURNAL)
    with Journal(url, load_journal_name(os.environ)) as opened:
        yield opened


def _lines(incident: Incident) -> Iterator[str]:
    end = incident.resolved_at or datetime.now(UTC)
    lasted = words(max(end - incident.opened_at, timedelta()))
    state = "resolved, lasted" if incident.resolved_at else "open for"
    if incident.is_open and incident.well_since:
        state = f"fine since {incident.well_since:%H:%M} UTC, but it keeps coming back; open for"
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
    given_up = f", {backlog.given_up} expired" if backlog.given_up else ""
    return (
        f"{backlog.channel}: {backlog.waiting} notices undelivered{given_up}: "
        f"{backlog.error or 'being sent'}"
    )
