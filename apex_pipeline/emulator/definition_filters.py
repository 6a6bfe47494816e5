"""`$filter` over definitions, which are JSON objects rather than rows.

From "Query table definitions using the Web API": enumerations are written with their
namespace, and complex properties are reached by a path. Microsoft's Python SDK writes the
type of a column as a string.
"""

import operator as operators
from collections.abc import Mapping
from typing import Any

from apex_pipeline.emulator import definition_properties, web_api_errors
from apex_pipeline.emulator.odata import COMPARISONS
from apex_pipeline.emulator.syntax_tree import (
    Comparison,
    Literal,
    Logical,
    Negation,
    Node,
    Property,
)

_CRM = "Microsoft.Dynamics.CRM."
# Enumerations by the last two steps of a property's path, or by the last alone.
_ENUMERATIONS = {
    "AttributeType": "AttributeTypeCode",
    "EntityKeyIndexStatus": "EntityKeyIndexStatus",
    "OwnershipType": "OwnershipTypes",
    "PrivilegeType": "PrivilegeType",
    "RelationshipType": "RelationshipType",
    "RequiredLevel/Value": "AttributeRequiredLevel",
    "SecurityTypes": "SecurityTypes",
}
_SIMPLE = ("Edm.Boolean", "Edm.Int32", "Edm.Int64", "Edm.Decimal")


def matches(node: Node, definition: Mapping[str, object], kind: str) -> bool:
    """Whether a definition satisfies the condition.

    Args:
        node: The condition.
        definition: A table's, column's, key's or relationship's.
        kind: Its type, for the messages.
    """
    match node:
        case Logical(joined, operands):
            found = {matches(each, definition, kind) for each in operands}
            return found == {True} if joined == "and" else True in found
        case Negation(operand):
            return not matches(operand, definition, kind)
        case Comparison(operator, Property(name), Literal() as literal):
            value = _look_up(name, definition, kind)
            return _compare(operator, name, value, literal)
        case Property(name):
            return _look_up(name, definition, kind) is True
        case _:
            raise web_api_errors.not_emulated("this $filter on definitions.")


def _compare(operator: str, path: str, value: object, literal: Literal) -> bool:
    enumeration = _enumeration(path)
    if literal.edm == "null":
        left: Any = value is None
        right: Any = True
    elif enumeration or literal.edm.startswith(_CRM):
        plain = "Edm.String" if path == "AttributeType" else None
        if literal.edm not in (f"{_CRM}{enumeration}", plain):
            raise web_api_errors.incompatible(
                f"{_CRM}{enumeration}" if enumeration else _edm(value),
                literal.edm,
                COMPARISONS[operator],
            )
        left, right = str(value), literal.text
    elif value is None:
        return operator == "ne"
    elif isinstance(value, int) or literal.edm in _SIMPLE:
        number = not isinstance(value, bool)
        allowed = _SIMPLE[1:] if number else _SIMPLE[:1]
        if not isinstance(value, int) or literal.edm not in allowed:
            raise web_api_errors.incompatible(
                _edm(value), literal.edm, COMPARISONS[operator]
            )
        left = value if number else str(value).lower()
        right = float(literal.text) if number else literal.text
    else:
        left, right = str(value).lower(), literal.text.lower()
    return bool(getattr(operators, operator)(left, right))


def _enumeration(path: str) -> str | None:
    steps = path.split("/")
    if steps[0] == "CascadeConfiguration" and len(steps) == 2:
        return "CascadeType"
    return _ENUMERATIONS.get("/".join(steps[-2:]))


def _edm(value: object) -> str:
    names: dict[type, str] = {bool: "Edm.Boolean", int: "Edm.Int32"}
    return names.get(type(value), "Edm.String")


def _look_up(path: str, definition: Mapping[str, object], kind: str) -> object:
    value: object = definition
    for step in path.split("/"):
        if not isinstance(value, Mapping) or step not in value:
            raise definition_properties.missing(step, kind)
        value = value[step]
    if isinstance(value, Mapping | list):
        # "This does not work on properties of Label ComplexType."
        raise web_api_errors.malformed_url(
            f"{path} is neither primitive nor an enumeration."
        )
    return value
