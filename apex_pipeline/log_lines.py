"""How a process writes its log: lines for people, or one JSON object a line.

`APEX_LOG_FORMAT=json` is for a collector of logs. Each object has `time`, `level`,
`logger`, `message`, `tenant`, `run_id` and `request_id`; what is unknown is null.
"""

import json
import logging
import logging.config
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, ClassVar

from apex_pipeline.errors import ConfigError
from apex_pipeline.redaction import redact
from apex_pipeline.settings import load_tenant, read_variable

FORMAT_VARIABLE = "APEX_LOG_FORMAT"

REQUEST_ID: ContextVar[str | None] = ContextVar("REQUEST_ID", default=None)
"""The HTTP request that this task answers."""

_KINDS = ("text", "json")


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
    if not is_json(environment):
        whose = f"[{tenant}] " if tenant else ""
        if level is not None:
            text = f"%(levelname)s {whose}%(message)s"
            logging.basicConfig(format=text, level=level)
        return
    lines = JsonLines(tenant)
    if level is not None:
        logging.basicConfig(level=level)
    for handler in _handlers():
        handler.setFormatter(lines)

    class Configurator(logging.config.DictConfigurator):
        """Gives our lines to programs that configure their log later, like Dagster."""

        def configure_formatter(self, config: Any) -> logging.Formatter:  # noqa: ARG002  logging's
            return lines

    logging.config.dictConfigClass = Configurator
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_exception


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
