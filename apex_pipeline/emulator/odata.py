"""Reads OData expressions and key predicates into a small syntax tree.

The language is that of Microsoft Learn, "Filter rows using OData"; arithmetic and the
functions that OData has beyond it are not part of it here and answer 501.
"""

import re
from dataclasses import dataclass, field

from apex_pipeline.emulator import web_api_errors
from apex_pipeline.emulator.syntax_tree import (
    Comparison,
    Function,
    Lambda,
    Literal,
    Logical,
    Negation,
    Node,
    Operand,
    Property,
    QueryFunction,
)

_GUID = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
_MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,7})?)?(?:Z|[+-]\d\d:\d\d)?"
_TOKEN = re.compile(
    rf"""\s*(?:
        (?P<string>'(?:[^']|'')*'|"[^"]*")
      | (?P<enum>Microsoft\.Dynamics\.CRM\.\w+'(?:[^']|'')*')
      | (?P<guid>{_GUID})
      | (?P<moment>{_MOMENT})
      | (?P<date>\d{{4}}-\d\d-\d\d)
      | (?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
      | (?P<name>[A-Za-z_@$][\w.@/$]*)
      | (?P<sign>[(),\[\]=:])
    )""",
    re.VERBOSE,
)
_MAX_TOKENS = 20_000
_MAX_DEPTH = 100

_VALUE_PARAMETERS = frozenset(
    {"PropertyValue", "PropertyValue1", "PropertyValue2", "PropertyValues"}
)

COMPARISONS = {
    "eq": "Equal",
    "ne": "NotEqual",
    "gt": "GreaterThan",
    "ge": "GreaterThanOrEqual",
    "lt": "LessThan",
    "le": "LessThanOrEqual",
}


def parse_filter(text: str, aliases: dict[str, str] | None = None) -> Node:
    """Parse a `$filter`; `aliases` are the query's `@name` parameters."""
    reader = _TokenReader(text, aliases or {})
    node = reader.disjunction(0)
    reader.expect_end()
    return node


def parse_key(text: str) -> Literal | dict[str, Literal]:
    """Parse what stands between the parentheses of a resource path."""
    reader = _TokenReader(text, {})
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


def malformed_key() -> web_api_errors.WebApiError:
    """Observed text of a key that cannot be parsed."""
    return web_api_errors.malformed_url(
        "URL was not parsed due to an ODataUnrecognizedPathException. Resource not"
        " found for the segment provided in the URL."
    )


@dataclass(slots=True)
class _TokenReader:
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
            if name.rpartition("/")[2] in {"any", "all"}:
                return self._lambda(depth)
            call = self._call()
            if self.peek()[1] in COMPARISONS:
                raise web_api_errors.not_emulated(f"comparing {name}(…) in $filter.")
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

    def _lambda(self, depth: int) -> Lambda:
        path, _, operator = self.take()[1].rpartition("/")
        self._expect("(")
        if self.peek() == ("sign", ")") and operator == "any":
            self.take()
            return Lambda(path, operator, "", None)
        _, variable = self.take()
        self._expect(":")
        condition = self.disjunction(depth + 1)
        self._expect(")")
        return Lambda(path, operator, variable, condition)

    def _query_function(self, name: str) -> QueryFunction:
        property_name = ""
        values: list[Literal] = []
        while True:
            _, parameter = self.take()
            self._expect("=")
            given = self._argument()
            if parameter == "PropertyName":
                property_name = given[0].text
            elif parameter in _VALUE_PARAMETERS:
                values += given
            else:
                raise web_api_errors.malformed_url(
                    f"{name} has no parameter '{parameter}'."
                )
            if self.peek() != ("sign", ","):
                break
            self.take()
        self._expect(")")
        return QueryFunction(name, property_name, tuple(values))

    def _argument(self) -> list[Literal]:
        """A literal, a list of them, or the alias of either."""
        kind, text = self.peek()
        if kind == "name" and text.startswith("@"):
            self.take()
            reader = self._aliased(text)
            values = reader._argument()  # noqa: SLF001 # a reader of the same class
            reader.expect_end()
            return values
        if (kind, text) != ("sign", "["):
            return [self.literal()]
        self.take()
        values = [self.literal(listed=True)]
        while self.peek() == ("sign", ","):
            self.take()
            values.append(self.literal(listed=True))
        self._expect("]")
        return values

    def _aliased(self, name: str) -> "_TokenReader":
        if name not in self.aliases:
            raise self._syntax_error(self.position)
        return _TokenReader(self.aliases[name], {})

    def _operand(self) -> Operand:
        kind, text = self.peek()
        if kind == "name" and text not in {"true", "false", "null"}:
            self.take()
            if not text.startswith("@"):
                return Property(text)
            reader = self._aliased(text)
            literal = reader.literal()
            reader.expect_end()
            return literal
        return self.literal()

    def literal(self, *, listed: bool = False) -> Literal:
        """Double quotes stand around members of a list alone, which is JSON."""
        kind, text = self.take()
        if kind == "string" and (listed or text[0] == "'"):
            return Literal("Edm.String", text[1:-1].replace(text[0] * 2, text[0]))
        if kind == "enum":
            name, _, member = text[:-1].partition("'")
            return Literal(name, member)
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

    def _syntax_error(self, position: int) -> web_api_errors.WebApiError:
        return web_api_errors.malformed_url(
            f"Syntax error at position {position} in '{self.text[:200]}'."
        )


def _integer_type(number: int) -> str:
    return "Edm.Int32" if -(2**31) <= number < 2**31 else "Edm.Int64"
