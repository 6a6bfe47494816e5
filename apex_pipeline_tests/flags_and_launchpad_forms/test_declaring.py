"""One declaration of an option, at the terminal and in the launchpad."""

from dataclasses import dataclass

import click
import pytest
from click.testing import CliRunner

from apex_pipeline.cli.command_line import takes
from apex_pipeline.defs.form_schema import form_schema
from apex_pipeline.errors import ConfigError
from apex_pipeline.flags_and_launchpad_forms.declaring import (
    Form,
    number,
    option,
    switch,
    text,
)
from apex_pipeline.flags_and_launchpad_forms.export_form import ExportForm
from apex_pipeline.flags_and_launchpad_forms.quarantine_form import QuarantineForm
from apex_pipeline.flags_and_launchpad_forms.reconcile_form import ReconcileForm
from apex_pipeline.flags_and_launchpad_forms.sync_form import SyncForm


@dataclass(frozen=True)
class Sample(Form):
    """Options of every kind."""

    limit: int = number("Most rows", unset="all", least=1, most=9)
    seconds: float = option("Stop after so long", default=5.0, least=0, most=60)
    dry: bool = switch("Write nothing")
    names: bool = option("Show names", default=True, at_terminal=False)
    name: str = text("Only this name", flag="--called")
    since: str = text("From this instant", kind="instant")
    day: str = text("Only this day", kind="date")
    inner: str = text("Not at a terminal", flag=None)
    ids: tuple[str, ...] = option("Which rows", default=(), flag="IDS")


@click.command()
@takes(Sample, inner="fixed")
def sample(*, form: Sample) -> None:
    """Print what was given."""
    click.echo(repr(form.given()))


def told(*arguments):
    return CliRunner().invoke(sample, arguments)


def test_what_is_not_given_has_the_default_of_the_form():
    assert told().output == "{'names': False, 'inner': 'fixed'}\n"
    assert Sample().given() == {}


def test_flags_and_arguments_become_the_fields_of_the_form():
    given = told(
        *("--limit", "3", "--dry", "--called", "x", "--day", "2026-11-25", "a")
    )
    assert (
        given.output
        == repr(
            {"limit": 3, "dry": True, "names": False, "name": "x", "day": "2026-11-25"}
            | {"inner": "fixed", "ids": ("a",)}
        )
        + "\n"
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--limit", "0"], "0 is not in the range"),
        (["--seconds", "0"], "0.0 is not in the range"),
        (["--seconds", "nan"], "nan is not a number of seconds"),
        (["--called", ""], "it must not be empty"),
        (["--since", ""], "it must not be empty"),
        (["--since", "noon"], "'noon' is not a valid instant"),
        (["--day", "noon"], "does not match the format"),
        (["--inner", "x"], "No such option"),
    ],
)
def test_a_wrong_value_is_refused_at_the_terminal(arguments, reason):
    answer = told(*arguments)
    assert (answer.exit_code, reason in answer.stderr) == (2, True), answer.stderr


def test_help_names_the_defaults():
    shown = " ".join(told("--help").output.split())
    assert "Most rows. [default: all] [1<=x<=9]" in shown
    assert "Stop after so long. [default: 5]" in shown


def test_the_launchpad_has_each_field_with_its_range_and_default():
    schema = form_schema(Sample)
    assert {name: field.default_value for name, field in schema.items()} == {
        "limit": 0,
        "seconds": 5.0,
        "dry": False,
        "names": True,
        "name": "",
        "since": "",
        "day": "",
        "inner": "",
        "ids": [],
    }
    assert schema["limit"].description == "Most rows (1 to 9); 0 for all."
    assert schema["seconds"].description == "Stop after so long (above 0, at most 60)."


@pytest.mark.parametrize(
    ("form", "values", "reason"),
    [
        (Sample, {"limit": 10}, "`limit` must be 0 to 9."),
        (Sample, {"limit": -1}, "`limit` must be 0 to 9."),
        (Sample, {"seconds": 0.0}, "`seconds` must be above 0, at most 60."),
        (Sample, {"seconds": float("nan")}, "`seconds` must be above 0, at most 60."),
        (SyncForm, {"page_size": 0}, "`page_size` must be 1 to 10000."),
        (SyncForm, {"rows_per_request": 1001}, "`rows_per_request` must be 0 to 1000."),
        (SyncForm, {"limit": -1}, "`limit` must be 0 or more."),
        (ReconcileForm, {"requests": 0}, "`requests` must be 1 to 1000000."),
        (QuarantineForm, {"limit": 1001}, "`limit` must be 1 to 1000."),
        (ExportForm, {"days": 3661}, "`days` must be 0 to 3660."),
    ],
)
def test_a_number_out_of_range_is_refused_in_the_launchpad(form, values, reason):
    with pytest.raises(ConfigError) as caught:
        form(**values)
    assert str(caught.value) == reason


def test_all_numbers_out_of_range_are_named_at_once():
    with pytest.raises(ConfigError) as caught:
        Sample(limit=10, seconds=61.0)
    assert str(caught.value).count("must be") == 2


def test_zero_and_empty_mean_not_set():
    options = SyncForm(limit=0, rows_per_request=0, since="").options()
    assert (options.stream.limit, options.stream.rows_per_request) == (None, None)
    assert options.part is None
