"""Write a semantic model as TMDL, in the form that Microsoft's own writer gives it.

The Tabular Object Model parses these files and writes them back unchanged: tabs, one
blank line between objects, names quoted only where they must be, properties and
annotations in its order. Grammar: learn.microsoft.com, "Tabular Model Definition
Language (TMDL) overview"; order: files that Power BI Desktop saved.
"""

import re
from collections.abc import Iterable, Iterator

from apex_pipeline.powerbi.identity import tag
from apex_pipeline.powerbi.semantic_model import (
    Measure,
    ModelColumn,
    ModelRelationship,
    ModelTable,
    Parameter,
    SemanticModel,
)

COMPATIBILITY_LEVEL = 1601
CULTURE = "en-US"

_NEEDS_QUOTES = re.compile(r"[\s.=:']")


def quoted(name: str) -> str:
    """A name, in quotes where it holds a space or what TMDL itself uses."""
    if not _NEEDS_QUOTES.search(name):
        return name
    return "'" + name.replace("'", "''") + "'"


def tmdl_files(model: SemanticModel) -> dict[str, str]:
    """The files of the folder `definition`: path to text."""
    return {
        "database.tmdl": _file(
            "database", f"\tcompatibilityLevel: {COMPATIBILITY_LEVEL}", ""
        ),
        "model.tmdl": _file(*_model(model)),
        "expressions.tmdl": _file(*_joined(map(_parameter, model.parameters))),
        "relationships.tmdl": _file(*_joined(map(_relationship, model.relationships))),
        **{f"tables/{t.name}.tmdl": _file(*_table(t)) for t in model.tables},
    }


def _file(*lines: str) -> str:
    return "\n".join(lines) + "\n"


def _joined(objects: Iterable[Iterable[str]]) -> Iterator[str]:
    for each in objects:
        yield from each


def _model(model: SemanticModel) -> Iterator[str]:
    yield "model Model"
    yield f"\tculture: {CULTURE}"
    yield "\tdefaultPowerBIDataSourceVersion: powerBI_V3"
    yield "\tdiscourageImplicitMeasures"
    yield f"\tsourceQueryCulture: {CULTURE}"
    yield "\tdataAccessOptions"
    yield "\t\tlegacyRedirects"
    yield "\t\treturnErrorValuesAsNull"
    yield ""
    # Otherwise Desktop adds a hidden date table for each column of dates.
    yield "annotation __PBI_TimeIntelligenceEnabled = 0"
    yield ""
    queries = [p.name for p in model.parameters]
    queries += [t.name for t in model.tables if t.partition.kind == "m"]
    yield "annotation PBI_QueryOrder = [" + ",".join(f'"{q}"' for q in queries) + "]"
    yield ""
    for table in model.tables:
        yield f"ref table {quoted(table.name)}"
    yield ""


def _parameter(parameter: Parameter) -> Iterator[str]:
    yield f"/// {parameter.description}"
    yield (
        f"expression {quoted(parameter.name)} = {parameter.value} meta "
        f'[IsParameterQuery=true, Type="{parameter.type}", '
        "IsParameterQueryRequired=true]"
    )
    yield f"\tlineageTag: {tag('expression', parameter.name)}"
    yield ""
    yield f"\tannotation PBI_ResultType = {parameter.type}"
    yield ""


def _relationship(relationship: ModelRelationship) -> Iterator[str]:
    many, one = relationship.many, relationship.one
    yield f"relationship {tag('relationship', *many, *one)}"
    if not relationship.is_active:
        yield "\tisActive: false"
    yield f"\tfromColumn: {_path(many)}"
    yield f"\ttoColumn: {_path(one)}"
    yield ""


def _path(column: tuple[str, str]) -> str:
    return ".".join(quoted(part) for part in column)


def _table(table: ModelTable) -> Iterator[str]:
    yield f"/// {table.description}"
    yield f"table {quoted(table.name)}"
    yield f"\tlineageTag: {tag('table', table.name)}"
    if table.is_calendar:
        yield "\tdataCategory: Time"
    yield ""
    for measure in table.measures:
        yield from _measure(measure, table)
    for column in table.columns:
        yield from _column(column, table)
    yield f"\tpartition {quoted(table.name)} = {table.partition.kind}"
    yield "\t\tmode: import"
    yield "\t\tsource ="
    yield from _expression(table.partition.expression, 4)
    yield ""
    if table.partition.kind == "m":
        yield "\tannotation PBI_ResultType = Table"
        yield ""


def _measure(measure: Measure, table: ModelTable) -> Iterator[str]:
    yield f"\t/// {measure.description}"
    head = f"\tmeasure {quoted(measure.name)} ="
    if "\n" in measure.expression:
        yield head
        yield from _expression(measure.expression, 3)
    else:
        yield f"{head} {measure.expression}"
    yield f"\t\tformatString: {measure.format}"
    if measure.is_hidden:
        yield "\t\tisHidden"
    yield f"\t\tdisplayFolder: {measure.folder}"
    yield f"\t\tlineageTag: {tag('measure', table.name, measure.name)}"
    yield ""


def _column(column: ModelColumn, table: ModelTable) -> Iterator[str]:
    yield f"\t/// {column.description}"
    yield f"\tcolumn {quoted(column.name)}"
    yield f"\t\tdataType: {column.type}"
    if column.is_hidden:
        yield "\t\tisHidden"
    if column.is_key:
        yield "\t\tisKey"
    if column.format:
        yield f"\t\tformatString: {column.format}"
    yield f"\t\tlineageTag: {tag('column', table.name, column.name)}"
    yield "\t\tsummarizeBy: none"
    if column.source.startswith("["):
        yield "\t\tisNameInferred"
    yield f"\t\tsourceColumn: {column.source}"
    yield ""
    yield "\t\tannotation SummarizationSetBy = Automatic"
    yield ""
    if column.holds_days:
        yield "\t\tannotation UnderlyingDateTimeDataType = Date"
        yield ""


def _expression(text: str, depth: int) -> Iterator[str]:
    """An expression on lines of its own, which begin deeper than its object's."""
    for line in text.split("\n"):
        yield "\t" * depth + line if line else ""
