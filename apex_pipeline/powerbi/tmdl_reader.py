"""Read TMDL strictly: what Microsoft's parser refuses, and what its writer changes.

The Tabular Object Model itself needs .NET. This reader knows the part of the language
that our model uses, and takes everything else for a mistake.
"""

import re
from collections.abc import Sequence

from apex_pipeline.powerbi.tmdl import quoted
from apex_pipeline.powerbi.tmdl_grammar import KINDS, Node, TmdlKind, Value, rendered

_ROOTS = {
    "database.tmdl": "database",
    "model.tmdl": "model",
    "expressions.tmdl": "expression",
    "relationships.tmdl": "relationship",
}
_DESCRIBED = {"table", "measure", "column", "expression"}
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HEAD = re.compile(
    r"(?P<kind>\w+)(?: (?P<name>(?:table )?'(?:[^']|'')+'|[^'=]+?))?(?: =(?: (?P<value>.+))?)?"
)
_PROPERTY = re.compile(r"(?P<key>\w+)(?:(?P<mark>:| =)(?: (?P<value>.+))?)?")


class TmdlError(ValueError):
    """A line that the parser would refuse."""


def read_tmdl(path: str, text: str) -> list[Node]:
    """Read the objects of one file of the folder `definition`.

    Raises:
        TmdlError: Microsoft's parser refuses the file, or its writer would change it.
    """
    root = "table" if path.startswith("tables/") else _ROOTS.get(path)
    if root is None:
        raise TmdlError(f"{path}: `apex powerbi build` writes no such file.")
    reader = _TmdlReader(path, text.split("\n"))
    nodes = reader.objects(0, (root,))
    if reader.at < len(reader.lines):
        raise reader.error("not expected here")
    if root not in {"expression", "relationship"} and len(nodes) != 1:
        raise TmdlError(f"{path}: holds {len(nodes)} objects instead of one {root}.")
    _compare(path, text, "\n".join(rendered(nodes)) + "\n")
    return nodes


def _compare(path: str, text: str, canonical: str) -> None:
    found, wanted = text.split("\n"), canonical.split("\n")
    for number, (one, other) in enumerate(zip(found, wanted, strict=False), 1):
        if one != other:
            raise TmdlError(
                f"{path}:{number}: {one!r} would be written back as {other!r}."
            )
    if len(found) != len(wanted):
        raise TmdlError(f"{path}: does not end with one blank line.")


class _TmdlReader:
    """Takes one file apart, from its first line to its last."""

    def __init__(self, path: str, lines: Sequence[str]) -> None:
        self.path, self.lines, self.at = path, lines, 0

    def error(self, what: str) -> TmdlError:
        line = self.lines[self.at] if self.at < len(self.lines) else "(end of file)"
        return TmdlError(f"{self.path}:{self.at + 1}: {what}: {line.strip()!r}.")

    def _skip_blank(self) -> None:
        while self.at < len(self.lines) and not self.lines[self.at]:
            self.at += 1

    def _depth(self, *, in_expression: bool = False) -> int:
        """Tabs before the current line; -1 at the end."""
        if self.at >= len(self.lines):
            return -1
        line = self.lines[self.at]
        if line != line.rstrip():
            raise self.error("ends with white space")
        text = line.lstrip("\t")
        if text.startswith(" ") and not in_expression:
            raise self.error("is indented by spaces; TMDL takes tabs")
        return len(line) - len(text)

    def objects(self, depth: int, kinds: tuple[str, ...]) -> list[Node]:
        found: list[Node] = []
        while True:
            self._skip_blank()
            if self._depth() != depth:
                return found
            start, description = self.at, self._description(depth)
            match = _HEAD.fullmatch(self.lines[self.at][depth:])
            if not match or match["kind"] not in kinds:
                if description or depth == 0:
                    raise self.error(f"is none of {', '.join(kinds)}")
                self.at = start
                return found
            found.append(self._object(depth, match, description))

    def _description(self, depth: int) -> tuple[str, ...]:
        lines = []
        while self._depth() == depth and self.lines[self.at][depth:].startswith("///"):
            lines.append(self.lines[self.at][depth + 3 :].removeprefix(" "))
            self.at += 1
        return tuple(lines)

    def _object(
        self, depth: int, match: re.Match[str], description: tuple[str, ...]
    ) -> Node:
        kind = KINDS[match["kind"]]
        if kind.is_named != bool(match["name"]):
            raise self.error("lacks its name" if kind.is_named else "takes no name")
        if description and match["kind"] not in _DESCRIBED:
            raise self.error("takes no description")
        if (kind.default is None) != (
            "=" not in match[0].replace(match["name"] or "", "")
        ):
            raise self.error(
                "takes no value" if kind.default is None else "lacks a value"
            )
        node = Node(match["kind"], self._name(match), self.at + 1, match["value"])
        node.description = description
        if kind.default is None:
            self.at += 1
        else:
            node.value = self._value(kind.default, node.value, depth)
        self._properties(node, kind, depth + 1)
        # What a model holds stands at its own level.
        below = depth if match["kind"] == "model" else depth + 1
        if kind.children:
            node.children += self.objects(below, kind.children)
        return node

    def _name(self, match: re.Match[str]) -> str:
        name: str = match["name"] or ""
        if match["kind"] == "ref":
            kind, _, name = name.partition(" ")
            if kind != "table":
                raise self.error("refers to what the model does not hold")
        plain = name[1:-1].replace("''", "'") if name.startswith("'") else name
        if quoted(plain) != name:
            raise self.error("is quoted where it need not be, or the reverse")
        return plain

    def _properties(self, node: Node, kind: TmdlKind, depth: int) -> None:
        while self._depth() == depth:
            match = _PROPERTY.fullmatch(self.lines[self.at][depth:])
            key = match["key"] if match else ""
            if key in kind.children and key == "dataAccessOptions":
                node.children += self.objects(depth, (key,))
                continue
            if not match or key not in kind.properties:
                # An object below begins after a blank line.
                raise self.error(f"is no property of a {node.kind}")
            if key in node.properties:
                raise self.error("is given twice")
            node.properties[key] = self._property(kind.properties[key], match, depth)

    def _property(self, kind: Value, match: re.Match[str], depth: int) -> str:
        mark, value = match["mark"], match["value"]
        if kind == "flag":
            if mark:
                raise self.error("is written without a value where it is true")
            self.at += 1
            return "true"
        wanted = " =" if kind == "expression" else ":"
        if mark != wanted:
            raise self.error(f"takes its value behind {wanted.strip()!r}")
        if kind != "expression" and value is None:
            raise self.error("lacks a value")
        return self._value(kind, value, depth)

    def _value(self, kind: Value, value: str | None, depth: int) -> str:
        """Take a value, on the current line or those below it."""
        if kind == "expression" and value is None:
            self.at += 1
            lines = []
            while self._depth(in_expression=True) >= depth + 2:
                lines.append(self.lines[self.at][depth + 2 :])
                self.at += 1
            if not lines:
                raise self.error("an expression is missing before this line")
            return "\n".join(lines)
        if value is None:
            raise self.error("lacks a value")
        if isinstance(kind, tuple) and value not in kind:
            raise self.error(f"is none of {', '.join(kind)}")
        if kind == "number" and not re.fullmatch("[0-9]+", value):
            raise self.error("is no whole number")
        if kind == "boolean" and value != "false":
            raise self.error("is written only where it is false")
        if kind == "uuid" and not _UUID.fullmatch(value):
            raise self.error("is no UUID")
        self.at += 1
        return value
