"""What must hold of the semantic model as a whole, across its files."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from apex_pipeline.powerbi.formula_checks import formula_problems
from apex_pipeline.powerbi.formulas import measures_of
from apex_pipeline.powerbi.model_files import Model
from apex_pipeline.powerbi.tmdl_grammar import Node

_LOWEST_LEVEL = 1567


def model_problems(model: Model) -> Iterator[str]:
    """What is wrong with a model whose files can all be read."""
    yield from _level(model)
    yield from _references(model)
    yield from _tags(model)
    for table in model.tables:
        yield from _table(table)
        yield from _told(table)
        yield from formula_problems(table, model)
    yield from _measure_names(model)
    yield from _relationships(model)
    yield from _cycles(model)


def _level(model: Model) -> Iterator[str]:
    for node in model.files["database.tmdl"]:
        level = int(node.properties.get("compatibilityLevel", 0))
        if level < _LOWEST_LEVEL:
            yield f"Compatibility level {level}: Power BI needs {_LOWEST_LEVEL} or more."
    annotations = {
        a.name: a.value for n in model.files["model.tmdl"] for a in n.of("annotation")
    }
    if annotations.get("__PBI_TimeIntelligenceEnabled") != "0":
        yield "Automatic date tables are not switched off."


def _references(model: Model) -> Iterator[str]:
    listed = [r.name for n in model.files["model.tmdl"] for r in n.of("ref")]
    for path, nodes in model.files.items():
        for node in nodes:
            if node.kind == "table" and path != f"tables/{node.name}.tmdl":
                yield f"{path} holds the table {node.name}."
    present = Counter(table.name for table in model.tables)
    for name, count in (Counter(listed) | present).items():
        if count > 1:
            yield f"The table {name} is there, or listed in model.tmdl, {count} times."
    for name in sorted(present.keys() - set(listed)):
        yield f"model.tmdl lacks `ref table` for {name}."
    for name in sorted(set(listed) - present.keys()):
        yield f"model.tmdl refers to {name}, which no file defines."


def _every(nodes: Sequence[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        yield from _every(node.children)


def _tags(model: Model) -> Iterator[str]:
    nodes = [n for nodes in model.files.values() for n in _every(nodes)]
    tags = Counter(n.properties.get("lineageTag") for n in nodes)
    for node in nodes:
        tag = node.properties.get("lineageTag")
        if node.kind in {"table", "column", "measure", "expression"}:
            if tag is None:
                yield f"{node.kind} {node.name} has no lineageTag."
            elif tags[tag] > 1:
                yield f"{node.kind} {node.name} shares its lineageTag {tag}."


def _table(table: Node) -> Iterator[str]:
    names = [c.name.casefold() for c in (*table.of("column"), *table.of("measure"))]
    for name, count in Counter(names).items():
        if count > 1:
            yield f"{table.name} has {count} columns or measures called {name}."
    partitions = table.of("partition")
    if len(partitions) != 1:
        yield f"{table.name} has {len(partitions)} partitions instead of one."
    if "dataCategory" in table.properties:
        keys = [c.name for c in table.of("column") if "isKey" in c.properties]
        if len(keys) != 1:
            yield f"The date table {table.name} has {len(keys)} keys instead of one."


def _told(table: Node) -> Iterator[str]:
    """What a report author reads of each object."""
    for node in (table, *table.of("column"), *table.of("measure")):
        if not node.description or not all(node.description):
            yield f"{node.kind} {node.name} has no description."
    for measure in table.of("measure"):
        for key in ("formatString", "displayFolder"):
            if key not in measure.properties:
                yield f"measure {measure.name} has no {key}."
    for column in table.of("column"):
        if column.properties.get("summarizeBy") != "none":
            yield f"column {column.name} is summed up where no measure asks for it."


def _measure_names(model: Model) -> Iterator[str]:
    measures = Counter(m.name.casefold() for t in model.tables for m in t.of("measure"))
    for name, count in measures.items():
        if count > 1:
            yield f"{count} measures are called {name}."


_END = re.compile(r"(?:'((?:[^']|'')+)'|([^.']+))\.(?:'((?:[^']|'')+)'|([^.']+))")


def _relationships(model: Model) -> Iterator[str]:
    active: Counter[tuple[str, str]] = Counter()
    for relationship in model.relationships:
        ends = []
        for key in ("fromColumn", "toColumn"):
            match = _END.fullmatch(relationship.properties.get(key, ""))
            if not match:
                yield f"relationship {relationship.name}: {key} names no column."
                break
            table, column = match[1] or match[2], match[3] or match[4]
            if not model.has(table, column, is_measure=False):
                yield f"relationship {relationship.name}: no column {table}[{column}]."
            ends.append((table, column))
        if len(ends) == 2:
            yield from _one_side(ends[1], model)
            active[ends[0][0], ends[1][0]] += "isActive" not in relationship.properties
    for (many, one), count in active.items():
        if count != 1:
            yield f"{count} relationships from {many} to {one} are active, not one."
    for name, count in Counter(r.name for r in model.relationships).items():
        if count > 1:
            yield f"{count} relationships are called {name}."


def _one_side(end: tuple[str, str], model: Model) -> Iterator[str]:
    for table in model.tables:
        for column in table.of("column"):
            if (table.name, column.name) == end and "isKey" not in column.properties:
                yield f"{end[0]}[{end[1]}] is on the side of one, but is no key."


def _cycles(model: Model) -> Iterator[str]:
    uses = {
        m.name: measures_of(m.value or "")
        for t in model.tables
        for m in t.of("measure")
    }
    for start, used in uses.items():
        reached: set[str] = set()
        ahead = set(used)
        while ahead:
            name = ahead.pop()
            if name not in reached:
                reached.add(name)
                ahead |= uses.get(name, set())
        if start in reached:
            yield f"measure {start} refers to itself."
