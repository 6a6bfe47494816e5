"""What an OData expression says, once it is read."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant: its OData type (`null` for null) and its text, unquoted.

    Of an enumeration the type is its full name, as in
    `Microsoft.Dynamics.CRM.OwnershipTypes'UserOwned'`.
    """

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


@dataclass(frozen=True, slots=True)
class Lambda:
    """`path/any(o:condition)` or `path/all(o:condition)`; `any()` has no condition."""

    path: str
    operator: str
    variable: str
    condition: "Node | None"


Operand = Literal | Property
Node = Comparison | Logical | Negation | Function | QueryFunction | Lambda | Property
