"""Jobs that do in the Dagster UI what `apex alerts` does in a terminal."""

import os
from datetime import UTC, datetime, timedelta

import dagster as dg

from apex_pipeline.defs.form_schema import form_schema
from apex_pipeline.defs.job_tags import OPERATOR_TAGS
from apex_pipeline.defs.quarantine.quarantine_asset import table
from apex_pipeline.defs.run_failures import failures
from apex_pipeline.defs.services import author_of
from apex_pipeline.flags_and_launchpad_forms.alert_forms import (
    ListAlertsForm,
    SilenceForm,
)
from apex_pipeline.monitoring.alerts.audit_relay import relay
from apex_pipeline.monitoring.alerts.channels import (
    NO_CHANNEL,
    configured_channels,
    open_alerts,
    send_test_notice,
)
from apex_pipeline.monitoring.alerts.incidents import Incident
from apex_pipeline.monitoring.rules.silences import check_scope, read_end


@dg.op(config_schema=form_schema(SilenceForm))
def set_silence(context: dg.OpExecutionContext) -> None:
    """Store the silence."""
    with failures(), open_alerts(os.environ) as alerts:
        form = SilenceForm(**context.op_config)
        until = read_end(form.until, form.duration, datetime.now(UTC))
        open_now = [each.fingerprint for each in alerts.journal.incidents()]
        check_scope(form.incident, open_now)
        author = author_of(context.run)
        alerts.journal.silences.put(form.incident, until, form.reason, author)
        late = relay(alerts.journal, os.environ)
    if late is not None:
        context.log.warning("its event in the audit trail follows later: %s", late)
    context.log.info("silenced %s until %s", form.incident, until)
    context.add_output_metadata({"incident": form.incident, "until": str(until)})


@dg.op(config_schema=form_schema(ListAlertsForm))
def read_alerts(context: dg.OpExecutionContext) -> None:
    """List open incidents, silences and undelivered notices."""
    with failures(), open_alerts(os.environ) as alerts:
        form = ListAlertsForm(**context.op_config)
        journal, days = alerts.journal, timedelta(days=form.days)
        incidents = journal.incidents(resolved_within=days)
        silences = journal.silences.in_force()
        backlogs = journal.outbox.backlogs(alerts.names)
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
        | {"channels": ", ".join(alerts.names) or NO_CHANNEL}
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
    """Send a test message through each channel; fail if one does not accept it."""
    with failures():
        outcomes = send_test_notice(configured_channels(os.environ), datetime.now(UTC))
    if not outcomes:
        raise dg.Failure(NO_CHANNEL, allow_retries=False)
    context.add_output_metadata(
        {each.channel: each.error or "accepted the message" for each in outcomes}
    )
    failed = [f"{each.channel}: {each.error}" for each in outcomes if each.error]
    if failed:
        raise dg.Failure("\n".join(failed), allow_retries=False)


@dg.job(
    executor_def=dg.in_process_executor,
    description="Lists open incidents, silences and undelivered notices, like `apex alerts "
    "list`. Run it to see what is still open after many notices.",
    tags=OPERATOR_TAGS,
)
def list_alerts() -> None:
    read_alerts()


@dg.job(
    executor_def=dg.in_process_executor,
    description="Silences an incident, or a kind of incident, for a while, like `apex "
    "alerts silence`. Run it before planned work, or while you wait for a fix.",
    tags=OPERATOR_TAGS,
)
def silence_alert() -> None:
    set_silence()


@dg.job(
    executor_def=dg.in_process_executor,
    description="Sends a test message through each alert channel, like `apex alerts test`. "
    "Run it after you set up or change a channel.",
    tags=OPERATOR_TAGS,
)
def send_test_alert() -> None:
    send_test()
