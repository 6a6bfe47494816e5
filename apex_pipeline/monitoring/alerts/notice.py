"""What is told of an incident, and what carries it to people."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from apex_pipeline.errors import ApexError


class NoticeKind(StrEnum):
    """Why a notice is sent."""

    OPENED = "opened"
    REMINDED = "reminded"
    RESOLVED = "resolved"
    TEST = "test"
    ANCHOR = "anchor"


class Severity(StrEnum):
    """How soon a person has to look."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One message about one incident. Never holds a row's data or a secret.

    Attributes:
        key: Identifies the notice: the same key is the same message, sent again.
        title: What is wrong, or well again, in one line.
        cause: The message of the fault itself; may be empty.
        remedy: What to do, in a sentence or two; empty where nothing has to be done.
        facts: Names and values to show beside it, in their order.
        link: Page in the Dagster UI, where one is known.
        at: When it came to be known (aware, UTC).
    """

    key: str
    kind: NoticeKind
    severity: Severity
    title: str
    cause: str
    remedy: str
    facts: tuple[tuple[str, str], ...]
    link: str | None
    at: datetime


class DeliveryError(ApexError):
    """A channel could not be given a notice; it has to be tried again.

    Attributes:
        retry_after: Seconds that the other end asks to wait, where it does.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        """Keep the wait that was asked for."""
        super().__init__(message)
        self.retry_after = retry_after


class Channel(Protocol):
    """A way to people."""

    @property
    def name(self) -> str:
        """Short and constant, such as `teams`; deliveries are kept under it."""
        ...

    def send(self, notice: Notice) -> None:
        """Hand a notice over, in bounded time.

        Raises:
            DeliveryError: It was not taken, or nobody knows whether it was.
        """
        ...
