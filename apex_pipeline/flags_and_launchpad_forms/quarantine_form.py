"""The options of `apex quarantine …` and of the job `release_quarantine`."""

from dataclasses import dataclass

from apex_pipeline.errors import ConfigError
from apex_pipeline.flags_and_launchpad_forms.declaring import (
    Form,
    number,
    option,
    switch,
    text,
)
from apex_pipeline.quarantine.decisions import QuarantineSelection

ACTIONS = ("list", "show", "release", "drop")


@dataclass(frozen=True)
class QuarantineForm(Form):
    """What to do, and with which rows; by default the quarantine is listed."""

    action: str = option(
        "list: show the rows and why each was refused. show: show each row of `ids` "
        "with its values and what is wrong with them. release: deliver rows with the "
        "next sync. drop: never send them; needs `reason`",
        default="list",
        flag=None,
    )
    ids: tuple[str, ...] = option(
        "Which rows: these ids, dropped ones included …", default=(), flag="IDS"
    )
    code: str = text(
        "Only rows refused with this code",
        in_form="… or all rows refused with this code …",
    )
    matching: str = text(
        "Only rows whose message contains TEXT",
        in_form="… and/or whose message contains this text, in any case …",
    )
    all_rows: bool = switch("All rows", flag="--all", in_form="… or all rows")
    dropped: bool = switch(
        "Dropped rows instead of quarantined ones",
        in_form="With code, matching or all_rows: dropped rows instead of waiting ones",
    )
    by_cause: bool = switch("Group by cause", in_form="With list: group by cause")
    # The event log stores the whole list; the terminal has a limit of its own.
    limit: int = option(
        "With list: maximum lines to show", default=200, flag=None, least=1, most=1000
    )
    offset: int = number(
        "Lines to skip", in_form="With list: lines to skip", least=0, most=2**31 - 1
    )
    reason: str = text(
        "Why they are never sent; stored with the rows",
        in_form="With drop: why; stored with the rows",
        needed=True,
    )
    decided_by: str = text(
        "Who decided it",
        unset="your user name on this machine",
        flag="--by",
        in_form="With drop: who decided it; empty for this run",
    )

    def selection(self) -> QuarantineSelection:
        """Return the selected rows; `list` without a selection means all.

        Raises:
            ConfigError: The selection is incomplete or the action unknown.
        """
        if self.action not in ACTIONS:
            raise ConfigError(f"`action` must be {', '.join(ACTIONS)}.")
        if self.action == "show" and not self.ids:
            raise ConfigError("show needs the `ids` of the rows.")
        named = self.ids or self.code or self.matching
        return QuarantineSelection(
            ids=tuple(self.ids),
            code=self.code or None,
            matching=self.matching or None,
            everything=self.all_rows or (self.action == "list" and not named),
            dropped=self.dropped,
        )
