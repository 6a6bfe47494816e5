"""Turns a parsed `$filter` into SQL with bound values.

From "Filter rows using OData": comparisons, string functions with wildcards, query
functions, paths over lookups, and lambda operators over collections.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from apex_pipeline.emulator import odata, query_functions, relationships, web_api_errors
from apex_pipeline.emulator.codecs import Stored
from apex_pipeline.emulator.emulated_environment import EmulatedEnvironment
from apex_pipeline.emulator.odata import COMPARISONS
from apex_pipeline.emulator.schema import EmulatedColumn, Table
from apex_pipeline.emulator.security import Principal
from apex_pipeline.emulator.storage import Sql, joined, quoted
from apex_pipeline.emulator.syntax_tree import (
    Comparison,
    Function,
    Lambda,
    Literal,
    Logical,
    Negation,
    Node,
    Property,
    QueryFunction,
)

_OPERATORS = {"eq": "=", "ne": "<>", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_PATTERNS = {"contains": "%{}%", "startswith": "{}%", "endswith": "%{}"}


@dataclass(frozen=True, slots=True)
class Scope:
    """What names in an expression stand for.

    Attributes:
        env: Where other tables are found.
        user: Who asks, and has to be allowed to read them.
        table: The table whose columns are named.
        alias: Its name in SQL; empty for the table's own.
        variables: Of the lambda operators around.
        depth: How many tables are joined already.
    """

    env: EmulatedEnvironment
    user: Principal
    table: Table
    alias: str = ""
    variables: Mapping[str, "Scope"] = field(default_factory=dict)
    depth: int = 0

    @property
    def name(self) -> str:
        """The table's name in SQL."""
        return self.alias or quoted(self.table.name)

    def beyond(self, navigation: relationships.Navigation) -> "Scope":
        """The scope of the table that a navigation property leads to."""
        self.user.require("Read", navigation.other)
        depth = self.depth + 1
        return replace(
            self, table=navigation.other, alias=f"joined_{depth}", depth=depth
        )


@dataclass(frozen=True, slots=True)
class Reference:
    """A column that a path leads to, and its value in SQL."""

    column: EmulatedColumn
    sql: str
    table: Table


def resolve(path: str, scope: Scope) -> Reference:
    """The column at the end of a path such as `createdby/fullname`."""
    head, _, rest = path.partition("/")
    if head in scope.variables and rest:
        return resolve(rest, scope.variables[head])
    if not rest:
        column = scope.table.shown(head)
        if column is None:
            raise web_api_errors.no_such_property(
                head, scope.table.name, custom=scope.table.custom
            )
        return Reference(column, f"{scope.name}.{quoted(column.name)}", scope.table)
    step = relationships.needed(scope.env, scope.table, head)
    if step.many:
        raise web_api_errors.malformed_url(
            f"'{head}' leads to a collection; use any or all."
        )
    inner = scope.beyond(step)
    found = resolve(rest, inner)
    sql = joined(
        f"(SELECT {found.sql} FROM",
        quoted(step.other.name),
        f"AS {inner.name} WHERE {step.condition(scope.name, inner.name)})",
    )
    return Reference(found.column, sql, found.table)


def written(text: str, aliases: dict[str, str], scope: Scope) -> Sql:
    """The condition that the text of a `$filter` is."""
    return to_sql(odata.parse_filter(text, aliases), scope)


def to_sql(node: Node, scope: Scope) -> Sql:
    """A condition for WHERE."""
    if isinstance(node, Property):
        return f"({resolve(node.name, scope).sql} = 1)", []
    return _WRITERS[type(node)](node, scope)


def _logical(node: Logical, scope: Scope) -> Sql:
    parts = [to_sql(each, scope) for each in node.operands]
    sql = f" {node.operator.upper()} ".join(each for each, _ in parts)
    return f"({sql})", [value for _, values in parts for value in values]


def _negation(node: Negation, scope: Scope) -> Sql:
    """Query functions are not negated ("Use Web API functions")."""
    if isinstance(node.operand, QueryFunction):
        raise web_api_errors.malformed_url(
            "Not operator along with the Custom Named Condition operators is not allowed"
        )
    sql, values = to_sql(node.operand, scope)
    return f"(NOT COALESCE({sql}, 0))", values


def _query_function(node: QueryFunction, scope: Scope) -> Sql:
    """PropertyName is a logical name, which lookups go by elsewhere too."""
    column = scope.table.columns.get(node.property_name)
    found = resolve(column.shown_as if column else node.property_name, scope)
    compared = node.name.endswith(query_functions.TAKING_VALUES)
    values = [
        _bind(found.column, _retyped(each, found.column), "Equal")
        if compared
        else each.text
        for each in node.values
    ]
    asked = (scope.env.clock, scope.user)
    return query_functions.to_sql(node.name, found.column, found.sql, values, asked)


def _lambda(node: Lambda, scope: Scope) -> Sql:
    """`any` and `all`; not behind a lookup, which the documentation rules out."""
    head, _, rest = node.path.partition("/")
    if head in scope.variables and rest:
        return _lambda(replace(node, path=rest), scope.variables[head])
    if rest:
        raise web_api_errors.malformed_url(
            f"A condition on the collection {node.path} behind a lookup is not supported."
        )
    step = relationships.needed(scope.env, scope.table, head)
    if not step.many:
        raise web_api_errors.malformed_url(f"'{head}' does not lead to a collection.")
    inner = scope.beyond(step)
    condition, values = "1", list[Stored]()
    if node.condition is not None:
        variables = {**scope.variables, node.variable: inner}
        inner_scope = replace(inner, variables=variables)
        variables[node.variable] = inner_scope
        condition, values = to_sql(node.condition, inner_scope)
    negated = node.operator == "all"
    sql = joined(
        f"{'NOT ' if negated else ''}EXISTS (SELECT 1 FROM",
        quoted(step.other.name),
        f"AS {inner.name} WHERE {step.condition(scope.name, inner.name)}",
        f"AND {f'NOT COALESCE({condition}, 0)' if negated else condition})",
    )
    return sql, values


def _comparison(node: Comparison, scope: Scope) -> Sql:
    """Null compares as in "Filter rows": `eq null` is a test, and `ne` takes nulls in.

    That `ne` holds for null is OData's rule and how FetchXML is observed to behave.
    """
    operator, left, right = node.operator, node.left, node.right
    if isinstance(left, Literal):
        raise web_api_errors.not_emulated("a constant before an operator in $filter.")
    found = resolve(left.name, scope)
    name = found.sql
    if isinstance(right, Property):
        return _columns(operator, found, resolve(right.name, scope))
    if right.edm == "null":
        if operator not in {"eq", "ne"}:
            return "(0)", []
        return f"({name} IS {'' if operator == 'eq' else 'NOT '}NULL)", []
    value = _bind(found.column, right, COMPARISONS[operator])
    if operator == "ne":
        return f"({name} <> ? OR {name} IS NULL)", [value]
    return f"({name} {_OPERATORS[operator]} ?)", [value]


def _columns(operator: str, left: Reference, right: Reference) -> Sql:
    """Two columns of one row; "the column types must match" ("Filter rows")."""
    if left.table is not right.table:
        raise web_api_errors.malformed_url("Only columns of one table can be compared.")
    if left.column.kind != right.column.kind:
        raise web_api_errors.incompatible(
            left.column.codec.edm, right.column.codec.edm, COMPARISONS[operator]
        )
    return f"({left.sql} {_OPERATORS[operator]} {right.sql})", []


def _function(node: Function, scope: Scope) -> Sql:
    """The three string functions; `%`, `_` and `[]` are wildcards.

    From "Use wildcard characters in conditions for string values".
    """
    name, arguments = node.name, node.arguments
    if name not in _PATTERNS or len(arguments) != 2:
        raise web_api_errors.not_emulated(f"the function {name} in $filter.")
    left, right = arguments
    if not isinstance(left, Property) or not isinstance(right, Literal):
        raise web_api_errors.not_emulated(f"these operands of {name} in $filter.")
    found = resolve(left.name, scope)
    if found.column.codec.edm != "Edm.String" or right.edm != "Edm.String":
        raise web_api_errors.malformed_url(
            f"No function signature for the function with name '{name}' matches the"
            " specified arguments."
        )
    operator = "REGEXP" if "[" in right.text else "LIKE"
    return f"({found.sql} {operator} ?)", [_PATTERNS[name].format(right.text)]


def _retyped(literal: Literal, column: EmulatedColumn) -> Literal:
    """Query functions take every value as a string ("Web API query functions")."""
    if literal.edm != "Edm.String" or column.codec.edm == "Edm.String":
        return literal
    edm = column.codec.edm
    if edm in {"Edm.Guid", "Edm.DateTimeOffset", "Edm.Date", "Edm.Boolean"}:
        return Literal(edm, literal.text)
    return Literal("Edm.Decimal", literal.text)


def _bind(column: EmulatedColumn, literal: Literal, operation: str) -> Stored:
    try:
        return column.codec.literal(literal)
    except (TypeError, ValueError, ArithmeticError):
        raise web_api_errors.incompatible(
            column.codec.edm, literal.edm, operation
        ) from None


_WRITERS: dict[type, Callable[[Any, Scope], Sql]] = {
    Logical: _logical,
    Negation: _negation,
    Comparison: _comparison,
    Function: _function,
    QueryFunction: _query_function,
    Lambda: _lambda,
}
