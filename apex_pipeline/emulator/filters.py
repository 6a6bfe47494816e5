"""Turns a parsed `$filter` into SQL with bound values, or asks it of a definition."""

from collections.abc import Callable, Mapping

from apex_pipeline.emulator import errors
from apex_pipeline.emulator.codecs import Stored
from apex_pipeline.emulator.odata import (
    COMPARISONS,
    Comparison,
    Function,
    Literal,
    Logical,
    Negation,
    Node,
    Operand,
    Property,
    QueryFunction,
)
from apex_pipeline.emulator.schema import Column, Table
from apex_pipeline.emulator.storage import quoted

Sql = tuple[str, list[Stored]]

_OPERATORS = {"eq": "=", "ne": "<>", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_MIRRORED = {"gt": "lt", "ge": "le", "lt": "gt", "le": "ge", "eq": "eq", "ne": "ne"}
_PATTERNS = {"contains": "%{}%", "startswith": "{}%", "endswith": "%{}"}
_MATCHERS: dict[str, Callable[[str, str], bool]] = {
    "contains": lambda text, part: part in text,
    "startswith": lambda text, part: text.startswith(part),
    "endswith": lambda text, part: text.endswith(part),
}


def to_sql(node: Node, table: Table) -> Sql:
    """A condition for WHERE.

    Raises:
        WebApiError: A column is unknown, types differ, or the function is not emulated.
    """
    match node:
        case Logical(operator, operands):
            parts = [to_sql(each, table) for each in operands]
            joined = f" {operator.upper()} ".join(sql for sql, _ in parts)
            return f"({joined})", [value for _, values in parts for value in values]
        case Negation(operand):
            sql, values = to_sql(operand, table)
            return f"(NOT COALESCE({sql}, 0))", values
        case Comparison(operator, left, right):
            return _comparison(operator, left, right, table)
        case Function(name, arguments):
            return _function(name, arguments, table)
        case QueryFunction():
            return _query_function(node, table)
        case Property(name):
            return f"({quoted(_column(name, table).name)} = 1)", []


def _comparison(operator: str, left: Operand, right: Operand, table: Table) -> Sql:
    """Null compares as in "Filter rows": `eq null` is a test, and `ne` takes nulls in.

    That `ne` holds for null is OData's rule and how FetchXML is observed to behave.
    """
    if isinstance(left, Literal):
        left, right, operator = right, left, _MIRRORED[operator]
    if isinstance(left, Literal):
        raise errors.not_emulated("comparing two constants in $filter.")
    column = _column(left.name, table)
    name = quoted(column.name)
    if isinstance(right, Property):
        other = quoted(_column(right.name, table).name)
        return f"({name} {_OPERATORS[operator]} {other})", []
    if right.edm == "null":
        if operator not in {"eq", "ne"}:
            return "(0)", []
        return f"({name} IS {'' if operator == 'eq' else 'NOT '}NULL)", []
    value = _bind(column, right, COMPARISONS[operator])
    if operator == "ne":
        return f"({name} <> ? OR {name} IS NULL)", [value]
    return f"({name} {_OPERATORS[operator]} ?)", [value]


def _function(name: str, arguments: tuple[Operand, ...], table: Table) -> Sql:
    """The three string functions; `%` and `_` stand for themselves here.

    On the service they are wildcards in some places, which is undocumented.
    """
    if name not in _PATTERNS or len(arguments) != 2:
        raise errors.not_emulated(f"the function {name} in $filter.")
    left, right = arguments
    if not isinstance(left, Property) or not isinstance(right, Literal):
        raise errors.not_emulated(f"these operands of {name} in $filter.")
    column = _column(left.name, table)
    if column.codec.edm != "Edm.String" or right.edm != "Edm.String":
        raise errors.malformed_url(
            f"No function signature for the function with name '{name}' matches the"
            " specified arguments."
        )
    text = right.text
    for special in "\\%_":
        text = text.replace(special, "\\" + special)
    pattern = _PATTERNS[name].format(text)
    return f"({quoted(column.name)} LIKE ? ESCAPE '\\')", [pattern]


def _query_function(node: QueryFunction, table: Table) -> Sql:
    """In, NotIn, Between and NotBetween, from "Web API query functions"."""
    name = node.name.rpartition(".")[2]
    column = _column(node.property_name, table)
    quoted_name = quoted(column.name)
    values = [_bind(column, _retyped(each, column), "Equal") for each in node.values]
    if name in {"In", "NotIn"} and values:
        marks = ", ".join("?" * len(values))
        negation = "NOT " if name == "NotIn" else ""
        return f"({quoted_name} {negation}IN ({marks}))", values
    if name in {"Between", "NotBetween"} and len(values) == 2:
        negation = "NOT " if name == "NotBetween" else ""
        return f"({quoted_name} {negation}BETWEEN ? AND ?)", values
    raise errors.not_emulated(f"the query function {node.name} in $filter.")


def _retyped(literal: Literal, column: Column) -> Literal:
    """Query functions take every value as a string ("Web API query functions")."""
    if literal.edm != "Edm.String" or column.codec.edm == "Edm.String":
        return literal
    edm = column.codec.edm
    if edm in {"Edm.Guid", "Edm.DateTimeOffset", "Edm.Date", "Edm.Boolean"}:
        return Literal(edm, literal.text)
    return Literal("Edm.Decimal", literal.text)


def _bind(column: Column, literal: Literal, operation: str) -> Stored:
    try:
        return column.codec.literal(literal)
    except (TypeError, ValueError, ArithmeticError):
        raise errors.malformed_url(
            "A binary operator with incompatible types was detected. Found operand"
            f" types '{column.codec.edm}' and '{literal.edm}' for operator kind"
            f" '{operation}'."
        ) from None


def _column(name: str, table: Table) -> Column:
    column = table.shown(name)
    if column is None:
        raise errors.no_such_property(name, table.name)
    return column


def matches(node: Node, definition: Mapping[str, object]) -> bool:
    """Whether a table's, column's or key's definition satisfies the condition.

    Raises:
        WebApiError: The condition is beyond what definitions can be asked.
    """
    match node:
        case Logical("and", operands):
            return all(matches(each, definition) for each in operands)
        case Logical(_, operands):
            return any(matches(each, definition) for each in operands)
        case Negation(operand):
            return not matches(operand, definition)
        case Comparison(operator, Property(name), Literal() as literal):
            return _compare(operator, _look_up(name, definition), literal)
        case Function(name, (Property(field), Literal() as literal)) if (
            name in _MATCHERS
        ):
            text = str(_look_up(field, definition) or "").lower()
            return _MATCHERS[name](text, literal.text.lower())
        case _:
            raise errors.not_emulated("this $filter on definitions.")


def _compare(operator: str, value: object, literal: Literal) -> bool:
    """Equality only: definitions are names, switches and numbers."""
    if operator not in {"eq", "ne"}:
        raise errors.not_emulated(f"the operator {operator} on definitions.")
    if literal.edm == "null":
        equal = value is None
    elif isinstance(value, bool):
        equal = str(value).lower() == literal.text
    else:
        equal = str(value).lower() == literal.text.lower()
    return equal is (operator == "eq")


def _look_up(path: str, definition: Mapping[str, object]) -> object:
    value: object = definition
    for step in path.split("/"):
        if not isinstance(value, Mapping) or step not in value:
            raise errors.no_such_property(step, "EntityMetadata")
        value = value[step]
    return value
