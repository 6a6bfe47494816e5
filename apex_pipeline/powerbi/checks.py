"""All that can be checked of the project without Power BI, and what cannot."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from apex_pipeline.powerbi.model_checks import model_problems
from apex_pipeline.powerbi.model_files import Model, read_model
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

VALIDATOR = "@microsoft/powerbi-report-authoring-cli@0.1.4"
_UNREACHABLE = "PBIR_SCHEMA_UNREACHABLE"
_TIME_LIMIT = 120
_SHOWN = 20


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
        with_npm: Also run Microsoft's report validator, which npm may have to fetch.
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
    if with_npm:
        yield _checked("Microsoft's validator", lambda: _npm(folder / REPORT_FOLDER))
    else:
        yield Checked("Microsoft's validator", "skipped", ("run with --npm",))


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
            (p.name, p.properties["source"])
            for p in table.of("partition")
            if p.value == "calculated"
        ]
        for name, formula in formulas:
            if dax.to_ast(formula) is None:
                yield f"{table.name}, {name}: no DAX: {formula}"


def _npm(report: Path) -> Iterator[str]:
    npx = shutil.which("npx")
    if npx is None:
        yield "npx is not installed; it comes with Node 20."
        return
    run = subprocess.run(  # noqa: S603  a fixed command
        [npx, "--yes", VALIDATOR, "validate", str(report)],
        capture_output=True,
        text=True,
        timeout=_TIME_LIMIT,
        check=False,
    )
    try:
        found = json.loads(run.stdout)["data"]["diagnostics"]
    except (ValueError, KeyError, TypeError):
        yield f"{VALIDATOR} gave no result: {(run.stderr or run.stdout)[-500:]}"
        return
    for code, diagnostic in found.items():
        if code != _UNREACHABLE:
            yield from (f"{code}: {item['message']}" for item in diagnostic["items"])
