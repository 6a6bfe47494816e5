"""One-to-many relationships: a lookup column, and a navigation property at either end.

From "Table relationship definitions" and "Create and update table relationships using
the Web API". The definitions are kept with the lookup column. Names of the platform's
own relationships are those of its table references; where those list none for a table
here, the name is made of both tables' (chosen).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from apex_pipeline.emulator import web_api_errors
from apex_pipeline.emulator.definition_properties import managed
from apex_pipeline.emulator.emulated_environment import EmulatedEnvironment
from apex_pipeline.emulator.schema import EmulatedColumn, Table
from apex_pipeline.emulator.storage import Sql, joined, quoted
from apex_pipeline.emulator.system_tables import SYSTEM_RELATIONSHIPS
from apex_pipeline.emulator.table_definitions import CRM, Definition, metadata_id

ONE_TO_MANY = f"{CRM}OneToManyRelationshipMetadata"
MANY_TO_MANY = f"{CRM}ManyToManyRelationshipMetadata"

NO_CASCADE = dict.fromkeys(
    ("Assign", "Delete", "Merge", "Reparent", "Share", "Unshare"), "NoCascade"
)
_DEFAULTS: Definition = {
    **dict.fromkeys(("HasChanged", "AssociatedMenuConfiguration")),
    **dict.fromkeys(("IsCustomRelationship", "IsManaged", "IsHierarchical"), False),
    "IsValidForAdvancedFind": True,
    "SecurityTypes": "Append",
    "RelationshipType": "OneToManyRelationship",
    "IntroducedVersion": "1.0",
    "RelationshipBehavior": 1,
    "CascadeConfiguration": NO_CASCADE,
}
# Collection-valued navigation properties of many-to-many relationships: table and name
# lead to the other table, the kind of link, and whether the record is its source.
ASSOCIATIONS: dict[tuple[str, str], tuple[str, str, bool]] = {
    ("systemuser", "systemuserroles_association"): ("role", "userrole", True),
    ("role", "systemuserroles_association"): ("systemuser", "userrole", False),
    ("role", "roleprivileges_association"): ("privilege", "roleprivilege", True),
}


@dataclass(frozen=True, slots=True)
class Relationship:
    """A one-to-many relationship.

    Attributes:
        definition: As RelationshipDefinitions shows it.
        column: Logical name of the lookup on the referencing table.
    """

    definition: Definition
    column: str

    def __getitem__(self, name: str) -> str:
        return str(self.definition[name])

    @property
    def deletes(self) -> str:
        """What becomes of referencing records when the referenced one is deleted."""
        cascade = self.definition["CascadeConfiguration"]
        return str(cascade["Delete"]) if isinstance(cascade, dict) else "NoCascade"

    @property
    def single(self) -> str:
        """The navigation property of the referencing table."""
        return self["ReferencingEntityNavigationPropertyName"]

    @property
    def collection(self) -> str:
        """The navigation property of the referenced table."""
        return self["ReferencedEntityNavigationPropertyName"]


@dataclass(frozen=True, slots=True)
class Navigation:
    """A navigation property of a table.

    Attributes:
        name: As in a URL.
        table: The table that has it.
        other: The table that it leads to.
        column: The lookup at one of the ends; empty for many-to-many.
        many: Whether it is collection-valued.
        link: Kind of link and whether the table is its source, for many-to-many.
    """

    name: str
    table: Table
    other: Table
    column: str
    many: bool
    link: tuple[str, bool] | None = None

    def condition(self, near: str, far: str) -> str:
        """What joins records of the two tables, which go by these names in SQL."""
        near_key = f"{near}.{quoted(self.table.primary_key)}"
        far_key = f"{far}.{quoted(self.other.primary_key)}"
        if self.link is not None:
            kind, is_source = self.link
            ends = ("source", "target") if is_source else ("target", "source")
            return joined(
                "EXISTS (SELECT 1 FROM link WHERE kind =",
                f"'{kind}' AND {ends[0]} = {near_key} AND {ends[1]} = {far_key})",
            )
        if self.many:
            return f"{far}.{quoted(self.column)} = {near_key}"
        return f"{far_key} = {near}.{quoted(self.column)}"

    def of_record(self, record_id: str) -> Sql:
        """The condition for the other table's records that belong to one record."""
        near = quoted(self.table.name)
        condition = self.condition("near", quoted(self.other.name))
        where = (
            f"AS near WHERE near.{quoted(self.table.primary_key)} = ? AND {condition})"
        )
        return joined("EXISTS (SELECT 1 FROM", near, where), [record_id]


def of_column(table: Table, column: EmulatedColumn) -> list[Relationship]:
    """The relationships of a lookup; several where it may refer to several tables."""
    return _by_column(table)[column.name]


def of_table(table: Table) -> list[Relationship]:
    """The many-to-one relationships of a table."""
    return [each for listed in _by_column(table).values() for each in listed]


def _by_column(table: Table) -> dict[str, list[Relationship]]:
    # Kept: each answer about definitions, and each deletion, looks at those of all tables.
    found: dict[str, list[Relationship]] | None = table.plans.get("relationships")
    if found is None:
        found = table.plans["relationships"] = {
            column.name: [
                Relationship(each, column.name) for each in _defined(table, column)
            ]
            for column in table.columns.values()
        }
    return found


def _defined(table: Table, column: EmulatedColumn) -> list[Definition]:
    kept = column.definition.get("_relationships")
    return kept if isinstance(kept, list) else _system(table, column)


def every(env: EmulatedEnvironment) -> Iterator[Relationship]:
    """All one-to-many relationships."""
    return (each for table in env.tables for each in of_table(table))


def navigation(env: EmulatedEnvironment, table: Table, name: str) -> Navigation | None:
    """The navigation property of this name, letter by letter, or None."""
    for each in of_table(table):
        if each.single == name:
            other = _present(env, each["ReferencedEntity"], name)
            return Navigation(name, table, other, each.column, many=False)
    if (table.name, name) in ASSOCIATIONS:
        other_name, *link = ASSOCIATIONS[table.name, name]
        kind, is_source = str(link[0]), bool(link[1])
        other = env.table(other_name)
        return Navigation(name, table, other, "", many=True, link=(kind, is_source))
    for each in every(env):
        if each["ReferencedEntity"] == table.name and each.collection == name:
            other = env.table(each["ReferencingEntity"])
            return Navigation(name, table, other, each.column, many=True)
    return None


def needed(env: EmulatedEnvironment, table: Table, name: str) -> Navigation:
    """The navigation property of this name."""
    found = navigation(env, table, name)
    if found is None:
        raise web_api_errors.no_such_property(name, table.name, custom=table.custom)
    return found


def _present(env: EmulatedEnvironment, name: str, what: str) -> Table:
    try:
        return env.table(name)
    except KeyError:
        raise web_api_errors.not_emulated(
            f"the navigation property {what}, which leads to the table {name}."
        ) from None


def define(names: Definition, **more: object) -> Definition:
    """A relationship's whole definition; defaults as the service shows them."""
    schema_name = str(names["SchemaName"])
    return {
        "@odata.type": f"#{ONE_TO_MANY}",
        "MetadataId": metadata_id("relationship", schema_name),
        **_DEFAULTS,
        "IsCustomizable": managed("IsCustomizable", value=True),
        **names,
        **more,
    }


def _system(table: Table, column: EmulatedColumn) -> list[Definition]:
    name, targets = column.name, column.targets
    if column.kind == "Owner":
        return [_platform(table, column, "owner", name)]
    several = len(targets) > 1
    return [
        _platform(table, column, each, f"{name}_{each}" if several else name)
        for each in targets
    ]


def _platform(
    table: Table, column: EmulatedColumn, referenced: str, single: str
) -> Definition:
    pattern = SYSTEM_RELATIONSHIPS.get((table.name, single)) or (
        SYSTEM_RELATIONSHIPS.get(("", column.name), f"{referenced}_{{}}")
    )
    schema_name = pattern.format(table.name)
    return define(
        {
            "SchemaName": schema_name,
            "ReferencedEntity": referenced,
            "ReferencedAttribute": f"{referenced}id",
            "ReferencingEntity": table.name,
            "ReferencingAttribute": column.name,
            "ReferencedEntityNavigationPropertyName": schema_name,
            "ReferencingEntityNavigationPropertyName": single,
        }
    )
