"""The formulas of the model: measures in DAX, and the queries that fill its tables."""

from collections.abc import Iterator, Sequence

from apex_pipeline.metrics import COLUMNS, TABLE
from apex_pipeline.powerbi.formulas import (
    MColumns,
    m_columns,
    unbalanced,
    unknown_in_dax,
    unknown_in_m,
)
from apex_pipeline.powerbi.model_files import Model
from apex_pipeline.powerbi.model_tables import DELIVERED, M_TYPES, model_type
from apex_pipeline.powerbi.tmdl_grammar import Node

_MODEL_TYPES = {
    "type text": "string",
    "type datetime": "dateTime",
    "type number": "double",
    "Int64.Type": "int64",
}


def formula_problems(table: Node, model: Model) -> Iterator[str]:
    """What is wrong with the formulas of a table: its measures and its source."""
    for measure in table.of("measure"):
        yield from _dax(f"measure {measure.name}", measure.value or "", model)
    for partition in table.of("partition"):
        source = partition.properties.get("source", "")
        where = f"partition {partition.name}"
        if not source:
            yield f"{where} has no source."
        elif partition.value == "calculated":
            own = [
                c.properties.get("sourceColumn", "")[1:-1] for c in table.of("column")
            ]
            yield from _dax(where, source, model, own)
            yield from _calculated(table, source)
        elif problem := unbalanced(source):
            yield f"{where}: {problem}."
        else:
            for name in unknown_in_m(source, model.names.parameters):
                yield f"{where}: nothing defines {name}."
            yield from _source_columns(table, source)


def _dax(where: str, text: str, model: Model, own: Sequence[str] = ()) -> Iterator[str]:
    if problem := unbalanced(text):
        yield f"{where}: {problem}."
        return
    for name in unknown_in_dax(text, model.names, own):
        yield f"{where}: nothing defines {name}."


def _calculated(table: Node, source: str) -> Iterator[str]:
    for column in table.of("column"):
        found = column.properties.get("sourceColumn", "")
        given = f'"{found[1:-1]}",' in source or found == "[Date]"
        if not (found.startswith("[") and found.endswith("]") and given):
            yield f"column {column.name}: its expression makes no {found}."
        if "isNameInferred" not in column.properties:
            yield f"column {column.name} takes its name from its expression."
        kind = "dateTime" if found == "[Date]" else "string"
        if column.properties.get("dataType") != kind:
            yield f"column {column.name}: its expression gives {kind}."


def _source_columns(table: Node, source: str) -> Iterator[str]:
    found = m_columns(source)
    yield from _against_dataverse(table, source, found)
    made = {*found.renamed.values(), *found.added}
    for column in table.of("column"):
        name = column.properties.get("sourceColumn", "")
        kind = column.properties.get("dataType")
        if name not in made:
            yield f"column {column.name}: the query makes no column {name}."
        elif name in found.typed and _MODEL_TYPES.get(found.typed[name]) != kind:
            yield f"column {column.name} is {kind}; the query gives {found.typed[name]}."
        elif kind is None:
            yield f"column {column.name} has no dataType."
    kept = {c.properties.get("sourceColumn") for c in table.of("column")}
    for name in sorted(made - kept):
        yield f"The query makes a column {name} that the model does not have."


def _against_dataverse(table: Node, source: str, found: MColumns) -> Iterator[str]:
    ours = {c.dataverse: M_TYPES[model_type(c.type)] for c in COLUMNS}
    ours[DELIVERED] = M_TYPES["dateTime"]
    if f'Item = "{TABLE}"' not in source:
        yield f"{table.name} does not read {TABLE}."
    selected = set(found.selected)
    for name in sorted(selected - ours.keys()):
        yield f"{table.name} reads {name}, which Dataverse does not have."
    for name in sorted(ours.keys() - selected):
        yield f"{table.name} does not read {name}."
    for name in sorted(selected ^ found.renamed.keys()):
        yield f"{table.name} selects or renames {name}, but not both."
    for name in sorted(ours.keys() & found.renamed.keys()):
        kind = found.typed.get(found.renamed[name])
        if kind != ours[name]:
            yield f"{name} is {kind} instead of {ours[name]}."
