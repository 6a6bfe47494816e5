"""Find differences that need a fix by hand, each with its remedy. Pure."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from apex_pipeline.column_types import (
    ColumnType,
    DecimalNumber,
    Text,
    Timestamp,
    WholeNumber,
)
from apex_pipeline.metrics import COLUMNS, ENTITY_SET, TABLE, Column
from apex_pipeline.provisioning.existing_state import (
    PREFIX,
    PUBLISHER,
    ROLE,
    SOLUTION,
    Found,
    FoundColumn,
    FoundTable,
)

# Attribute types that can store what we send. An existing table may use a wider type
# than the one that provisioning creates.
ATTRIBUTE_TYPES: dict[type[ColumnType], frozenset[str]] = {
    Text: frozenset({"String", "Memo"}),
    WholeNumber: frozenset({"Integer", "BigInt"}),
    DecimalNumber: frozenset({"Decimal", "Double", "Money"}),
    Timestamp: frozenset({"DateTime"}),
}

_MOST_DIGITS = 40


def find_drifts(found: Found) -> Iterator[str]:
    """Yield every difference that provisioning cannot change."""
    yield from _solution_drifts(found)
    if found.table is not None:
        yield from _table_drifts(found.table)
        delete = found.table.privileges.get("Delete")
        if found.role is not None and delete in found.role.privileges:
            yield (
                f"The role {ROLE} may delete records of {TABLE}. Remove that privilege; "
                "the pipeline never deletes."
            )
    user = found.user
    if user is not None and user.is_disabled:
        yield (
            f"The application user of {found.application} is disabled. Enable it in the "
            "Power Platform admin center."
        )
    if user is not None and user.business_unit != found.business_unit:
        yield (
            f"The application user of {found.application} is not in the root business "
            "unit. Move it there in the Power Platform admin center."
        )


def _solution_drifts(found: Found) -> Iterator[str]:
    taken = any(p.unique_name.lower() == PUBLISHER for p in found.publishers)
    if found.publisher is None and taken:
        yield (
            f"The publisher {PUBLISHER} has a different prefix than {PREFIX}. Create a "
            f"publisher with the prefix {PREFIX}; its unique name does not matter."
        )
    if found.solution is None:
        return
    if found.solution.is_managed:
        yield (
            f"The solution {SOLUTION} is managed, so nothing can be added to it. Remove "
            "it, or make the changes in the environment where it is developed."
        )
    ours = {p.id for p in found.publishers if p.prefix == PREFIX}
    if found.solution.publisher_id not in ours:
        yield (
            f"The solution {SOLUTION} belongs to a publisher without the prefix "
            f"{PREFIX}. Assign a publisher with that prefix, or remove the solution."
        )


def _table_drifts(table: FoundTable) -> Iterator[str]:
    if table.table_type != "Standard":
        yield (
            f"The table {TABLE} is of type {table.table_type}, which cannot be changed. "
            "Back up its records and delete the table; provisioning then creates it as "
            "Standard."
        )
    if table.entity_set != ENTITY_SET:
        yield (
            f"The entity set of {TABLE} is {table.entity_set}. Rename it to "
            f"{ENTITY_SET}, which the pipeline writes to."
        )
    yield from column_drifts(table)


def column_drifts(table: FoundTable) -> Iterator[str]:
    """Yield why existing columns cannot store what we send."""
    for column in COLUMNS:
        found = table.columns.get(column.dataverse)
        if found is not None:
            yield from _column_drifts(column, found)


def _column_drifts(column: Column, found: FoundColumn) -> Iterator[str]:
    name = column.dataverse
    accepted = ATTRIBUTE_TYPES[type(column.type)]
    if found.type not in accepted:
        yield (
            f"{name} is {found.type}, not {' or '.join(sorted(accepted))}, and a "
            "column's type cannot be changed. Back up its values and delete the column; "
            "provisioning then recreates it."
        )
        return
    if not found.is_writable:
        yield (
            f"{name} is not writable, as calculated columns are not. Delete the column; "
            "provisioning then recreates it."
        )
    for fault, remedy in _too_narrow(column.type, found.facets):
        yield f"{name} {fault}. {remedy}"


def _too_narrow(
    wanted: ColumnType, facets: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Yield each limit of a column that is too narrow, with its remedy."""
    there = "in the column's advanced options in Power Apps."
    match wanted:
        case Text(length) if facets["MaxLength"] < length:
            fault = f"holds {facets['MaxLength']} characters, not {length}"
            yield fault, f"Raise its maximum length to {length} {there}"
        case DecimalNumber(places) if facets["Precision"] < places:
            fault = f"keeps {facets['Precision']} decimal places, not {places}"
            yield fault, f"Raise its decimal places to {places} {there}"
        case Timestamp() if facets["Format"] != "DateAndTime":
            yield (
                f"has the format {facets['Format']}, not DateAndTime",
                "Delete the column; provisioning then recreates it.",
            )
        case _:
            pass
    if isinstance(wanted, WholeNumber | DecimalNumber):
        low, high = (Decimal(str(facets[each])) for each in ("MinValue", "MaxValue"))
        if low > wanted.minimum or high < wanted.maximum:
            yield (
                f"holds {_shown(low)} to {_shown(high)}, not {wanted.minimum} to {wanted.maximum}",
                f"Widen its range {there}",
            )


def _shown(bound: Decimal) -> str:
    """The number in plain digits, unless its exponent would make them endless."""
    return f"{bound:f}" if abs(bound.adjusted()) < _MOST_DIGITS else str(bound)
