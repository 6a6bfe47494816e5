"""What a test may do to the process of all tests: nothing that stays."""

import csv
import logging
import logging.config
import os
import signal
import sys
import threading
from collections.abc import Callable

import pytest
from dagster import _loggers as of_dagster
from dagster_shared.error import SerializableErrorInfo
from psycopg2 import extensions

from apex_pipeline import log_lines
from apex_pipeline.defs.redacted_errors import redact_recorded_errors
from apex_pipeline.defs.run_logs import write_runs
from apex_pipeline.defs.storage_timeouts import bound_storage
from apex_pipeline.texts import redaction
from apex_pipeline_tests.support.process_state import unchanged_process


def look() -> dict[str, object]:
    """All that the cases below change."""
    mask = os.umask(0)
    os.umask(mask)
    return {
        "variables": dict(os.environ),
        "folder": os.getcwd(),  # noqa: PTH109  its text
        "mask": mask,
        "handlers": [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)],
        "levels": [logging.getLogger(name).level for name in ("", "apex_pipeline")],
        "log": [(each, each.formatter) for each in logging.getLogger().handlers],
        "records": logging.getLogRecordFactory(),
        "formatters": logging.config.dictConfigClass,
        "hooks": (sys.excepthook, threading.excepthook),
        "errors": vars(SerializableErrorInfo).get("from_traceback"),
        "runs": of_dagster.colored_console_logger,
        "patience": extensions.get_wait_callback(),
        "longest cell": csv.field_size_limit(),
        "secrets": len(redaction.OURS),
    }


def ignore_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


CHANGES: dict[str, Callable[[], object]] = {
    "a variable is set": lambda: os.environ.update(APEX_TEST_LEAK="1"),
    "a variable is removed": lambda: os.environ.pop("PATH"),
    "a variable is another": lambda: os.environ.update(PATH="/nowhere"),
    "another folder": lambda: os.chdir("/"),
    "a mask": lambda: os.umask(0o123),
    "a signal": ignore_sigterm,
    "a level": lambda: logging.getLogger("apex_pipeline").setLevel(1),
    "a handler": lambda: logging.getLogger().addHandler(logging.NullHandler()),
    "a log as JSON": lambda: log_lines.install({"APEX_LOG_FORMAT": "json"}, level=None),
    "hidden secrets": redaction.install,
    "a secret": lambda: redaction.OURS.remember("a-secret-value"),
    "hidden errors": redact_recorded_errors,
    "runs as JSON": lambda: write_runs(as_json=True),
    "a wait callback": bound_storage,
    "a longest cell": lambda: csv.field_size_limit(7),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_a_test_sets_of_the_process_is_undone(change):
    before = look()
    with unchanged_process():
        change()
        assert look() != before
    assert look() == before
