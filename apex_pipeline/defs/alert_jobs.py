"""Silences and test messages, for those who live in the UI."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import dagster as dg
from pydantic import Field

from apex_pipeline.alerts.channels import send_test_notice
from apex_pipeline.alerts.station import NO_CHANNEL, open_station, ways
from apex_pipeline.errors import ApexError
from apex_pipeline.watch.silencing import check_scope, read_end


class SilenceConfig(dg.Config):
    """Of what nobody is to be told, and for how long."""

    incident: str = Field(
        description="As notices name it under Incident, such as run-failed/JOB; or the "
        "part before the slash for all of a kind."
    )
    until: str | None = Field(
        default=None, description="End of the silence, such as 2026-12-24T18:00 (UTC)."
    )
    duration: str | None = Field(
        default=None, description="In place of the end: 90min, 4h, 2d or 1w."
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
    description="Tell nobody of an incident, or of a kind of incident, for a while.",
)
def silence_alert() -> None:
    """Tell nobody of an incident, or of a kind of incident, for a while."""
    set_silence()


@dg.job(
    executor_def=dg.in_process_executor,
    description="Send a test message through each alert channel.",
)
def send_test_alert() -> None:
    """Send a test message through each alert channel."""
    send_test()
