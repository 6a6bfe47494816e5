"""The options of `apex audit …`, and of the jobs that do the same in Dagster's UI."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TypedDict

from apex_pipeline.audit.events import Action
from apex_pipeline.errors import ConfigError
from apex_pipeline.flags_and_launchpad_forms.declaring import (
    Form,
    number,
    option,
    read_day,
    text,
)

_KINDS = tuple(each.value for each in Action)


class Filters(TypedDict):
    """Arguments of `trail.newest`, besides the limit."""

    before: int | None
    action: Action | None
    actor: str | None
    since: str | None
    until: str | None


@dataclass(frozen=True)
class AuditVerifyForm(Form):
    """What the trail must agree with, besides itself."""

    anchors: tuple[str, ...] = option(
        "An anchor from a report, a notice or an evidence pack; can be repeated",
        in_form="Anchors that were noted elsewhere, SEQUENCE:HASH each, from reports, "
        "notices or evidence packs. The trail must agree with them",
        default=(),
        flag="--anchor",
        metavar="SEQUENCE:HASH",
    )


@dataclass(frozen=True)
class AuditExportForm(Form):
    """Which days an evidence pack covers."""

    first: str = text("First day, UTC", flag="--from", kind="date", needed=True)
    last: str = text("Last day, inclusive", flag="--to", kind="date", needed=True)

    def days(self) -> tuple[date, date]:
        """The first and the last day.

        Raises:
            ConfigError: One is missing or no date, or the last is before the first.
        """
        first, last = read_day("first", self.first), read_day("last", self.last)
        if first is None or last is None:
            raise ConfigError("Set `first` and `last`, the days to export.")
        if first > last:
            raise ConfigError("`first` must not be after `last`.")
        return first, last


@dataclass(frozen=True)
class AuditListForm(Form):
    """Which events to list."""

    sequence: int = number("Only the event of this number", flag=None, least=1)
    action: str = text(
        "Only events of this kind, such as drop or sync",
        in_form=f"Only events of this kind: {', '.join(_KINDS)}",
        metavar="ACTION",
        choices=_KINDS,
    )
    actor: str = text("Only events of this actor", metavar="NAME")
    first: str = text(
        "First day, UTC",
        in_form="First day, UTC, such as 2026-11-25",
        flag="--from",
        kind="date",
    )
    last: str = text("Last day, inclusive", flag="--to", kind="date")
    before: int = number(
        "Only events before this one",
        in_form="Only events before this number",
        metavar="SEQUENCE",
        least=1,
    )
    # The event log stores the whole list; the terminal has a limit of its own.
    limit: int = option(
        "Maximum events to show", default=50, flag=None, least=1, most=1000
    )

    def filters(self) -> Filters:
        """Convert the fields for `trail.newest`.

        Raises:
            ConfigError: There is no such action or day.
        """
        if self.action not in {"", *_KINDS}:
            raise ConfigError(f"`action` must be one of {', '.join(_KINDS)}.")
        first, last = read_day("first", self.first), read_day("last", self.last)
        # No day follows the last one that there is.
        end = None if last in {None, date.max} else last + timedelta(days=1)
        return {
            "before": self.before or None,
            "action": Action(self.action) if self.action else None,
            "actor": self.actor or None,
            "since": None if first is None else f"{first}T00:00:00Z",
            "until": None if end is None else f"{end}T00:00:00Z",
        }
