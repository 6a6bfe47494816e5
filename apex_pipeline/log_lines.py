"""How a process writes its log: lines for people, or one JSON object a line.

`APEX_LOG_FORMAT=json` is for a collector of logs. Each object has `time`, `level`,
`logger`, `message`, `tenant`, `run_id` and `request_id`; what is unknown is null.

In both, no text can forge a line: a record of text is one line, and the
lines of its traceback are indented.
"""

import copy
import json
import logging
import logging.config
import sys
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, ClassVar, TextIO

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings import load_tenant, read_variable
from apex_pipeline.texts.printable_text import printable
from apex_pipeline.texts.redaction import redact

FORMAT_VARIABLE = "APEX_LOG_FORMAT"

REQUEST_ID: ContextVar[str | None] = ContextVar("REQUEST_ID", default=None)
"""The HTTP request that this task answers."""

_KINDS = ("text", "json")
_INDENT = "    "


class JsonLines(logging.Formatter):
    """One JSON object for each record.

    Attributes:
        run_id: The Dagster run that this process executes; a process executes one.
    """

    run_id: ClassVar[str | None] = None

    def __init__(self, tenant: str) -> None:
        """Name the tenant of this process; empty for none."""
        super().__init__()
        self._tenant = tenant or None

    def format(self, record: logging.LogRecord) -> str:
        """Return the object, without line breaks."""
        # Dagster's records carry the run that they are about.
        of_dagster = getattr(record, "dagster_meta", None) or {}
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "tenant": self._tenant,
            "run_id": of_dagster.get("run_id") or self.run_id,
            "request_id": REQUEST_ID.get(),
        }
        if record.exc_text or record.exc_info:
            trace = record.exc_text or self.formatException(record.exc_info)  # type: ignore[arg-type]  # not False here
            line["exception"] = redact(trace)
        return json.dumps(line, allow_nan=False)


class Unwritten(logging.StreamHandler[TextIO]):
    """Writes to stderr what no handler of a logger below the root has written.

    `logging.warning()` gives a root logger without handlers one of its own. In a program
    whose loggers have theirs, it would write a line of another form, and from then on each
    other line twice.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record unless its own logger, or one between it and the root, does."""
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger and logger.parent:
            if any(not isinstance(h, logging.NullHandler) for h in logger.handlers):
                return
            logger = logger.parent
        super().emit(record)


class TextLines(logging.Formatter):
    """One line for each record, with its traceback indented below."""

    def __init__(self, layout: logging.Formatter) -> None:
        """Let another formatter lay out the line, colours included."""
        super().__init__()
        self._layout = layout

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and those of the traceback."""
        message, trace = _parted(record)
        if record.exc_text or record.exc_info:
            trace += record.exc_text or self.formatException(record.exc_info)  # type: ignore[arg-type]  # not False here
        if record.stack_info:
            trace += f"\n{record.stack_info}"
        shown = copy.copy(record)
        shown.name = _on_one_line(record.name)
        shown.msg, shown.args = _on_one_line(message), None
        shown.exc_info = shown.exc_text = shown.stack_info = None
        below = printable(trace).strip("\n").split("\n") if trace else []
        lines = [self._layout.format(shown), *(f"{_INDENT}{each}" for each in below)]
        return "\n".join(lines)


def _parted(record: logging.LogRecord) -> tuple[str, str]:
    """A record's message, and the traceback that Dagster appends to a failure's."""
    message = record.getMessage()
    of_dagster = getattr(record, "dagster_meta", None) or {}
    said = of_dagster.get("orig_message")
    if said and of_dagster.get("dagster_event") is not None:
        head, found, trace = message.partition(f"{said}\n")
        if found:
            return head + said, trace
    return message, ""


def _on_one_line(text: str) -> str:
    return printable(text).replace("\n", "\\n")


def is_json(environment: Mapping[str, str]) -> bool:
    """Whether logs are JSON.

    Raises:
        ConfigError: The variable has another value.
    """
    chosen = read_variable(environment, FORMAT_VARIABLE) or "text"
    if chosen not in _KINDS:
        raise ConfigError(f"{FORMAT_VARIABLE} must be one of {', '.join(_KINDS)}.")
    return chosen == "json"


def install(
    environment: Mapping[str, str], *, level: int | None = logging.WARNING
) -> None:
    """Write this process's log as configured, from now on.

    Args:
        environment: Format and tenant.
        level: For loggers that have none; None in a program that adds handlers of its
            own, which would write each line twice.

    Raises:
        ConfigError: A variable is malformed.
    """
    tenant = load_tenant(environment).name
    as_json = is_json(environment)

    def lines(layout: logging.Formatter | None) -> logging.Formatter:
        if as_json:
            return JsonLines(tenant)
        return TextLines(layout or logging.Formatter())

    whose = f"[{tenant}] " if tenant else ""
    layout = f"%(levelname)s {whose}%(message)s"
    if level is None:
        # The root logger's level stays, and with it that of Dagster's loggers.
        unwritten = Unwritten()
        unwritten.setLevel(logging.WARNING)
        logging.basicConfig(format=layout, handlers=[unwritten])
    else:
        logging.basicConfig(format=layout, level=level)
    for handler in _handlers():
        if not isinstance(handler.formatter, (JsonLines, TextLines)):
            handler.setFormatter(lines(handler.formatter))

    class Configurator(logging.config.DictConfigurator):
        """Gives our lines to programs that configure their log later, like Dagster."""

        def configure_formatter(self, config: Any) -> logging.Formatter:
            layout = super().configure_formatter(config)
            return lines(layout if isinstance(layout, logging.Formatter) else None)

    logging.config.dictConfigClass = Configurator
    if as_json:
        logging.captureWarnings(capture=True)
    sys.excepthook = _log_exception
    threading.excepthook = _log_exception_of_thread


def started_line(environment: Mapping[str, str], child: str, tenant: str) -> str:
    """The first line of the log of a process that has just been started.

    Args:
        environment: The format.
        child: The process.
        tenant: Whose it is; empty if of none.
    """
    now = datetime.now(UTC)
    if not is_json(environment):
        return f"--- started {now:%Y-%m-%d %H:%M:%S}Z\n"
    made = {"name": __name__, "levelname": "INFO", "created": now.timestamp()}
    record = logging.makeLogRecord({**made, "msg": "started %s", "args": (child,)})
    return f"{JsonLines(tenant).format(record)}\n"


def _handlers() -> list[logging.Handler]:
    """All handlers that exist, and the one of last resort."""
    loggers = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    found = [h for each in loggers for h in getattr(each, "handlers", [])]
    return [*found, *([logging.lastResort] if logging.lastResort else [])]


def _log_exception(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    logging.getLogger(__name__).critical(
        "the process ends with an error", exc_info=(kind, error, trace)
    )


def _log_exception_of_thread(given: threading.ExceptHookArgs) -> None:
    if given.exc_value is not None:
        logging.getLogger(__name__).error(
            "a thread ended with an error",
            exc_info=(given.exc_type, given.exc_value, given.exc_traceback),
        )
