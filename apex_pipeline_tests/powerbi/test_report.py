"""The report: valid by its schemas, and each kind of mistake in it is found."""

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

import pytest

from apex_pipeline.powerbi import colours
from apex_pipeline.powerbi.identity import page_id, visual_id
from apex_pipeline.powerbi.model_files import read_model
from apex_pipeline.powerbi.model_tables import MODEL
from apex_pipeline.powerbi.pages import PAGES
from apex_pipeline.powerbi.pbir import report_files
from apex_pipeline.powerbi.project import MODEL_FOLDER, project_files
from apex_pipeline.powerbi.report_checks import report_problems, theme_problems
from apex_pipeline.powerbi.schema_checks import schema_problems
from apex_pipeline.powerbi.tmdl import tmdl_files

REPORT = report_files(PAGES, MODEL_FOLDER)
READ, _ = read_model(tmdl_files(MODEL))
OVERVIEW = f"definition/pages/{page_id('Overview')}"
RUNS = f"definition/pages/{page_id('Runs')}"


def place(title: str, page: str = "Overview") -> str:
    return f"definition/pages/{page_id(page)}/visuals/{visual_id(page, title)}"


CARD = f"{place('Success rate, 30 days')}/visual.json"
TREND = f"{place('Cost by day')}/visual.json"
SLICER = f"{place('Days')}/visual.json"
PHONE = f"{place('Days')}/mobile.json"


def problems(files: Mapping[str, Any]) -> list[str]:
    return list(report_problems(files, READ))


def test_the_report_has_no_problems():
    assert problems(REPORT) == []


def test_every_json_file_is_valid_by_the_schema_that_it_names():
    contents = {
        path: json.loads(text)
        for path, text in project_files().items()
        if not path.endswith(".tmdl")
    }
    named = [c for p, c in contents.items() if "/StaticResources/" not in p]
    assert len(named) > 60
    assert all(content["$schema"] for content in named)
    assert list(schema_problems(contents)) == []


def test_pages_are_those_that_the_documentation_describes():
    names = ["Overview", "Cost and forecast", "Quality", "Runs", "Sync health"]
    assert [page.name for page in PAGES] == names


def test_names_of_pages_and_visuals_are_20_hexadecimal_digits():
    for path in REPORT:
        parts = PurePosixPath(path).parts
        for folder in parts[2:5:2] if parts[:2] == ("definition", "pages") else ():
            if "." not in folder:
                assert len(folder) == 20
                assert int(folder, 16)


def _projections(visual: dict[str, Any], role: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = visual["visual"]["query"]["queryState"][role][
        "projections"
    ]
    return found


def _rename(visual: dict[str, Any], old: str, new: str) -> None:
    state = visual["visual"]["query"]["queryState"]
    state[new] = state.pop(old)


def _to(visual: dict[str, Any], **position: int) -> None:
    visual["position"].update(position)


# Each: file, and what a slip of the hand makes of it. No schema sees any of these.
MISTAKES: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "unknown visual type": (
        CARD,
        lambda v: v["visual"].update(visualType="cardVisuall"),
    ),
    "role that the type does not have": (CARD, lambda v: _rename(v, "Data", "Values")),
    "required role left out": (TREND, lambda v: _projections(v, "Y").clear()),
    "measure that the model lacks": (
        CARD,
        lambda v: _projections(v, "Data")[0]["field"]["Measure"].update(Property="X"),
    ),
    "table that the model lacks": (
        CARD,
        lambda v: _projections(v, "Data")[0]["field"]["Measure"]["Expression"][
            "SourceRef"
        ].update(Entity="Metrics"),
    ),
    "measure as a column": (
        CARD,
        lambda v: _projections(v, "Data")[0].update(
            field={"Column": _projections(v, "Data")[0]["field"]["Measure"]}
        ),
    ),
    "column in a role for measures": (
        TREND,
        lambda v: _projections(v, "Y").append(_projections(v, "Category")[0]),
    ),
    "measure in a role for columns": (
        TREND,
        lambda v: _projections(v, "Category").append(_projections(v, "Y")[0]),
    ),
    "two fields where one is allowed": (
        SLICER,
        lambda v: _projections(v, "Values").append(_projections(v, "Values")[0]),
    ),
    "field twice": (
        CARD,
        lambda v: _projections(v, "Data").append(_projections(v, "Data")[0]),
    ),
    "no nativeQueryRef": (
        CARD,
        lambda v: _projections(v, "Data")[0].pop("nativeQueryRef"),
    ),
    "wrong queryRef": (CARD, lambda v: _projections(v, "Data")[0].update(queryRef="x")),
    "sort by what is not there": (
        TREND,
        lambda v: v["visual"]["query"]["sortDefinition"]["sort"][0]["field"][
            "Column"
        ].update(Property="Day"),
    ),
    "no title": (CARD, lambda v: v["visual"]["visualContainerObjects"].pop("title")),
    "no alternative text": (
        CARD,
        lambda v: v["visual"]["visualContainerObjects"].pop("general"),
    ),
    "name that is not the folder's": (CARD, lambda v: v.update(name="0" * 20)),
    "outside of the page": (CARD, lambda v: _to(v, x=1200)),
    "over another visual": (CARD, lambda v: _to(v, y=150)),
    "tab order twice": (CARD, lambda v: _to(v, tabOrder=0)),
    "phone: wider than a phone": (PHONE, lambda v: _to(v, width=400)),
    "phone: over another visual": (PHONE, lambda v: _to(v, y=60)),
    "phone: tab order against the eye": (PHONE, lambda v: _to(v, tabOrder=99)),
    "page order lacks a page": (
        "definition/pages/pages.json",
        lambda p: p["pageOrder"].pop(),
    ),
    "opens on no page": (
        "definition/pages/pages.json",
        lambda p: p.update(activePageName="x"),
    ),
    "two pages of one name": (
        f"{OVERVIEW}/page.json",
        lambda p: p.update(displayName="Runs"),
    ),
    "drill-through that binds no filter": (
        f"{RUNS}/page.json",
        lambda p: p["pageBinding"]["parameters"][0].update(boundFilter="x"),
    ),
    "drill-through by half": (f"{RUNS}/page.json", lambda p: p.pop("pageBinding")),
    "drill-through by what is not there": (
        f"{RUNS}/page.json",
        lambda p: p["filterConfig"]["filters"][0]["field"]["Column"].update(
            Property="x"
        ),
    ),
    "theme of another name": (
        f"StaticResources/RegisteredResources/{colours.THEME_NAME}",
        lambda t: t.update(name="Other"),
    ),
    "text that cannot be read": (
        f"StaticResources/RegisteredResources/{colours.THEME_NAME}",
        lambda t: t.update(foreground="#9aa5b1"),
    ),
    "line that cannot be seen": (
        f"StaticResources/RegisteredResources/{colours.THEME_NAME}",
        lambda t: t["dataColors"].append("#ffd166"),
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found(name):
    path, change = MISTAKES[name]
    files = copy.deepcopy(REPORT)
    change(files[path])
    assert problems(files)


def _keys(
    content: Any, path: tuple[str | int, ...] = ()
) -> list[tuple[str | int, ...]]:
    """The place of every key in a JSON document."""
    inner: list[tuple[str | int, Any]] = []
    if isinstance(content, dict):
        inner += content.items()
    elif isinstance(content, list):
        inner += enumerate(content)
    return [
        place
        for key, value in inner
        for place in [(*path, key), *_keys(value, (*path, key))]
    ]


@pytest.mark.parametrize(
    "path",
    [
        *(CARD, TREND, PHONE, f"{RUNS}/page.json", "definition/report.json"),
        "definition/pages/pages.json",
        f"StaticResources/RegisteredResources/{colours.THEME_NAME}",
    ],
)
def test_a_document_without_any_one_of_its_keys_is_read_to_the_end(path):
    """Whatever was removed, the checks give problems and not a traceback."""
    for place in _keys(REPORT[path]):
        content = copy.deepcopy(REPORT[path])
        inner: Any = content
        for key in place[:-1]:
            inner = inner[key]
        del inner[place[-1]]
        assert all(isinstance(p, str) for p in problems({**REPORT, path: content}))


@pytest.mark.parametrize("path", [CARD, PHONE, f"{OVERVIEW}/page.json"])
def test_the_schemas_find_a_misspelt_property(path):
    assert list(schema_problems({path: REPORT[path] | {"postion": {}}}))


def test_a_schema_of_an_unknown_version_is_found():
    content = REPORT[CARD] | {
        "$schema": REPORT[CARD]["$schema"].replace("2.0.0", "9.9.9")
    }
    assert list(schema_problems({CARD: content}))


def test_a_folder_of_another_form_is_found():
    files = {path.replace(page_id("Runs"), "runs"): c for path, c in REPORT.items()}
    assert any("hexadecimal" in problem for problem in problems(files))


def test_contrast_is_that_of_the_guidelines():
    assert round(colours.contrast("#000000", "#ffffff"), 2) == 21
    assert round(colours.contrast("#777777", "#ffffff"), 2) == 4.48
    assert list(theme_problems(colours.theme())) == []


def test_colours_are_those_of_the_panel():
    css = colours_of_the_panel()
    for name in (
        "page",
        "card",
        "ink",
        "muted",
        "line",
        "accent",
        "good",
        "bad",
        "warn",
    ):
        assert css[name] == getattr(colours, name.upper())


def colours_of_the_panel() -> dict[str, str]:
    from importlib.resources import files  # noqa: PLC0415

    css = (files("apex_pipeline.panel") / "static" / "panel.css").read_text()
    found: dict[str, str] = {}
    for line in css.split("\n"):
        name, _, value = line.strip().removeprefix("--").partition(": ")
        found.setdefault(name, value.removesuffix(";"))
    return found
