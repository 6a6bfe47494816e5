"""The semantic model: canonical TMDL, and each kind of mistake in it is found."""

from collections.abc import Mapping
from uuid import UUID

import pytest
from hypothesis import given, strategies as st

from apex_pipeline.analytics.rollups import columns as rollup_columns
from apex_pipeline.metrics import COLUMNS
from apex_pipeline.panel.tiles import TILES
from apex_pipeline.powerbi.model_checks import model_problems
from apex_pipeline.powerbi.model_files import read_model
from apex_pipeline.powerbi.model_tables import MODEL
from apex_pipeline.powerbi.pages import PAGES
from apex_pipeline.powerbi.tmdl import quoted, tmdl_files
from apex_pipeline_tests.support.examples import examples

FILES = tmdl_files(MODEL)
METRICS = "tables/Campaign Metrics.tmdl"
DATE = "tables/Date.tmdl"
MEASURES = [measure for table in MODEL.tables for measure in table.measures]
# Needed by the rollups alone: the objective is a parameter here, and an axis shows
# when the first run was.
NO_MEASURE = {"slo_p95_ms", "first_run_at"}


def problems(files: Mapping[str, str]) -> list[str]:
    model, unread = read_model(files)
    return unread or list(model_problems(model))


def test_the_model_has_no_problems():
    assert problems(FILES) == []


def test_files_are_indented_by_tabs_and_end_with_one_blank_line():
    for path, text in FILES.items():
        assert text.endswith("\n\n"), path
        assert not text.endswith("\n\n\n"), path
        assert "\r" not in text
        for line in text.split("\n"):
            assert line == line.rstrip()
            assert not line.startswith(" ")


def test_names_are_quoted_only_where_they_must_be():
    assert quoted("Date") == "Date"
    assert quoted("Total Cost") == "'Total Cost'"
    assert quoted("it's") == "'it''s'"
    assert quoted("a.b") == "'a.b'"


# Each: file, what stands there, and what a slip of the hand makes of it.
MUTATIONS = {
    "misspelt keyword of a column": (METRICS, "\tcolumn Phase", "\tcolumnn Phase"),
    "misspelt keyword of a measure": (METRICS, "\tmeasure Runs", "\tmesure Runs"),
    "misspelt keyword of a table": (DATE, "table Date", "tabel Date"),
    "misspelt property": (METRICS, "formatString:", "formatStrng:"),
    "property of another kind of object": (
        METRICS,
        "\t\tdisplayFolder: Cost",
        "\t\tsummarizeBy: none",
    ),
    "property given twice": (
        METRICS,
        "\t\tisHidden\n",
        "\t\tisHidden\n\t\tisHidden\n",
    ),
    "unknown data type": (METRICS, "dataType: double", "dataType: float"),
    "data type of the wrong case": (
        METRICS,
        "dataType: dateTime",
        "dataType: datetime",
    ),
    "rounding data type for a cost": (
        METRICS,
        "\tcolumn 'Cost (USD)'\n\t\tdataType: double",
        "\tcolumn 'Cost (USD)'\n\t\tdataType: decimal",
    ),
    "unknown summary": (METRICS, "summarizeBy: none", "summarizeBy: nothing"),
    "summed where no measure asks": (METRICS, "summarizeBy: none", "summarizeBy: sum"),
    "unknown mode": (METRICS, "mode: import", "mode: imported"),
    "unknown kind of partition": (
        METRICS,
        "partition 'Campaign Metrics' = m",
        "partition 'Campaign Metrics' = sql",
    ),
    "unknown category": (DATE, "dataCategory: Time", "dataCategory: Times"),
    "boolean with a value": (METRICS, "\t\tisHidden\n", "\t\tisHidden: yes\n"),
    "boolean that is not false": (
        "relationships.tmdl",
        "isActive: false",
        "isActive: no",
    ),
    "missing quotes": (METRICS, "measure 'Total Cost'", "measure Total Cost"),
    "needless quotes": (METRICS, "measure Runs", "measure 'Runs'"),
    "open quote": (METRICS, "measure 'Total Cost'", "measure 'Total Cost"),
    "property without a value": (DATE, "summarizeBy: none", "summarizeBy:"),
    "equals sign for a colon": (DATE, "summarizeBy: none", "summarizeBy = none"),
    "colon for an equals sign": (METRICS, "\t\tsource =", "\t\tsource:"),
    "missing space after a colon": (DATE, "summarizeBy: none", "summarizeBy:none"),
    "two spaces after a colon": (DATE, "summarizeBy: none", "summarizeBy:  none"),
    "spaces for tabs": (DATE, "\tcolumn Date", "    column Date"),
    "space behind a line": (DATE, "dataCategory: Time", "dataCategory: Time "),
    "level too deep": (DATE, "\tcolumn Date", "\t\tcolumn Date"),
    "level too shallow": (DATE, "\t\tisKey", "\tisKey"),
    "expression too shallow": (METRICS, "\t\t\t\tlet\n", "\t\t\tlet\n"),
    "missing blank line": (DATE, "\n\n\tpartition", "\n\tpartition"),
    "two blank lines": (DATE, "\n\n\tpartition", "\n\n\n\tpartition"),
    "properties out of order": (
        DATE,
        "\t\tisKey\n\t\tformatString: yyyy-mm-dd\n",
        "\t\tformatString: yyyy-mm-dd\n\t\tisKey\n",
    ),
    "comment that is no description": (DATE, "/// Calendar day", "// Calendar day"),
    "table named otherwise than its file": (DATE, "table Date", "table Dates"),
    "column there twice": (
        METRICS,
        "column 'Tokens Out'",
        "column 'Tokens In'",
    ),
    "measure named as a column": (METRICS, "measure Runs", "measure Phase"),
    "measure without a name": (METRICS, "measure Runs =", "measure ="),
    "measure without an expression": (
        METRICS,
        "measure Runs = COUNTROWS('Campaign Metrics')",
        "measure Runs",
    ),
    "lineage tag that is no UUID": (METRICS, "lineageTag: ", "lineageTag: x"),
    "lineage tag there twice": (
        METRICS,
        FILES[METRICS].split("lineageTag: ")[2][:36],
        FILES[METRICS].split("lineageTag: ")[3][:36],
    ),
    "no lineage tag": (
        METRICS,
        "\t\tlineageTag: " + FILES[METRICS].split("lineageTag: ")[2][:36] + "\n",
        "",
    ),
    "no description": (DATE, "\t/// Calendar day, in the business time zone.\n", ""),
    "no format": (METRICS, "\t\tformatString: \\$#,0.00\n", ""),
    "no folder": (METRICS, "\t\tdisplayFolder: Cost\n", ""),
    "relationship to a column that is not there": (
        "relationships.tmdl",
        "toColumn: Date.Date",
        "toColumn: Date.Day",
    ),
    "relationship to no key": (
        "relationships.tmdl",
        "toColumn: Date.Date",
        "toColumn: Date.Month",
    ),
    "relationship without an end": (
        "relationships.tmdl",
        "\ttoColumn: Date.Date\n",
        "",
    ),
    "two active relationships": ("relationships.tmdl", "\tisActive: false\n", ""),
    "date table without a key": (DATE, "\t\tisKey\n", ""),
    "missing ref": ("model.tmdl", "ref table Date\n", ""),
    "ref twice": ("model.tmdl", "ref table Date\n", "ref table Date\nref table Date\n"),
    "ref to no table": ("model.tmdl", "ref table Date\n", "ref table Days\n"),
    "ref of an unknown kind": ("model.tmdl", "ref table Date\n", "ref tabel Date\n"),
    "automatic date tables": (
        "model.tmdl",
        "__PBI_TimeIntelligenceEnabled = 0",
        "__PBI_TimeIntelligenceEnabled = 1",
    ),
    "level of compatibility that is no number": (
        "database.tmdl",
        "compatibilityLevel: 1601",
        "compatibilityLevel: latest",
    ),
    "level of compatibility before Power BI's": (
        "database.tmdl",
        "compatibilityLevel: 1601",
        "compatibilityLevel: 1500",
    ),
    "DAX: bracket not closed": (METRICS, "SUM('Campaign Metrics'[Cost (USD)])", "SUM("),
    "DAX: unknown function": (METRICS, "COUNTROWS(", "COUNTROW("),
    "DAX: unknown column": (METRICS, "[Cost (USD)])", "[Costs])"),
    "DAX: unknown measure": (METRICS, "[Campaigns])", "[Campaign])"),
    "DAX: unknown table": (
        METRICS,
        "COUNTROWS('Campaign Metrics')",
        "COUNTROWS('Campaigns')",
    ),
    "DAX: unknown variable": (METRICS, "VAR LastDay", "VAR LastDate"),
    "DAX: measure that refers to itself": (
        METRICS,
        "measure 'Total Cost' = SUM('Campaign Metrics'[Cost (USD)])",
        "measure 'Total Cost' = [Cost per Run] + 1",
    ),
    "DAX: column that the calculated table does not make": (
        DATE,
        "sourceColumn: [Month]",
        "sourceColumn: [Months]",
    ),
    "M: bracket not closed": (
        METRICS,
        "type number\n\t\t\t\t    ),",
        "type number\n\t\t\t\t    ,",
    ),
    "M: unknown function": (METRICS, "DateTime.Date(", "DateTime.Day("),
    "M: unknown step": (METRICS, "\t\t\t\t    Refreshed\n", "\t\t\t\t    Judge\n"),
    "M: unknown parameter": (METRICS, "DataverseEnvironment,", "DataverseUrl,"),
    "M: unknown field": (
        METRICS,
        "each DateTime.Date([Created At])",
        "each DateTime.Date([Made At])",
    ),
    "M: column that Dataverse does not have": (
        METRICS,
        '"apex_costusd",',
        '"apex_cost",',
    ),
    "M: column not read": (METRICS, '\t\t\t\t            "apex_costusd",\n', ""),
    "M: type that does not fit": (
        METRICS,
        '{"Cost (USD)", type number}',
        '{"Cost (USD)", Int64.Type}',
    ),
    "M: another table": (METRICS, '"apex_campaignmetrics"', '"apex_campaignmetricses"'),
    "source column that the query does not make": (
        METRICS,
        "sourceColumn: Cost (USD)",
        "sourceColumn: Cost",
    ),
    "column that the model does not keep": (
        METRICS,
        '"Is Slow",',
        '"Was Slow",',
    ),
    "function that Power Query does not have": (METRICS, "List.Skip(", "List.Skipp("),
    "field that its record does not have": (METRICS, "each [Since]", "each [Until]"),
    "parameter under another name": (METRICS, "BusinessTimeZone", "BusinessZone"),
    "file of no known name": ("tables.tmdl", "", "table X\n"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mistake_is_found(name):
    path, old, new = MUTATIONS[name]
    text = FILES.get(path, "")
    assert old in text
    assert problems(FILES | {path: text.replace(old, new, 1)})


@examples(60)
@given(
    path=st.sampled_from([METRICS, DATE, "expressions.tmdl", "relationships.tmdl"]),
    at=st.integers(0, 10_000),
    change=st.sampled_from(["remove", "repeat", "swap", "indent", "cut"]),
)
def test_a_file_with_any_line_mangled_is_read_to_the_end(path, at, change):
    """Whatever was typed, the checks give problems and not a traceback."""
    lines = FILES[path].split("\n")
    at %= len(lines) - 1
    lines[at : at + 1] = {
        "remove": [],
        "repeat": [lines[at], lines[at]],
        "swap": [lines[at + 1], lines[at]],
        "indent": ["\t" + lines[at]],
        "cut": [lines[at][: len(lines[at]) // 2]],
    }[change]
    assert all(isinstance(p, str) for p in problems(FILES | {path: "\n".join(lines)}))


@pytest.mark.parametrize("path", FILES)
def test_a_missing_file_is_found(path):
    assert problems({p: text for p, text in FILES.items() if p != path})


@pytest.mark.parametrize("path", FILES)
def test_windows_line_endings_are_found(path):
    assert problems(FILES | {path: FILES[path].replace("\n", "\r\n")})


def test_lineage_tags_come_from_paths_so_that_they_are_stable():
    tags = [
        line.split(": ")[1]
        for text in FILES.values()
        for line in text.split("\n")
        if "lineageTag" in line
    ]
    assert len(tags) == len(set(tags)) > 60
    assert {UUID(tag).version for tag in tags} == {5}
    assert tmdl_files(MODEL) == FILES


def test_every_measure_is_described_formatted_and_filed():
    assert len(MEASURES) >= 18
    for measure in MEASURES:
        assert measure.description.endswith("."), measure.name
        assert measure.format
        assert measure.folder


def test_every_figure_of_the_rollups_has_its_measure():
    twins = {twin.name for m in MEASURES for twin in m.twins if twin.place == "rollup"}
    assert twins == {c.name for c in rollup_columns.MEASURES} - NO_MEASURE


def test_every_figure_of_the_panel_has_its_measure():
    twins = {twin.name for m in MEASURES for twin in m.twins if twin.place == "api"}
    assert {figure.key for tile in TILES for figure in tile.figures} <= twins


def test_every_column_of_dataverse_is_read_and_described_as_the_map_has_it():
    columns = {c.name: c for c in MODEL.tables[0].columns}
    assert len(COLUMNS) == 13
    for column in COLUMNS:
        assert f'"{column.dataverse}"' in MODEL.tables[0].partition.expression
        assert any(column.description in c.description for c in columns.values())


def test_columns_are_visible_exactly_where_the_report_uses_them():
    used = {
        (field.table, field.name)
        for page in PAGES
        for visual in page.visuals
        for fields in visual.roles.values()
        for field in fields
        if not field.is_measure
    }
    visible = {
        (table.name, column.name)
        for table in MODEL.tables
        for column in table.columns
        if not column.is_hidden
    }
    assert visible == used
