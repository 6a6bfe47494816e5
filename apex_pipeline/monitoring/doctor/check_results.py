"""What a check is, and what comes of it: plain values."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a line of the checklist stands."""

    OK = "ok"
    WARNING = "warning"
    """Works, but a person should know; does not fail the doctor."""
    FAILED = "failed"
    NOT_CHECKED = "not checked"
    """What it depends on failed; that line is the one to mend."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe saw.

    Attributes:
        measured: What was seen, in words.
        remedy: What to do about it; empty where the check's own remedy fits.
    """

    state: State
    measured: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the checklist, before it is looked at.

    Attributes:
        name: Unique among the checks.
        target: What should be seen.
        remedy: What to do where it is not, unless the finding knows better.
        probe: Looks. What it raises as `ApexError` is a failed line; so is anything
            else, which is a fault of ours and named as such.
        needs: Names of earlier checks without which this one says nothing.
        after: Names of earlier checks whose probes leave something for this one's,
            however they end.
    """

    name: str
    target: str
    remedy: str
    probe: Callable[[], Finding]
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the checklist, looked at; `remedy` is empty where all is well."""

    name: str
    state: State
    measured: str
    target: str
    remedy: str
    seconds: float


def ok(measured: str) -> Finding:
    """All is well."""
    return Finding(State.OK, measured)


def warning(measured: str, remedy: str = "") -> Finding:
    """A person should know."""
    return Finding(State.WARNING, measured, remedy)


def not_checked(line: str) -> Finding:
    """It says nothing because of another line, which failed."""
    return Finding(State.NOT_CHECKED, f"because of: {line}")


def failed(measured: str, remedy: str = "") -> Finding:
    """It has to be mended."""
    return Finding(State.FAILED, measured, remedy)
