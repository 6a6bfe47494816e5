"""Checks of the doctor and their results, as plain values."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class CheckState(StrEnum):
    """Result of a check."""

    OK = "ok"
    WARNING = "warning"
    """Works, but you should know; does not fail the doctor."""
    FAILED = "failed"
    NOT_CHECKED = "not checked"
    """A check that it depends on failed, or there is nothing to check yet."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a probe found.

    Attributes:
        measured: The measurement, in words.
        remedy: What to do; empty to use the check's own remedy.
    """

    state: CheckState
    measured: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the checklist, before it is measured.

    Attributes:
        name: Unique among the checks.
        target: The expected measurement.
        remedy: What to do if it differs, unless the finding has a better remedy.
        probe: Takes the measurement. An `ApexError` fails the line with its message;
            any other exception fails it as a bug in the check.
        needs: Earlier checks that must not fail; otherwise this one is not checked.
        after: Earlier checks that must have finished, whatever their result, because
            this probe uses what they read.
    """

    name: str
    target: str
    remedy: str
    probe: Callable[[], Measurement]
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckLine:
    """One measured line of the checklist; `remedy` is empty if it is ok."""

    name: str
    state: CheckState
    measured: str
    target: str
    remedy: str
    seconds: float


def ok(measured: str) -> Measurement:
    """A finding that needs no action."""
    return Measurement(CheckState.OK, measured)


def warning(measured: str, remedy: str = "") -> Measurement:
    """A finding that you should know about, but that does not fail the doctor."""
    return Measurement(CheckState.WARNING, measured, remedy)


def not_checked(line: str) -> Measurement:
    """A finding for a check that depends on `line`, which failed."""
    return Measurement(CheckState.NOT_CHECKED, f"because of: {line}")


def failed(measured: str, remedy: str = "") -> Measurement:
    """A finding that needs a fix."""
    return Measurement(CheckState.FAILED, measured, remedy)
