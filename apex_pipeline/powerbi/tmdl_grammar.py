"""The part of TMDL that our model uses, and how Microsoft's writer lays it out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from apex_pipeline.powerbi.tmdl import quoted

Value = (
    Literal["text", "flag", "boolean", "number", "expression", "uuid"] | tuple[str, ...]
)


@dataclass(frozen=True, slots=True)
class TmdlKind:
    """What an object of TMDL may hold.

    Attributes:
        properties: In the order in which the writer puts them, with what they hold.
        children: Kinds of objects below it, in the writer's order.
        default: What stands behind the equals sign after its name.
        is_named: Whether a name follows the keyword.
    """

    properties: Mapping[str, Value] = field(default_factory=dict)
    children: tuple[str, ...] = ()
    default: Value | None = None
    is_named: bool = True


_TYPES = ("string", "int64", "double", "decimal", "dateTime", "boolean", "binary")

KINDS = {
    "database": TmdlKind({"compatibilityLevel": "number"}, is_named=False),
    "model": TmdlKind(
        {
            "culture": "text",
            "defaultPowerBIDataSourceVersion": (
                "powerBI_V1",
                "powerBI_V2",
                "powerBI_V3",
            ),
            "discourageImplicitMeasures": "flag",
            "sourceQueryCulture": "text",
        },
        ("dataAccessOptions", "annotation", "ref"),
    ),
    "dataAccessOptions": TmdlKind(
        {"legacyRedirects": "flag", "returnErrorValuesAsNull": "flag"}, is_named=False
    ),
    "expression": TmdlKind({"lineageTag": "uuid"}, ("annotation",), "expression"),
    "relationship": TmdlKind(
        {"isActive": "boolean", "fromColumn": "text", "toColumn": "text"}
    ),
    "table": TmdlKind(
        {"lineageTag": "uuid", "dataCategory": ("Time",)},
        ("measure", "column", "partition", "annotation"),
    ),
    "measure": TmdlKind(
        {
            "formatString": "text",
            "isHidden": "flag",
            "displayFolder": "text",
            "lineageTag": "uuid",
        },
        ("annotation",),
        "expression",
    ),
    "column": TmdlKind(
        {
            "dataType": _TYPES,
            "isHidden": "flag",
            "isKey": "flag",
            "formatString": "text",
            "lineageTag": "uuid",
            "summarizeBy": ("none", "sum", "min", "max", "count", "average"),
            "isNameInferred": "flag",
            "sourceColumn": "text",
        },
        ("annotation",),
    ),
    "partition": TmdlKind(
        {"mode": ("import", "directQuery", "dual"), "source": "expression"},
        (),
        ("m", "calculated"),
    ),
    "annotation": TmdlKind(default="text"),
    "ref": TmdlKind(),
}


@dataclass(slots=True)
class Node:
    """An object as the file has it.

    Attributes:
        value: What stands behind the equals sign: an expression, or a kind.
        line: Number of its first line, from 1.
    """

    kind: str
    name: str
    line: int
    value: str | None = None
    description: tuple[str, ...] = ()
    properties: dict[str, str] = field(default_factory=dict)
    children: list["Node"] = field(default_factory=list)

    def of(self, kind: str) -> list["Node"]:
        """Its children of one kind."""
        return [child for child in self.children if child.kind == kind]


def rendered(nodes: Sequence[Node], depth: int = 0) -> Iterator[str]:
    """The objects as Microsoft's writer gives them."""
    for number, node in enumerate(nodes):
        yield from _rendered_one(node, depth)
        follows = nodes[number + 1].kind if number + 1 < len(nodes) else ""
        if not (node.kind == "ref" and follows == "ref"):
            yield ""


def _rendered_one(node: Node, depth: int) -> Iterator[str]:
    tabs, kind = "\t" * depth, KINDS[node.kind]
    yield from (f"{tabs}/// {line}" for line in node.description)
    head = node.kind + " table" * (node.kind == "ref")
    if kind.is_named:
        head += f" {quoted(node.name)}"
    if kind.default is not None:
        yield from _assigned(f"{tabs}{head}", node.value or "", depth)
    else:
        yield tabs + head
    for key, value in kind.properties.items():
        if key not in node.properties:
            continue
        if value == "flag":
            yield f"{tabs}\t{key}"
        elif value == "expression":
            yield from _assigned(f"{tabs}\t{key}", node.properties[key], depth + 1)
        else:
            yield f"{tabs}\t{key}: {node.properties[key]}"
    for options in node.of("dataAccessOptions"):
        yield from _rendered_one(options, depth + 1)
    below = [
        child
        for name in kind.children
        for child in node.of(name)
        if name != "dataAccessOptions"
    ]
    if below:
        yield ""
        lines = list(rendered(below, depth if node.kind == "model" else depth + 1))
        yield from lines[:-1]


def _assigned(head: str, value: str, depth: int) -> Iterator[str]:
    if "\n" not in value:
        yield f"{head} = {value}"
        return
    yield f"{head} ="
    yield from ("\t" * (depth + 2) + line for line in value.split("\n"))
