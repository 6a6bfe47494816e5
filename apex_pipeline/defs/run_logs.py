"""What a run writes to the log of its process, besides its events in Dagster."""

import logging
import os
import sys

import dagster as dg
from dagster import _loggers as of_dagster

from apex_pipeline.log_lines import JsonLines, TextLines
from apex_pipeline.settings import load_tenant

_COLOURED = of_dagster.colored_console_logger
_OPTIONS = {
    "name": dg.Field(str, is_required=False, default_value="dagster"),
    "log_level": dg.Field(str, is_required=False, default_value="INFO"),
}


def write_runs(*, as_json: bool) -> None:
    """From now on, in this process, also where a run configures its logger."""
    of_dagster.colored_console_logger = json_console if as_json else text_console


@dg.logger(_OPTIONS, description="One line for each record, tracebacks indented.")
def text_console(context: dg.InitLoggerContext) -> logging.Logger:
    """Write as Dagster does, except that no name and no message makes a line."""
    logger = _COLOURED.logger_fn(context)
    for handler in logger.handlers:
        handler.setFormatter(TextLines(handler.formatter or logging.Formatter()))
    return logger


@dg.logger(_OPTIONS, description="One JSON object a line.")
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
