"""Record exceptions in runs and ticks without secrets.

Dagster captures every exception that leaves user code, with its traceback and causes, and
stores it as events of the run. All of them are made by one class method.
"""

import traceback

from dagster_shared.error import SerializableErrorInfo

from apex_pipeline.texts.redaction import redact

_made = SerializableErrorInfo.from_traceback.__func__  # type: ignore[attr-defined]  # a class method has it


def redact_recorded_errors() -> None:
    """From now on, in this process; a second call changes nothing."""
    SerializableErrorInfo.from_traceback = classmethod(_redacted)  # type: ignore[method-assign, assignment]  # replaced on purpose


def _redacted(
    cls: type[SerializableErrorInfo], error: traceback.TracebackException
) -> SerializableErrorInfo:
    # It calls itself by the class for causes, and so this for each of them.
    found = _made(cls, error)
    return SerializableErrorInfo(
        message=redact(found.message),
        stack=[redact(frame) for frame in found.stack],
        cls_name=found.cls_name,
        cause=found.cause,
        context=found.context,
    )
