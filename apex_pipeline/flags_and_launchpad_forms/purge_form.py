"""The options of the job `purge_event_log`."""

from dataclasses import dataclass

from apex_pipeline.flags_and_launchpad_forms.declaring import Form, option


@dataclass(frozen=True)
class PurgeForm(Form):
    """How long to keep runs."""

    keep_days: int = option(
        "Delete runs created more days ago than this", default=30, least=1, most=36_500
    )
