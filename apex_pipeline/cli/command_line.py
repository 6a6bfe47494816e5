"""Make the options of a command from a form."""

import dataclasses
import math
from collections.abc import Callable
from datetime import datetime
from functools import partial, wraps
from typing import Any, TypeVar

import click

from apex_pipeline.errors import ConfigError
from apex_pipeline.flags_and_launchpad_forms.declaring import Form, Option, options_of
from apex_pipeline.postgres.resent_rows import parse_instant

_Command = TypeVar("_Command", bound=Callable[..., Any])

_TIMES = {"date", "instant"}

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")

YES = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


def takes(form: type[Form], *names: str, **fixed: object) -> Callable[[_Command], Any]:
    """Give a command the options of a form, or those named; it gets them as `form`.

    `fixed` sets fields that the command has no option for.
    """
    known = options_of(form)
    taken = names or tuple(n for n, (_, how) in known.items() if how.flag is not None)

    flags = {
        f"`{name}`": _flag(*known[name]).removeprefix("-o/").split("/")[0]
        for name in taken
    }

    def _in_flags(problem: str) -> str:
        """A problem of a field, with the flag in place of the field."""
        for field, flag in flags.items():
            problem = problem.replace(field, flag)
        return problem

    def decorate(command: _Command) -> Any:
        @wraps(command)
        def call(*arguments: object, **values: object) -> object:
            own = {name: values.pop(name) for name in taken}
            given: dict[str, Any] = fixed | {
                name: value for name, value in own.items() if value is not None
            }
            try:
                return command(*arguments, form=form(**given), **values)
            except ConfigError as error:
                raise ConfigError(
                    *(_in_flags(each) for each in error.problems)
                ) from error

        for name in reversed(taken):
            _parameter(*known[name])(call)
        return call

    return decorate


def _flag(each: "dataclasses.Field[Any]", how: Option) -> str:
    return how.flag or f"--{each.name.replace('_', '-')}"


def _parameter(
    each: "dataclasses.Field[Any]", how: Option
) -> Callable[[_Command], _Command]:
    flag = _flag(each, how)
    many = isinstance(each.default, tuple)
    if not flag.startswith("-"):
        shown, count = (None, -1) if many else (flag, 1)
        return click.argument(
            each.name, metavar=shown, type=_type(each, how), nargs=count
        )
    text = how.terminal_text(each.default)
    if each.type is bool:
        is_on = each.default if how.at_terminal is None else how.at_terminal
        return click.option(
            *(flag, each.name),
            default=is_on,
            is_flag=True,
            show_default=is_on,
            help=text,
        )
    return click.option(
        *(*flag.split("/"), each.name),
        type=_type(each, how),
        metavar=how.metavar or (how.kind.upper() if how.kind in _TIMES else None),
        required=how.needed,
        multiple=many,
        callback=partial(_checked, how),
        help=text,
    )


def _type(each: "dataclasses.Field[Any]", how: Option) -> click.ParamType[Any]:
    if how.choices:
        return click.Choice(how.choices)
    if how.kind == "date":
        return click.DateTime(["%Y-%m-%d"])
    if how.kind in {"file", "existing file"}:
        exists = how.kind == "existing file"
        return click.Path(exists=exists, dir_okay=False, allow_dash=exists)
    if each.type is float:
        return click.FloatRange(how.least, how.most, min_open=True)
    if each.type is int:
        return click.INT if how.least is None else click.IntRange(how.least, how.most)
    return click.STRING


def _checked(how: Option, _: click.Context, by: click.Parameter, value: Any) -> Any:
    """Refuse what the type lets through; return a date as text."""
    if isinstance(value, float) and math.isnan(value):
        raise click.BadParameter(
            "nan is not a number of seconds", param_hint=by.opts[0][2:]
        )
    if isinstance(value, datetime):
        return value.date().isoformat()
    if value == "":
        # A form takes it for "not set"; here it is a script's empty variable.
        raise click.BadParameter("it must not be empty")
    if value is not None and how.kind == "instant":
        try:
            parse_instant("it", value)
        except ConfigError as error:
            text = f"{value!r} is not a valid instant: {error}"
            raise click.BadParameter(text) from None
    return value
