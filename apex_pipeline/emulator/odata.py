"""Reads OData expressions and key predicates into a small syntax tree.

The language is that of Microsoft Learn, "Filter rows using the Web API"; arithmetic,
lambda operators and date functions are not part of it here and answer 501 or 400.
"""

import re
from dataclasses import dataclass, field

from apex_pipeline.emulator import errors

_GUID = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
_MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,7})?)?(?:Z|[+-]\d\d:\d\d)?"
_TOKEN = re.compile(
    rf"""\s*(?:
        (?P<string>'(?:[^']|'')*'|"[^"]*")
      | (?P<guid>{_GUID})
      | (?P<moment>{_MOMENT})
      | (?P<date>\d{{4}}-\d\d-\d\d)
      | (?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
      | (?P<name>[A-Za-z_@$][\w.@/$]*)
      | (?P<sign>[(),\[\]=])
    )""",
    re.VERBOSE,
)
_EXPANSION = re.compile(r"(\w+)(?:\(((?:[^()]|\([^()]*\))*)\))?(?:,|$)")
_MAX_TOKENS = 20_000
_MAX_DEPTH = 100

COMPARISONS = {
    "eq": "Equal",
    "ne": "NotEqual",
    "gt": "GreaterThan",
    "ge": "GreaterThanOrEqual",
    "lt": "LessThan",
    "le": "LessThanOrEqual",
}


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant: its OData type (`null` for null) and its text, unquoted."""

    edm: str
    text: str


@dataclass(frozen=True, slots=True)
class Property:
    """A column, or a path over a navigation property such as `sdkmessageid/name`."""

    name: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """`left operator right`, where one side is a property."""

    operator: str
    left: "Operand"
    right: "Operand"


@dataclass(frozen=True, slots=True)
class Logical:
    """`and` or `or` over two or more operands."""

    operator: str
    operands: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """`not operand`."""

    operand: "Node"


@dataclass(frozen=True, slots=True)
class Function:
    """A call by position, such as `contains(a,'b')`."""

    name: str
    arguments: tuple["Operand", ...]


@dataclass(frozen=True, slots=True)
class QueryFunction:
    """A call by name, such as `Microsoft.Dynamics.CRM.In(PropertyName='a',…)`."""

    name: str
    property_name: str
    values: tuple[Literal, ...]


Operand = Literal | Property
Node = Comparison | Logical | Negation | Function | QueryFunction | Property


def parse_filter(text: str, aliases: dict[str, str] | None = None) -> Node:
    """Parse a `$filter`; `aliases` are the query's `@name` parameters.

    Raises:
        WebApiError: It is not an expression.
    """
    reader = _Reader(text, aliases or {})
    node = reader.disjunction(0)
    reader.expect_end()
    return node


def parse_key(text: str) -> Literal | dict[str, Literal]:
    """Parse what stands between the parentheses of a resource path.

    Raises:
        WebApiError: It is neither a GUID nor a list of `name=value`.
    """
    reader = _Reader(text, {})
    if reader.tokens and reader.tokens[0][0] == "guid":
        literal = reader.literal()
        reader.expect_end()
        return literal
    pairs: dict[str, Literal] = {}
    while True:
        kind, name = reader.take()
        if kind != "name" or reader.take() != ("sign", "="):
            raise malformed_key()
        pairs[name] = reader.literal()
        if reader.at_end():
            return pairs
        if reader.take() != ("sign", ","):
            raise malformed_key()


def parse_expand(text: str) -> list[tuple[str, dict[str, str]]]:
    """Read `Attributes($select=a,b),Keys` as names with their inner options."""
    found = []
    for match in _EXPANSION.finditer(text):
        pairs = (part.partition("=") for part in (match[2] or "").split(";") if part)
        found.append((match[1], {name: value for name, _, value in pairs}))
    return found


def malformed_key() -> errors.WebApiError:
    """Observed text of a key that cannot be parsed."""
    return errors.malformed_url(
        "URL was not parsed due to an ODataUnrecognizedPathException. Resource not"
        " found for the segment provided in the URL."
    )


@dataclass(slots=True)
class _Reader:
    text: str
    aliases: dict[str, str]
    tokens: list[tuple[str, str]] = field(init=False)
    position: int = 0

    def __post_init__(self) -> None:
        self.tokens = []
        place = 0
        stripped = self.text.rstrip()
        while place < len(stripped):
            match = _TOKEN.match(stripped, place)
            if match is None or len(self.tokens) > _MAX_TOKENS:
                raise self._syntax_error(place)
            kind = match.lastgroup or ""
            self.tokens.append((kind, match[kind]))
            place = match.end()

    def at_end(self) -> bool:
        return self.position >= len(self.tokens)

    def expect_end(self) -> None:
        if not self.at_end():
            raise self._syntax_error(self.position)

    def peek(self) -> tuple[str, str]:
        return ("end", "") if self.at_end() else self.tokens[self.position]

    def take(self) -> tuple[str, str]:
        token = self.peek()
        self.position += 1
        return token

    def disjunction(self, depth: int) -> Node:
        return self._chain("or", depth)

    def _chain(self, operator: str, depth: int) -> Node:
        """`or` binds weaker than `and`, which binds weaker than `not`."""
        operands = [self._link(operator, depth)]
        while self.peek() == ("name", operator):
            self.take()
            operands.append(self._link(operator, depth))
        return operands[0] if len(operands) == 1 else Logical(operator, tuple(operands))

    def _link(self, operator: str, depth: int) -> Node:
        return self._chain("and", depth) if operator == "or" else self._term(depth)

    def _term(self, depth: int) -> Node:
        if depth > _MAX_DEPTH:
            raise self._syntax_error(self.position)
        if self.peek() == ("name", "not"):
            self.take()
            return Negation(self._term(depth + 1))
        if self.peek() == ("sign", "("):
            self.take()
            node = self.disjunction(depth + 1)
            self._expect(")")
            return node
        kind, name = self.peek()
        following = self.tokens[self.position + 1 : self.position + 2]
        if kind == "name" and following == [("sign", "(")]:
            call = self._call()
            if self.peek()[1] in COMPARISONS:
                raise errors.not_emulated(f"comparing {name}(…) in $filter.")
            return call
        left = self._operand()
        kind, operator = self.peek()
        if kind == "name" and operator in COMPARISONS:
            self.take()
            return Comparison(operator, left, self._operand())
        if isinstance(left, Property) and (
            kind == "end" or operator in {"and", "or", ")"}
        ):
            return left
        raise self._syntax_error(self.position)

    def _call(self) -> Node:
        _, name = self.take()
        self._expect("(")
        if name.startswith("Microsoft.Dynamics.CRM."):
            return self._query_function(name)
        arguments = [self._operand()]
        while self.peek() == ("sign", ","):
            self.take()
            arguments.append(self._operand())
        self._expect(")")
        return Function(name, tuple(arguments))

    def _query_function(self, name: str) -> QueryFunction:
        property_name = ""
        values: list[Literal] = []
        while True:
            _, parameter = self.take()
            self._expect("=")
            if parameter == "PropertyName":
                property_name = self.literal().text
            elif parameter in {"PropertyValue", "PropertyValue1", "PropertyValue2"}:
                values.append(self.literal())
            else:
                values.extend(self._list())
            if self.peek() != ("sign", ","):
                break
            self.take()
        self._expect(")")
        return QueryFunction(name, property_name, tuple(values))

    def _list(self) -> list[Literal]:
        self._expect("[")
        values = [self.literal()]
        while self.peek() == ("sign", ","):
            self.take()
            values.append(self.literal())
        self._expect("]")
        return values

    def _operand(self) -> Operand:
        kind, text = self.peek()
        if kind == "name" and text not in {"true", "false", "null"}:
            self.take()
            if not text.startswith("@"):
                return Property(text)
            if text not in self.aliases:
                raise self._syntax_error(self.position)
            return _Reader(self.aliases[text], {}).literal()
        return self.literal()

    def literal(self) -> Literal:
        kind, text = self.take()
        if kind == "string":
            return Literal("Edm.String", text[1:-1].replace(text[0] * 2, text[0]))
        if kind == "number":
            whole = text.lstrip("-").isdigit()
            edm = "Edm.Decimal" if not whole else _integer_type(int(text))
            return Literal(edm, text)
        kinds = {"guid": "Edm.Guid", "moment": "Edm.DateTimeOffset", "date": "Edm.Date"}
        if kind in kinds:
            return Literal(kinds[kind], text)
        if text in {"true", "false"}:
            return Literal("Edm.Boolean", text)
        if text == "null":
            return Literal("null", text)
        raise self._syntax_error(self.position - 1)

    def _expect(self, sign: str) -> None:
        if self.take() != ("sign", sign):
            raise self._syntax_error(self.position - 1)

    def _syntax_error(self, position: int) -> errors.WebApiError:
        return errors.malformed_url(
            f"Syntax error at position {position} in '{self.text[:200]}'."
        )


def _integer_type(number: int) -> str:
    return "Edm.Int32" if -(2**31) <= number < 2**31 else "Edm.Int64"
