"""Run checks in parallel, each as soon as the checks it depends on have passed."""

import logging
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

from apex_pipeline.errors import ApexError
from apex_pipeline.monitoring.answer_time import answer_by
from apex_pipeline.monitoring.doctor.check_results import (
    Check,
    CheckLine,
    CheckState,
    Measurement,
    failed,
    not_checked,
)

PATIENCE_SECONDS = 8.0
"""Timeout for all checks together; a probe that hangs fails only its own line."""

# Loading Dagster takes half of it.
_LEAST_SECONDS = 7.0
_TEST_SECONDS = 40.0
_REPORT = "Report this bug with this line; the check itself has no result."

logger = logging.getLogger(__name__)


def patience(began: float | None = None, *, send_test: bool) -> float:
    """Timeout in seconds for all checks, longer if they send test messages.

    Args:
        began: When the process began to load, by the monotonic clock; by default now.
        send_test: Whether they do.
    """
    if send_test:
        return _TEST_SECONDS
    return answer_by(began, least=_LEAST_SECONDS) - time.monotonic()


def examine(
    checks: Sequence[Check], *, seconds: float = PATIENCE_SECONDS
) -> list[CheckLine]:
    """Run all checks in parallel and return one line for each, in their order.

    Args:
        checks: The checks, each after those it depends on.
        seconds: Timeout for all of them together.
    """
    began = time.monotonic()
    lines: dict[str, Future[CheckLine]] = {check.name: Future() for check in checks}
    for check in checks:
        needed = [lines[name] for name in check.needs]
        before = [lines[name] for name in check.after]
        # A daemon thread: a probe that hangs must not block the exit.
        threading.Thread(
            target=_settle, args=(check, needed, before, lines[check.name]), daemon=True
        ).start()
    settled: dict[str, CheckLine] = {}
    for check in checks:
        left = max(began + seconds - time.monotonic(), 0.0)
        try:
            settled[check.name] = lines[check.name].result(timeout=left)
        except TimeoutError:
            settled[check.name] = _given_up(check, settled, seconds)
    return list(settled.values())


def _settle(
    check: Check,
    needed: Sequence[Future[CheckLine]],
    before: Sequence[Future[CheckLine]],
    outcome: Future[CheckLine],
) -> None:
    """Wait for the dependencies, run the check, and put its line into `outcome`."""
    lines = [each.result() for each in (*needed, *before)]
    outcome.set_result(_blocked(check, lines[: len(needed)]) or _look(check))


def _look(check: Check) -> CheckLine:
    began = time.monotonic()
    try:
        finding = check.probe()
    except ApexError as error:
        finding = Measurement(CheckState.FAILED, str(error))
    except Exception as slip:
        logger.debug("the check %s failed because of a bug", check.name, exc_info=True)
        finding = failed(_slip(slip), _REPORT)
    return _line(check, finding, time.monotonic() - began)


def _slip(slip: Exception) -> str:
    """Name the exception and its place; its message may quote data or a secret."""
    place = traceback.extract_tb(slip.__traceback__)[-1]
    return (
        f"a bug in apex_pipeline: {type(slip).__name__} in {Path(place.filename).name}"
        f":{place.lineno}"
    )


def _line(check: Check, finding: Measurement, seconds: float) -> CheckLine:
    needs_no_remedy = finding.state in {CheckState.OK, CheckState.NOT_CHECKED}
    remedy = finding.remedy or ("" if needs_no_remedy else check.remedy)
    return CheckLine(
        check.name, finding.state, finding.measured, check.target, remedy, seconds
    )


def _blocked(check: Check, needed: Sequence[CheckLine]) -> CheckLine | None:
    """The line of a check with a failed dependency; None if it can run."""
    for line in needed:
        if line.state is CheckState.FAILED:
            return _line(check, not_checked(line.name), 0.0)
        if line.state is CheckState.NOT_CHECKED:
            return _line(check, Measurement(CheckState.NOT_CHECKED, line.measured), 0.0)
    return None


def _given_up(
    check: Check, settled: Mapping[str, CheckLine], seconds: float
) -> CheckLine:
    needed = [settled[name] for name in check.needs]
    no_answer = Measurement(CheckState.FAILED, f"no answer within {seconds:.2g} s")
    return _blocked(check, needed) or _line(check, no_answer, seconds)
