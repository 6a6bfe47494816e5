"""Reads JSON objects into checked values of a table's columns.

Objects that hold the same properties in the same order share one compiled plan; a bulk
request compiles one and runs through it.
"""

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from apex_pipeline.emulator import record_addresses, relationships, web_api_errors
from apex_pipeline.emulator.codecs import Stored
from apex_pipeline.emulator.emulated_environment import EmulatedEnvironment
from apex_pipeline.emulator.schema import Table
from apex_pipeline.emulator.web_api_errors import MalformedValueError
from apex_pipeline.emulator.wire import NO_OBJECT


@dataclass(frozen=True, slots=True)
class BodyReading:
    """How to read objects with one list of properties.

    Attributes:
        columns: Logical names of the columns that they set.
        readers: Position of each column's value in the object, and its check.
        key_at: Position of the primary key, of `@odata.id`, of `@odata.type`; -1 where
            there is none.
    """

    columns: tuple[str, ...]
    readers: tuple[tuple[int, Callable[[object], Stored]], ...]
    key_at: int
    id_at: int
    type_at: int


@dataclass(frozen=True, slots=True)
class Draft:
    """What an object says about one record.

    Attributes:
        columns: Logical names of the columns that it sets.
        values: Their values, in stored form.
        record_id: The primary key in the body, or None.
        address: `@odata.id`, or None.
    """

    columns: tuple[str, ...]
    values: list[Stored]
    record_id: str | None = None
    address: str | None = None

    def without(self, names: frozenset[str]) -> "Draft":
        """The same without some columns."""
        if names.isdisjoint(self.columns):
            return self
        held = zip(self.columns, self.values, strict=True)
        kept = {name: value for name, value in held if name not in names}
        return replace(self, columns=tuple(kept), values=list(kept.values()))

    def with_values(self, more: Mapping[str, Stored]) -> "Draft":
        """The same with further columns."""
        values = [*self.values, *more.values()]
        return replace(self, columns=(*self.columns, *more), values=values)

    def held(self) -> dict[str, Stored]:
        """The columns with their values."""
        return dict(zip(self.columns, self.values, strict=True))


def read_target(
    env: EmulatedEnvironment, table: Table, target: object, *, typed: bool = False
) -> Draft:
    """Check one object.

    Args:
        env: Resolves references to other tables.
        table: The table it is for.
        target: The object.
        typed: Whether `@odata.type` is demanded, as bulk messages do.
    """
    if not isinstance(target, dict):
        raise web_api_errors.malformed_payload(table.entity_set, NO_OBJECT)
    names = tuple(target)
    plan = table.plans.get(names)
    if plan is None:
        plan = table.plans[names] = _compile(env, table, names)
    values = list(target.values())
    _check_type(table, plan, values, typed=typed)
    try:
        stored = [read(values[place]) for place, read in plan.readers]
        record_id = None
        if plan.key_at >= 0:
            key = table.columns[table.primary_key].codec.read(values[plan.key_at])
            record_id = None if key is None else str(key)
    except MalformedValueError as error:
        raise web_api_errors.malformed_payload(table.entity_set, str(error)) from None
    if plan.id_at >= 0 and not typed:
        raise web_api_errors.not_emulated("@odata.id in the body of a single record.")
    address = values[plan.id_at] if plan.id_at >= 0 else None
    if address is not None and not isinstance(address, str):
        raise web_api_errors.malformed_payload(
            table.entity_set, "@odata.id is not a string."
        )
    return Draft(plan.columns, stored, record_id, address)


def _check_type(
    table: Table, plan: BodyReading, values: list[object], *, typed: bool
) -> None:
    named = values[plan.type_at] if plan.type_at >= 0 else ""
    if plan.type_at < 0 and not typed:
        return
    if str(named).removeprefix("#") != table.odata_type:
        missing = "" if plan.type_at >= 0 else " @odata.type is missing."
        raise web_api_errors.malformed_payload(
            table.entity_set,
            f"A type named '{named}' could not be resolved by the model. When a model"
            f" is available, each type name must resolve to a valid type.{missing}",
        )


def _compile(
    env: EmulatedEnvironment, table: Table, names: tuple[str, ...]
) -> BodyReading:
    """Sort the properties into columns, keys and annotations.

    A column that is not valid for an operation is left out silently ("Column
    properties"); one that the table lacks is an error.
    """
    columns: list[str] = []
    readers: list[tuple[int, Callable[[object], Stored]]] = []
    places = {"key": -1, "id": -1, "type": -1}
    for place, name in enumerate(names):
        column = table.columns.get(name)
        if name == table.primary_key:
            places["key"] = place
        elif name in {"@odata.id", "@odata.type"}:
            places[name.removeprefix("@odata.")] = place
        elif name.endswith("@odata.bind"):
            bound, allowed = _bound(env, table, name.removesuffix("@odata.bind"))
            columns.append(bound)
            readers.append((place, _reference_reader(env, allowed)))
        elif "@" in name:
            continue
        elif column is not None and column.shown_as == name:
            if column.writable_on:
                columns.append(name)
                readers.append((place, column.codec.read))
        else:
            columns.append(_emptied(env, table, name))
            readers.append((place, _read_nothing))
    return BodyReading(tuple(columns), tuple(readers), *places.values())


def _bound(env: EmulatedEnvironment, table: Table, name: str) -> tuple[str, list[str]]:
    """The lookup behind a navigation property, and the tables it may refer to.

    Its name counts letter by letter ("Troubleshoot Web API client errors").
    """
    column = table.columns.get(name)
    if column is not None and column.kind == "Owner":
        return name, column.targets
    step = relationships.navigation(env, table, name)
    if step is not None and not step.many:
        return step.column, [step.other.name]
    if step is not None:
        raise web_api_errors.not_emulated(f"{name}@odata.bind on a collection.")
    raise _undeclared(
        table,
        name,
        "which only has property annotations in the payload but no property value was"
        " found in the payload. In OData, only declared navigation properties and declared"
        " named streams can be represented as properties without values.",
    )


def _emptied(env: EmulatedEnvironment, table: Table, name: str) -> str:
    """The lookup of a navigation property that is set to null; no other value is done."""
    step = relationships.navigation(env, table, name)
    if step is None:
        raise _undeclared(
            table,
            name,
            f"was found in the payload. The property '{name}' does not exist on type"
            f" '{table.odata_type}'. Make sure to only use property names that are defined"
            " by the type.",
        )
    if step.many:
        raise web_api_errors.not_emulated(f"creating {name} together with the record.")
    return step.column


def _read_nothing(value: object) -> Stored:
    if value is not None:
        raise web_api_errors.not_emulated(
            "creating a related record together with the record."
        )
    return None


def _undeclared(table: Table, name: str, what: str) -> web_api_errors.WebApiError:
    if not table.custom:
        return web_api_errors.not_emulated(
            f"the property {name} of the table {table.name}."
        )
    return web_api_errors.malformed_payload(
        table.entity_set, f"An undeclared property '{name}' {what}"
    )


def _reference_reader(
    env: EmulatedEnvironment, allowed: list[str]
) -> Callable[[object], Stored]:
    """Reads `/businessunits(<id>)`, from "Associate and disassociate table rows"."""
    return lambda value: (
        None if value is None else record_addresses.referenced(env, str(value), allowed)
    )


def conflict(table: Table, error: sqlite3.IntegrityError, draft: Draft) -> Exception:
    """The wire error for a violated unique index."""
    names = {part.rpartition(".")[2] for part in str(error).split(": ")[-1].split(", ")}
    for key in table.keys:
        if set(key.columns) == names:
            held = draft.held()
            return web_api_errors.key_violated(
                key.name, {n: held.get(n) for n in key.columns}
            )
    return web_api_errors.duplicate_key()
