"""Make the form that Dagster's launchpad shows from the options of a command.

`flags_and_launchpad_forms/` declares the options, `sync_form.py` there those of the sync.
"""

from typing import Any

import dagster as dg

from apex_pipeline.flags_and_launchpad_forms.declaring import Form, options_of


def form_schema(form: type[Form]) -> dict[str, dg.Field]:
    """The configuration of an op or asset; `form(**context.op_config)` reads it."""
    schema = {}
    for name, (each, how) in options_of(form).items():
        default: Any = each.default
        # Dagster knows lists, and no tuples.
        is_many = isinstance(default, tuple)
        schema[name] = dg.Field(
            [str] if is_many else each.type,
            default_value=list(default) if is_many else default,
            description=how.form_text(default),
        )
    return schema
