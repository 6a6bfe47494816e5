"""Tables as the rules see them: columns with codecs, keys with a state."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from apex_pipeline.emulator import codecs, decimals, guids
from apex_pipeline.emulator.table_definitions import (
    Definition,
    complete_column,
    complete_table,
    label,
)


@dataclass(frozen=True, slots=True)
class EmulatedColumn:
    """A column of a table.

    Attributes:
        name: Logical name.
        shown_as: Name in an answer: `_x_value` for a lookup.
        codec: What it accepts and how it is shown.
        writable_on: Operations that may set it, of `create` and `update`; setting it
            otherwise is silently ignored ("Table definitions: column properties").
        definition: As EntityDefinitions shows it.
    """

    name: str
    shown_as: str
    codec: codecs.Codec
    writable_on: frozenset[str]
    definition: Definition

    @property
    def kind(self) -> str:
        """AttributeType."""
        return str(self.definition["AttributeType"])

    @property
    def targets(self) -> list[str]:
        """Tables that a lookup may refer to."""
        return [str(each) for each in _list(self.definition.get("Targets"))]


@dataclass(frozen=True, slots=True)
class AlternateKey:
    """An alternate key; `status` is its EntityKeyIndexStatus."""

    name: str
    columns: tuple[str, ...]
    status: str
    definition: Definition


@dataclass(frozen=True)
class Table:
    """A table with its definition; `plans` holds what the rules compiled for it."""

    definition: Definition
    columns: Mapping[str, EmulatedColumn]
    keys: tuple[AlternateKey, ...] = ()
    plans: dict[object, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def name(self) -> str:
        return str(self.definition["LogicalName"])

    @property
    def entity_set(self) -> str:
        """Name in URLs."""
        return str(self.definition["EntitySetName"])

    @property
    def primary_key(self) -> str:
        """Logical name of the primary key column."""
        return str(self.definition["PrimaryIdAttribute"])

    @property
    def custom(self) -> bool:
        """Whether it is not one of the platform's own."""
        return bool(self.definition["IsCustomEntity"])

    @property
    def takes_bulk(self) -> bool:
        """Whether bulk messages are for it; the platform's inner tables have none."""
        return self.custom or self.definition["OwnershipType"] == "UserOwned"

    @property
    def odata_type(self) -> str:
        return f"Microsoft.Dynamics.CRM.{self.name}"

    def with_column(self, column: EmulatedColumn) -> "Table":
        """The same with a column added or changed."""
        columns = {**self.columns, column.name: column}
        return replace(self, columns=columns, plans={})

    def shown(self, name: str) -> EmulatedColumn | None:
        """The column that goes by this name in URLs and answers."""
        column = self.columns.get(name)
        if column is not None and column.shown_as == name:
            return column
        return self.columns.get(name[1:-6]) if name.endswith("_value") else None


def make_table(
    definition: Definition,
    attributes: list[Definition],
    keys: list[Definition] | None = None,
) -> Table:
    """Compile stored definitions."""
    name = str(definition["LogicalName"])
    columns = {str(each["LogicalName"]): make_column(name, each) for each in attributes}
    return Table(definition, columns, tuple(make_key(each) for each in keys or []))


def make_key(definition: Definition) -> AlternateKey:
    columns = tuple(str(each) for each in _list(definition["KeyAttributes"]))
    status = str(definition["EntityKeyIndexStatus"])
    return AlternateKey(str(definition["LogicalName"]), columns, status, definition)


def make_column(table: str, definition: Definition) -> EmulatedColumn:
    name = str(definition["LogicalName"])
    kind = str(definition["AttributeType"])
    reference = kind in {"Lookup", "Owner"}
    operations = {"create": "IsValidForCreate", "update": "IsValidForUpdate"}
    return EmulatedColumn(
        name,
        f"_{name}_value" if reference else name,
        _codec(kind, table, name, definition),
        frozenset(each for each, flag in operations.items() if definition[flag]),
        definition,
    )


def new_table(posted: Mapping[str, object]) -> Table:
    """Make a table from what was posted: its own columns after the system's."""
    definition = complete_table(posted)
    name = str(definition["LogicalName"])
    system = system_columns(
        str(definition["PrimaryIdAttribute"]), str(definition["OwnershipType"])
    )
    attributes = [
        complete_column(each, name, number)
        for number, each in enumerate(
            [*system, *(dict(part) for part in _list(posted.get("Attributes")))], 1
        )
    ]
    primary = [each for each in attributes if each.get("IsPrimaryName")]
    definition["PrimaryNameAttribute"] = primary[0]["LogicalName"] if primary else None
    return make_table(definition, attributes)


def system_columns(primary_key: str, ownership: str) -> list[Definition]:
    """Columns that every table has; the set is general knowledge, not documented."""
    active, inactive = _option(0, "Active"), _option(1, "Inactive")
    states = [
        active | {"DefaultStatus": 1, "InvariantName": "Active"},
        inactive | {"DefaultStatus": 2, "InvariantName": "Inactive"},
    ]
    statuses = [active | {"Value": 1, "State": 0}, inactive | {"Value": 2, "State": 1}]
    return [
        _system("Uniqueidentifier", primary_key, create=True, IsPrimaryId=True),
        _system("DateTime", "CreatedOn"),
        _system("Lookup", "CreatedBy", Targets=["systemuser"]),
        _system("DateTime", "ModifiedOn"),
        _system("Lookup", "ModifiedBy", Targets=["systemuser"]),
        _system("Lookup", "CreatedOnBehalfBy", Targets=["systemuser"]),
        _system("Lookup", "ModifiedOnBehalfBy", Targets=["systemuser"]),
        *_OWNERSHIP.get(ownership, ()),
        _system("State", "statecode", create=True, OptionSet={"Options": states}),
        _system("Status", "statuscode", create=True, OptionSet={"Options": statuses}),
        _system("BigInt", "VersionNumber"),
        _system("Integer", "ImportSequenceNumber", create=True),
        _system("DateTime", "OverriddenCreatedOn", create=True),
        _system("Integer", "TimeZoneRuleVersionNumber", create=True),
        _system("Integer", "UTCConversionTimeZoneCode", create=True),
    ]


def _system(
    kind: str, schema_name: str, *, create: bool = False, **more: object
) -> Definition:
    return {
        "@odata.type": f"#Microsoft.Dynamics.CRM.{kind}AttributeMetadata",
        "SchemaName": schema_name,
        "DisplayName": label(schema_name),
        "IsCustomAttribute": False,
        "IsValidForCreate": create,
        "IsValidForUpdate": create and kind in {"State", "Status", "Owner"},
        **more,
    }


_OWNERSHIP = {
    "UserOwned": (
        _system("Owner", "OwnerId", create=True),
        _system("Lookup", "OwningBusinessUnit", Targets=["businessunit"]),
        _system("Lookup", "OwningUser", Targets=["systemuser"]),
        _system("Lookup", "OwningTeam", Targets=["team"]),
    ),
    "OrganizationOwned": (
        _system("Lookup", "OrganizationId", Targets=["organization"]),
    ),
}


def _codec(kind: str, table: str, name: str, definition: Definition) -> codecs.Codec:
    """The rules of a column of this type."""
    given: dict[str, Any] = definition
    if kind in {"String", "Memo"}:
        return codecs.TextCodec(table, name, int(given["MaxLength"]))
    if kind in {"Picklist", "State", "Status"}:
        listed = _list((given["OptionSet"] or {}).get("Options"))
        options = tuple(int(each["Value"]) for each in listed)
        return codecs.Choice(table, name, options=options)
    if kind == "DateTime":
        return codecs.Moment(given["DateTimeBehavior"].get("Value") == "DateOnly")
    if "MinValue" in given:
        return _number(kind, table, name, given)
    return codecs.Flag() if kind == "Boolean" else guids.Guid()


def _number(kind: str, table: str, name: str, given: dict[str, Any]) -> codecs.Codec:
    least, most = Decimal(str(given["MinValue"])), Decimal(str(given["MaxValue"]))
    if kind in {"Integer", "BigInt"}:
        edm = "Edm.Int64" if kind == "BigInt" else "Edm.Int32"
        return codecs.WholeNumberCodec(table, name, int(least), int(most), edm)
    places = int(given["Precision"])
    if kind == "Double":
        limits = float(least), float(most)
        return decimals.FloatingNumber(table, name, places, *limits)
    return decimals.DecimalCodec(table, name, places, least, most)


def _option(value: int, text: str) -> Definition:
    return {"Value": value, "Label": label(text)}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
