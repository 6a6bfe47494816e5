"""What a run writes to the log of its process, besides its events in Dagster."""

import logging
import os
import sys

import dagster as dg
from dagster import _loggers as of_dagster

from apex_pipeline.log_lines import JsonLines
from apex_pipeline.settings import load_tenant


def write_runs_as_json() -> None:
    """From now on, in this process; a run that configures its loggers keeps them."""
    of_dagster.colored_console_logger = json_console


@dg.logger(
    {
        "name": dg.Field(str, is_required=False, default_value="dagster"),
        "log_level": dg.Field(str, is_required=False, default_value="INFO"),
    },
    description="One JSON object a line.",
)
def json_console(context: dg.InitLoggerContext) -> logging.Logger:
    """Write to standard error as the rest of the process does."""
    JsonLines.run_id = context.run_id
    logger = logging.getLogger("dagster.run")
    logger.setLevel(context.logger_config["log_level"])
    # Not through Dagster's own handlers too.
    logger.propagate = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(load_tenant(os.environ).name))
    logger.handlers = [handler]
    return logger
