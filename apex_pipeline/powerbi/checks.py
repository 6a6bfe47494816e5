"""All that can be checked of the project without Power BI, and what cannot."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from apex_pipeline.powerbi.model_checks import model_problems
from apex_pipeline.powerbi.model_files import Model, read_model
from apex_pipeline.powerbi.npm_checks import (
    m_problems,
    npm_tools,
    validator_problems,
)
from apex_pipeline.powerbi.project import (
    MODEL_FOLDER,
    REPORT_FOLDER,
    project_files,
    read_project,
)
from apex_pipeline.powerbi.report_checks import parse, report_problems
from apex_pipeline.powerbi.schema_checks import schema_problems

NOT_CHECKED = (
    "how the pages look in Power BI",
    "credentials, the gateway and scheduled refresh",
    "the types and the time zone that the TDS endpoint returns",
    "that Power BI Desktop opens the project",
)
"""What only Power BI and an environment of Dataverse can show."""

_SHOWN = 20
_BY_NPM = ("Microsoft's validator", "M syntax")


@dataclass(frozen=True, slots=True)
class Checked:
    """One check: whether it could be made, and what it found."""

    name: str
    state: Literal["passed", "failed", "skipped"]
    problems: tuple[str, ...] = ()


def check_project(folder: Path, *, with_npm: bool = False) -> Iterator[Checked]:
    """Check a project on disk, one thing after another.

    Args:
        folder: The folder that holds the `.pbip` file.
        with_npm: Also run Microsoft's own tools, which npm fetches.

    Raises:
        ConfigError: The tools are asked for, and npm cannot be had.
    """
    found = read_project(folder)
    contents: dict[str, Mapping[str, Any]] = {}
    broken: list[str] = []
    for path, text in found.items():
        if not path.endswith(".tmdl"):
            contents[path], problems = parse(path, text)
            broken += problems
    start = f"{MODEL_FOLDER}/definition/"
    model, unread = read_model(
        {p[len(start) :]: t for p, t in found.items() if p.startswith(start)}
    )
    yield _checked("generated files", lambda: _differences(found))
    yield _checked("JSON schemas", lambda: [*broken, *schema_problems(contents)])
    yield _checked("TMDL", lambda: unread)
    yield _checked("semantic model", lambda: model_problems(model), needs=not unread)
    yield _checked("DAX syntax", lambda: _dax(model), needs=not unread)
    prefix = f"{REPORT_FOLDER}/"
    report = {p[len(prefix) :]: c for p, c in contents.items() if p.startswith(prefix)}
    yield _checked(
        "report", lambda: report_problems(report, model), needs=not (unread or broken)
    )
    yield from (
        _by_npm(folder, model)
        if with_npm
        else (Checked(name, "skipped", ("run with --npm",)) for name in _BY_NPM)
    )


def _by_npm(folder: Path, model: Model) -> Iterator[Checked]:
    queries = {p.name: p.value or "" for p in model.parameters} | {
        partition.name: partition.properties.get("source", "")
        for table in model.tables
        for partition in table.of("partition")
        if partition.value == "m"
    }
    report, syntax = _BY_NPM
    with npm_tools() as tools:
        yield _checked(
            report, lambda: validator_problems(tools, folder / REPORT_FOLDER)
        )
        yield _checked(syntax, lambda: m_problems(tools, queries))


def _checked(
    name: str, find: Callable[[], Iterator[str] | list[str]], *, needs: bool = True
) -> Checked:
    if not needs:
        return Checked(name, "skipped", ("mend the files first",))
    try:
        problems = tuple(islice(find(), _SHOWN))
    except ImportError as error:
        return Checked(
            name, "skipped", (f"install {error.name}: the extra dev has it",)
        )
    return Checked(name, "failed" if problems else "passed", problems)


def _differences(found: Mapping[str, str]) -> Iterator[str]:
    wanted = project_files()
    for path in sorted(wanted.keys() | found.keys()):
        if path not in found:
            yield f"{path} is missing. Run `apex powerbi build`."
        elif path not in wanted:
            yield f"{path} is not generated. Remove it, or describe it in the code."
        elif found[path] != wanted[path]:
            yield f"{path} is not as generated. Run `apex powerbi build`."


def _dax(model: Model) -> Iterator[str]:
    from pbi_parsers import dax  # noqa: PLC0415  only where it is checked

    for table in model.tables:
        formulas = [(m.name, m.value or "") for m in table.of("measure")]
        formulas += [
            (p.name, p.properties.get("source", ""))
            for p in table.of("partition")
            if p.value == "calculated"
        ]
        for name, formula in formulas:
            mistake = _mistake(dax.to_ast, formula)
            if mistake is not None:
                yield f"{table.name}, {name}: no DAX: {mistake} in {formula!r}"


@cache
def _mistake(parse: Callable[[str], object], formula: str) -> str | None:
    """What the parser says against a formula; reading all of them takes a second."""
    try:
        parse(formula)
    except (ValueError, AssertionError) as error:
        return str(error)
    return None
