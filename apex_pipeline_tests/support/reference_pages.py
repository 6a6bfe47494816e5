"""The reference pages of the documentation, generated from the code.

`python -m apex_pipeline_tests.support.reference_pages` writes them; a test holds the committed
pages to what this returns.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import click
import dagster as dg

from apex_pipeline.cli import main
from apex_pipeline.column_types import Text, Timestamp
from apex_pipeline.definitions import defs
from apex_pipeline.metrics import COLUMNS, PRIMARY_KEY, TABLE
from apex_pipeline.panel.openapi import openapi
from apex_pipeline.panel.record_endpoint import RECORDING_OPENAPI
from apex_pipeline.provisioning.table_definition import column_definition
from apex_pipeline.recording.fields import OPTIONAL, Field, make_field
from apex_pipeline.settings import VARIABLES

_Named = TypeVar("_Named", dg.JobDefinition, dg.ScheduleDefinition, dg.SensorDefinition)

_ROOT = Path(__file__).parents[2]
FOLDER = _ROOT / "docs" / "reference"

_ENGLISH = 1033


def pages() -> dict[str, str]:
    """Every generated page: file name to Markdown."""
    return {
        "columns.md": _page("Columns", _columns()),
        "variables.md": _page("Variables", _variables()),
        "commands.md": _page("Commands", _commands()),
        "dagster.md": _page("Dagster objects", _dagster()),
        "api.md": _page("API", _api()),
    }


def _page(title: str, lines: Iterable[str]) -> str:
    return "\n".join([f"# {title}", "", *lines]).rstrip() + "\n"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        cells = (" ".join(cell.split()).replace("|", "\\|") for cell in row)
        yield f"| {' | '.join(cells)} |"
    yield ""


def _columns() -> Iterator[str]:
    yield (
        f"The {len(COLUMNS)} columns that travel from `campaign_metrics` in Postgres to "
        f"`{TABLE}` in\nDataverse. [Record runs](../recording.md) says how to write them.\n"
    )
    types = _postgres_types()
    yield from _table(
        ("Postgres", "In JSON", "What it is", "Postgres type", "Dataverse", "Its type"),
        (
            (
                f"`{column.postgres}`",
                f"`{column.agents}`",
                column.description,
                f"`{types[column.postgres]}`",
                f"`{column.dataverse}`",
                _dataverse_type(column_definition(column, _ENGLISH)),
            )
            for column in COLUMNS
        ),
    )
    yield (
        "The Postgres types are those that provisioning creates; an existing table keeps "
        "its own. A row\nwith a null, or with a value that the Dataverse column cannot "
        "hold, goes into quarantine. In\nDataverse every column is required.\n"
    )
    yield (
        f"`id`, a UUID, is the key of the row and of its record (`{PRIMARY_KEY}`).\n"
        "`exported_at` is null while the row is pending; it does not travel.\n"
    )
    yield "## What the writer accepts\n"
    yield from _table(
        ("Field", "Values", "May be absent"),
        (
            (
                f"`{column.agents}`",
                _accepted(make_field(column, types[column.postgres])),
                "yes" if column.postgres in OPTIONAL else "",
            )
            for column in COLUMNS
        ),
    )


def _postgres_types() -> dict[str, str]:
    """The type of each column of the table, as the first migration creates it."""
    text = (_ROOT / "sql" / "0001_campaign_metrics.sql").read_text()
    created = text.partition("CREATE TABLE campaign_metrics (")[2].partition(");")[0]
    return dict(re.findall(r"^ +(\w+) +(\w+(?:\([\d,]+\))?)", created, re.MULTILINE))


def _dataverse_type(definition: Mapping[str, Any]) -> str:
    match definition["AttributeType"]:
        case "String":
            return f"String, at most {definition['MaxLength']} UTF-16 units"
        case "DateTime":
            behavior = definition["DateTimeBehavior"]["Value"]
            return f"DateTime ({behavior}), sent as UTC in whole seconds"
        case kind:
            span = f"{definition['MinValue']} to {definition['MaxValue']}"
            places = definition.get("Precision")
            return f"{kind}, {f'{places} places, ' if places else ''}{span}"


def _accepted(field: Field) -> str:
    match field.type:
        case Text() if field.is_uuid:
            return "a UUID"
        case Text(length):
            return f"text of 1 to {length} characters, not blank"
        case Timestamp(earliest):
            return f"an instant with its zone, from {earliest:%Y-%m-%d} on"
        case number:
            return f"{number.label}, {number.minimum} to {number.maximum}"


def _variables() -> Iterator[str]:
    for part, found in groupby(VARIABLES, lambda each: each.part):
        yield f"## {part}\n"
        yield from _table(
            ("Variable", "Meaning", "Default"),
            (
                (
                    f"`{each.name}`" + (" (secret)" if each.is_secret else ""),
                    each.meaning,
                    each.default,
                )
                for each in found
            ),
        )


def _commands() -> Iterator[str]:
    context = click.Context(main, info_name="apex")
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        if command is not None:
            yield from _command(command, f"apex {name}", context)


def _command(command: click.Command, path: str, parent: click.Context) -> Iterator[str]:
    context = click.Context(command, info_name=path.rpartition(" ")[2], parent=parent)
    yield f"## {path}\n"
    yield f"```\n{path} {' '.join(command.collect_usage_pieces(context))}\n```\n"
    yield from (_paragraphs(command.help or ""), "")
    options = [
        record
        for parameter in command.get_params(context)
        if isinstance(parameter, click.Option)
        and (record := parameter.get_help_record(context)) is not None
        and "--help" not in parameter.opts
    ]
    if options:
        yield from _table(
            ("Option", "Meaning"), ((f"`{name}`", words) for name, words in options)
        )
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None:
                yield from _command(inner, f"{path} {name}", context)


def _paragraphs(text: str) -> str:
    """Click's text as Markdown; what it keeps line by line becomes a block of code."""
    parts: list[str] = []
    for part in text.strip().split("\n\n"):
        if part.startswith("\b"):
            lines = part.removeprefix("\b").strip("\n")
            parts.append(f"```text\n{lines}\n```")
        else:
            parts.append(" ".join(part.split()))
    return "\n\n".join(parts)


def _dagster() -> Iterator[str]:
    repository = defs().get_repository_def()
    graph = repository.asset_graph
    keys = sorted(graph.materializable_asset_keys, key=str)
    yield "## Assets\n"
    yield from _table(
        ("Asset", "Group", "What it is"),
        (
            (
                f"`{key.to_user_string()}`",
                graph.get(key).group_name or "",
                graph.get(key).description or "",
            )
            for key in keys
        ),
    )
    yield "## Checks\n"
    checks = sorted(
        graph.asset_check_keys, key=lambda each: (each.name, each.asset_key)
    )
    yield from _table(
        ("Check", "Asset", "What it compares"),
        (
            (
                f"`{each.name}`",
                f"`{each.asset_key.to_user_string()}`",
                graph.get_check_spec(each).description or "",
            )
            for each in checks
        ),
    )
    yield "## Jobs\n"
    jobs = [job for job in repository.get_all_jobs() if not job.name.startswith("__")]
    yield from _table(
        ("Job", "What it does"),
        ((f"`{job.name}`", job.description or "") for job in _by_name(jobs)),
    )
    yield "## Schedules\n"
    yield from _table(
        ("Schedule", "When", "What it starts"),
        (
            (f"`{each.name}`", f"`{each.cron_schedule}`", each.description or "")
            for each in _by_name(repository.schedule_defs)
        ),
    )
    yield "## Sensors\n"
    yield from _table(
        ("Sensor", "Every", "What it does"),
        (
            (
                f"`{each.name}`",
                f"{each.minimum_interval_seconds} s",
                each.description or "",
            )
            for each in _by_name(repository.sensor_defs)
        ),
    )


def _by_name(found: Iterable[_Named]) -> list[_Named]:
    return sorted(found, key=lambda each: each.name)


def _api() -> Iterator[str]:
    document: Mapping[str, Any] = openapi(RECORDING_OPENAPI, needs_token=True)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"## {method.upper()} {path}\n"
            yield f"{operation.get('summary', '')}\n"
            if parameters := operation.get("parameters"):
                yield from _table(
                    ("Parameter", "In", "Meaning"),
                    (
                        (f"`{each['name']}`", each["in"], each.get("description", ""))
                        for each in parameters
                    ),
                )
            yield from _table(
                ("Answer", "Meaning"),
                (
                    (status, _described(document, answer))
                    for status, answer in sorted(operation["responses"].items())
                ),
            )


def _described(document: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
    if reference := answer.get("$ref"):
        answer = document["components"]["responses"][reference.rpartition("/")[2]]
    return str(answer.get("description", ""))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)
