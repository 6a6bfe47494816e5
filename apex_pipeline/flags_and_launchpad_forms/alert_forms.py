"""The options of `apex alerts …`, and of the jobs that do the same in Dagster's UI."""

from dataclasses import dataclass

from apex_pipeline.flags_and_launchpad_forms.declaring import Form, number, text


@dataclass(frozen=True)
class ListAlertsForm(Form):
    """What to list besides open incidents."""

    days: int = number("Include incidents resolved in the last days", least=0, most=90)


@dataclass(frozen=True)
class SilenceForm(Form):
    """Which incidents to silence and until when; set `until` or `duration`."""

    incident: str = text(
        "The Incident named in the notice, such as run-failed/JOB. Enter only the part "
        "before the slash to silence every incident of that kind",
        flag="INCIDENT",
    )
    until: str = text("End of the silence: 2026-12-24T18:00 (UTC) or …+01:00")
    duration: str = text("Length instead of an end: 90min, 4h, 2d or 1w", flag="--for")
    reason: str = text("Why; shown with the silence")
