"""The options of `apex provision` and its jobs."""

from dataclasses import dataclass

from apex_pipeline.flags_and_launchpad_forms.declaring import Form, switch


@dataclass(frozen=True)
class ProvisionForm(Form):
    """Options of `apex provision`."""

    plan_only: bool = switch("Show what would change; change nothing", flag="--plan")
