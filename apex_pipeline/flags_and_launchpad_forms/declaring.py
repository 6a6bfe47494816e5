"""How an option is declared: a field of a form, with what its type does not say.

`cli.command_line` makes the options of a command from a form, and `defs.form_schema` makes
the form that Dagster's launchpad shows. Messages name a field in backticks, for which
the terminal puts its flag. The launchpad hides fields that are null, so 0,
an empty text or an empty list means "not set".
"""

import dataclasses
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal, TypeVar

from apex_pipeline.errors import ConfigError

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Option:
    """How an option is spelled, explained and checked.

    Attributes:
        does: What it does, without a full stop.
        unset: What happens without it, where its default does not say so.
        in_form: What the launchpad says instead.
        flag: How the terminal spells it, if not as the field. An argument has its name in
            capitals. None: only the launchpad has it.
        metavar: What stands for the value in the terminal's help.
        least: Smallest value that can be set; a float must be above it.
        most: Largest value.
        choices: The texts that the terminal accepts.
        kind: Of a text: a date, an instant; a file that must exist, or need not.
        at_terminal: The terminal's default, where it differs.
        needed: The terminal does without a default.
    """

    does: str
    unset: str = ""
    in_form: str = ""
    flag: str | None = ""
    metavar: str | None = None
    least: int | None = None
    most: int | None = None
    choices: tuple[str, ...] = ()
    kind: Literal["", "date", "instant", "file", "existing file"] = ""
    at_terminal: object = None
    needed: bool = False

    def terminal_text(self, default: object) -> str:
        """What `--help` says; click adds the range."""
        is_number = isinstance(default, int | float) and not isinstance(default, bool)
        unset = self.unset or (f"{default:g}" if is_number and default else "")
        return f"{_sentence(self.does)}{f'  [default: {unset}]' if unset else ''}"

    def form_text(self, default: object) -> str:
        """What the launchpad says of the field."""
        if self.in_form:
            return _sentence(self.in_form)
        limits = ""
        if self.most is not None:
            is_float = isinstance(default, float)
            limits = f"above {self.least}, at most" if is_float else f"{self.least} to"
            limits = f" ({limits} {self.most})"
        zero = 0 if default == 0 else "empty"
        unset = f"; {zero} for {self.unset}" if self.unset else ""
        return _sentence(f"{self.does}{limits}{unset}")


def _sentence(text: str) -> str:
    return text if text.endswith("…") else f"{text}."


def option(does: str, *, default: _Value, **how: Any) -> _Value:
    """Declare a field of a form; `how` is what `Option` has besides what it does."""
    return field(default=default, metadata={"option": Option(does, **how)})


def switch(does: str, **how: Any) -> bool:
    """Declare an option that is off by default."""
    return option(does, default=False, **how)


def number(does: str, **how: Any) -> int:
    """Declare a whole number that is not set by default."""
    return option(does, default=0, **how)


def text(does: str, **how: Any) -> str:
    """Declare a text that is not set by default."""
    return option(does, default="", **how)


@dataclass(frozen=True)
class Form:
    """The values of a command's options.

    Raises:
        ConfigError: Numbers are out of range; names each.
    """

    def __post_init__(self) -> None:
        pairs = ((each, getattr(self, each.name)) for each in dataclasses.fields(self))
        problems = [_problem(each, value) for each, value in pairs]
        if any(problems):
            raise ConfigError(*filter(None, problems))

    def given(self) -> dict[str, object]:
        """The values that differ from their defaults, as a run's configuration."""
        return {
            each.name: getattr(self, each.name)
            for each in dataclasses.fields(self)
            if getattr(self, each.name) != each.default
        }


def options_of(form: type[Form]) -> dict[str, tuple["dataclasses.Field[Any]", Option]]:
    """The fields of a form by name, each with its option."""
    return {
        each.name: (each, each.metadata["option"]) for each in dataclasses.fields(form)
    }


def read_day(name: str, text: str) -> date | None:
    """Read a day from a field of a form; None if it is not set.

    Raises:
        ConfigError: It is no date.
    """
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise ConfigError(f"`{name}` must be a date like 2026-11-25.") from None


def _problem(each: "dataclasses.Field[Any]", value: float) -> str | None:
    how: Option = each.metadata["option"]
    if how.least is None:
        return None
    if each.type is float:
        is_kept = how.least < value <= (how.most or value)
        return (
            None if is_kept else f"`{each.name}` must be above 0, at most {how.most}."
        )
    least = how.least if each.default else 0
    if least <= value <= (value if how.most is None else how.most):
        return None
    limit = "or more" if how.most is None else f"to {how.most}"
    return f"`{each.name}` must be {least} {limit}."
