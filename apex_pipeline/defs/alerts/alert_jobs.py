"""What `apex alerts` does, for those who live in the UI."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import dagster as dg
from pydantic import Field

from apex_pipeline.defs.job_tags import OPERATOR_TAGS
from apex_pipeline.defs.quarantine.quarantine_asset import table
from apex_pipeline.errors import ApexError, ConfigError
from apex_pipeline.monitoring.alerts.alert_center import NO_CHANNEL, open_station, ways
from apex_pipeline.monitoring.alerts.channels import send_test_notice
from apex_pipeline.monitoring.alerts.incidents import Incident
from apex_pipeline.monitoring.rules.silences import check_scope, read_end


class SilenceConfig(dg.Config):
    """Of what nobody is to be told, and for how long; the end has to be given."""

    incident: str = Field(
        default="",
        description="As notices name it under Incident, such as run-failed/JOB; or the "
        "part before the slash for all of a kind.",
    )
    until: str = Field(
        default="", description="End of the silence, such as 2026-12-24T18:00 (UTC)."
    )
    duration: str = Field(
        default="", description="In place of the end: 90min, 4h, 2d or 1w."
    )
    reason: str = Field(default="", description="For whoever comes across it.")


@contextmanager
def _failures() -> Iterator[None]:
    """Have a fault fail the run with its message alone."""
    try:
        yield
    except ApexError as error:
        raise dg.Failure(str(error), allow_retries=False) from error


@dg.op
def set_silence(context: dg.OpExecutionContext, config: SilenceConfig) -> None:
    """Keep the silence."""
    with _failures(), open_station(os.environ) as station:
        until = read_end(config.until, config.duration, datetime.now(UTC))
        open_now = [each.fingerprint for each in station.journal.incidents()]
        check_scope(config.incident, open_now)
        station.journal.silence(config.incident, until, config.reason)
    context.log.info("nobody is told of %s before %s", config.incident, until)
    context.add_output_metadata({"incident": config.incident, "until": str(until)})


class ListConfig(dg.Config):
    """What is to be listed besides what is open."""

    days: int = Field(
        default=0,
        description="Also what was resolved within so many days, 0 to 90.",
    )


@dg.op
def read_alerts(context: dg.OpExecutionContext, config: ListConfig) -> None:
    """Show open incidents, silences, and what does not get through."""
    with _failures(), open_station(os.environ) as station:
        if not 0 <= config.days <= 90:
            raise ConfigError("days must be 0 to 90.")
        journal, days = station.journal, timedelta(days=config.days)
        incidents = journal.incidents(resolved_within=days)
        silences = journal.silences()
        backlogs = journal.backlogs(station.names)
    tables: dict[str, list[dict[str, str | int]]] = {
        "incidents": [_of_incident(each) for each in incidents],
        "silences": [
            {"incident": s.scope, "until": _time(s.until), "reason": reason}
            for s, reason in silences
        ],
        "not_delivered": [
            {"channel": b.channel, "notices": b.waiting, "error": b.error or ""}
            for b in backlogs
        ],
    }
    context.add_output_metadata(
        {"open": sum(each.is_open for each in incidents)}
        | {"channels": ", ".join(station.names) or NO_CHANNEL}
        | {name: table(records) for name, records in tables.items() if records}
    )


def _of_incident(incident: Incident) -> dict[str, str | int]:
    return {
        "incident": incident.fingerprint,
        "severity": incident.severity.value,
        "title": incident.title,
        "opened": _time(incident.opened_at),
        "resolved": _time(incident.resolved_at),
        "times": incident.count,
        "cause": incident.cause,
        "remedy": incident.remedy,
    }


def _time(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"


@dg.op
def send_test(context: dg.OpExecutionContext) -> None:
    """Send a message through each channel, and fail if one does not take it."""
    with _failures():
        outcomes = send_test_notice(ways(os.environ), datetime.now(UTC))
    if not outcomes:
        raise dg.Failure(NO_CHANNEL, allow_retries=False)
    context.add_output_metadata(
        {each.channel: each.error or "took the message" for each in outcomes}
    )
    failed = [f"{each.channel}: {each.error}" for each in outcomes if each.error]
    if failed:
        raise dg.Failure("\n".join(failed), allow_retries=False)


@dg.job(
    executor_def=dg.in_process_executor,
    description="Shows open incidents, silences and undelivered notices, as `apex alerts "
    "list`. When you come back to a channel full of messages.",
    tags=OPERATOR_TAGS,
)
def list_alerts() -> None:
    """Show what is wrong, what is silenced, and what does not get through."""
    read_alerts()


@dg.job(
    executor_def=dg.in_process_executor,
    description="Silences an incident, or all of a kind, for a while, as `apex alerts "
    "silence`. Before planned work, or while a known fault waits for its fix.",
    tags=OPERATOR_TAGS,
)
def silence_alert() -> None:
    """Tell nobody of an incident, or of a kind of incident, for a while."""
    set_silence()


@dg.job(
    executor_def=dg.in_process_executor,
    description="Sends a test message through each alert channel, as `apex alerts test`. "
    "After you set up or changed a channel.",
    tags=OPERATOR_TAGS,
)
def send_test_alert() -> None:
    """Send a test message through each alert channel."""
    send_test()
