"""State of the whole process: what one test sets of it, the next one must not find.

Commands and definitions set some of it for good, as they may in a process of their own.
In the tests' process they would change what comes later: our hook for exceptions of
threads takes the place of pytest's, which fails the test.
"""

import csv
import logging
import logging.config
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from apex_pipeline.texts.redaction import OURS

_SIGNALS = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD),
    *(signal.SIGPIPE, signal.SIGUSR1, signal.SIGUSR2),
)
_HOOKS: tuple[tuple[Any, str], ...] = (
    (sys, "excepthook"),
    (sys, "unraisablehook"),
    (threading, "excepthook"),
    (logging.config, "dictConfigClass"),
)
# Where a module is not loaded, nothing of it can have been set.
_LATER_HOOKS = (
    ("apex_pipeline.log_lines", "JsonLines", "run_id"),
    ("dagster_shared.error", "SerializableErrorInfo", "from_traceback"),
    ("dagster._loggers", None, "colored_console_logger"),
)
_NOTHING = object()
_LOGGERS = ("", "apex_pipeline", "dagster", "py.warnings")


@contextmanager
def unchanged_process() -> Iterator[None]:
    """Put back what the block changes, and forget the secrets that it read."""
    undo = [*_of_the_system(), *_of_logging(), *_of_libraries()]
    try:
        yield
    finally:
        for each in undo:
            each()
        OURS.forget()


def _of_the_system() -> Iterator[Callable[[], object]]:
    yield partial(_restore_variables, dict(os.environ))
    yield partial(os.chdir, Path.cwd())
    mask = os.umask(0o077)
    os.umask(mask)
    yield partial(os.umask, mask)
    for number in _SIGNALS:
        # None if it was not set by Python, which cannot put it back then.
        if (handler := signal.getsignal(number)) is not None:
            yield partial(_restore_handler, number, handler)


def _restore_variables(before: dict[str, str]) -> None:
    if before == os.environ:
        return
    zone = os.environ.get("TZ")
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)
    if zone != before.get("TZ"):
        time.tzset()


def _restore_handler(number: signal.Signals, handler: Any) -> None:
    if signal.getsignal(number) is not handler:
        signal.signal(number, handler)


def _of_logging() -> Iterator[Callable[[], object]]:
    yield partial(logging.setLogRecordFactory, logging.getLogRecordFactory())
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        yield partial(_restore_logger, logger, logger.level, [*logger.handlers])
        for handler in logger.handlers:
            yield partial(handler.setFormatter, handler.formatter)
    if logging.lastResort is not None:
        yield partial(logging.lastResort.setFormatter, logging.lastResort.formatter)


def _restore_logger(
    logger: logging.Logger, level: int, handlers: list[logging.Handler]
) -> None:
    if logger.level != level:
        logger.setLevel(level)
    logger.handlers[:] = handlers


def _of_libraries() -> Iterator[Callable[[], object]]:
    yield partial(csv.field_size_limit, csv.field_size_limit())
    for owner, name in _HOOKS:
        yield partial(setattr, owner, name, getattr(owner, name))
    for module, kind, name in _LATER_HOOKS:
        if (loaded := sys.modules.get(module)) is not None:
            owner = loaded if kind is None else getattr(loaded, kind)
            yield partial(_restore_own, owner, name, vars(owner).get(name, _NOTHING))
    if "psycopg2.extensions" in sys.modules:
        from psycopg2 import extensions  # noqa: PLC0415  few tests load it

        yield partial(extensions.set_wait_callback, extensions.get_wait_callback())


def _restore_own(owner: Any, name: str, before: object) -> None:
    """Also where the class has inherited it until then."""
    if before is not _NOTHING:
        setattr(owner, name, before)
    elif name in vars(owner):
        delattr(owner, name)
