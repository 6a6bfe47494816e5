"""Writes records: what create, update, upsert and delete do to a table."""

import sqlite3
from collections.abc import Sequence
from itertools import count
from uuid import uuid4

from apex_pipeline.emulator import (
    guids,
    platform_rules,
    record_addresses,
    relationships,
    targets,
    web_api_errors,
)
from apex_pipeline.emulator.codecs import Stored
from apex_pipeline.emulator.emulated_environment import EmulatedEnvironment
from apex_pipeline.emulator.record_addresses import Address
from apex_pipeline.emulator.relationships import Relationship
from apex_pipeline.emulator.schema import Table
from apex_pipeline.emulator.security import Principal
from apex_pipeline.emulator.storage import joined, quoted
from apex_pipeline.emulator.system_tables import ORGANIZATION_ID, ROOT_BUSINESS_UNIT
from apex_pipeline.emulator.targets import Draft

_BACKDATED = "overriddencreatedon"


def new_id() -> str:
    """A fresh primary key, in stored form."""
    return guids.store_guid(str(uuid4()))


def create(
    env: EmulatedEnvironment, user: Principal, table: Table, drafts: list[Draft]
) -> list[str]:
    """Insert records and return their primary keys, in order."""
    user.require("Create", table)
    drafts = [platform_rules.before_create(env, table, draft) for draft in drafts]
    ids = [draft.record_id or new_id() for draft in drafts]
    now = env.clock.instant()
    for columns, places in _grouped(table, drafts, "create").items():
        system = _system_values(table, user, now, columns)
        if _BACKDATED in columns:
            system.pop("createdon")
        names = (table.primary_key, *columns, *system, "versionnumber")
        version = count(env.storage.take_versions(len(places)))
        constants = list(system.values())
        rows = [
            [ids[place], *drafts[place].values, *constants, next(version)]
            for place in places
        ]
        if _BACKDATED in names:
            # The given instant becomes createdon, as "Import data" describes it.
            given = names.index(_BACKDATED)
            names = (*names, "createdon")
            rows = [[*row, row[given]] for row in rows]
        written = [drafts[place] for place in places]
        _write(env, table, _insert_sql(table, names), rows, written)
    for record_id in () if table.custom else ids:
        platform_rules.after_write(env, table, record_id, created=True)
    return ids


def update(
    env: EmulatedEnvironment,
    user: Principal,
    table: Table,
    drafts: list[Draft],
    ids: Sequence[str],
) -> None:
    """Change the columns that are given, of records that exist."""
    user.require("Write", table)
    drafts = [
        platform_rules.with_state(env, table, draft, record_id)
        for draft, record_id in zip(drafts, ids, strict=True)
    ]
    now = env.clock.instant()
    for columns, places in _grouped(table, drafts, "update").items():
        assigned = (*columns, "modifiedon", "modifiedby", "versionnumber")
        version = count(env.storage.take_versions(len(places)))
        rows = [
            [*drafts[place].values, now, user.stored_id, next(version), ids[place]]
            for place in places
        ]
        written = [drafts[place] for place in places]
        _write(env, table, _update_sql(table, assigned), rows, written)
    for record_id in () if table.custom else ids:
        platform_rules.after_write(env, table, record_id, created=False)


def upsert(
    env: EmulatedEnvironment,
    user: Principal,
    table: Table,
    address: Address,
    draft: Draft,
) -> tuple[str, bool]:
    """Update the record at an address, or create it there.

    From "Use Upsert to create or update a record": columns of the key in the URL are
    dropped from the body on update; on create they are copied from the URL unless the
    body has them, and then the body wins.

    Returns:
        The primary key, and whether the record was created.
    """
    found = record_addresses.resolve(env, table, address)
    pairs = address.pairs()
    if found is not None:
        update(env, user, table, [draft.without(frozenset(pairs))], [found])
        return found, False
    missing = {
        name: value for name, value in pairs.items() if name not in draft.columns
    }
    created = draft.with_values(missing)
    record_id = address.record_id or created.record_id
    created = Draft(created.columns, created.values, record_id)
    return create(env, user, table, [created])[0], True


def delete(
    env: EmulatedEnvironment, user: Principal, table: Table, record_id: str
) -> None:
    """Delete one record; change tracking will tell.

    What refers to it is deleted too, keeps no reference, or forbids it, as the
    relationship says ("Configure table relationship cascading behavior").
    """
    user.require("Delete", table)
    referring = [
        (each, _referring(env, each, record_id))
        for each in relationships.every(env)
        if each["ReferencedEntity"] == table.name and each.deletes != "NoCascade"
    ]
    if any(each.deletes == "Restrict" and found for each, found in referring):
        raise web_api_errors.still_referenced()
    env.storage.delete_record(table, record_id)
    for each, found in referring:
        other = env.table(each["ReferencingEntity"])
        if each.deletes == "Cascade":
            for one in sorted(existing(env, other, found)):
                delete(env, user, other, one)
        elif found:
            cleared = [Draft((each.column,), [None]) for _ in found]
            update(env, user, other, cleared, found)
    if not table.custom:
        # A role's privileges and holders, a user's roles.
        env.storage.execute(
            "DELETE FROM link WHERE source = ? OR target = ?", (record_id, record_id)
        )
        env.leave_solutions(record_id)


def _referring(
    env: EmulatedEnvironment, each: Relationship, record_id: str
) -> list[str]:
    """Records that refer to one by a relationship."""
    table = env.table(each["ReferencingEntity"])
    key, condition = quoted(table.primary_key), f"{quoted(each.column)} = ?"
    return [row[0] for row in env.storage.select(table, key, condition, (record_id,))]


def existing(env: EmulatedEnvironment, table: Table, ids: Sequence[str]) -> set[str]:
    """Which of these records there are."""
    listed = '["' + '","'.join(ids) + '"]'
    key = quoted(table.primary_key)
    condition = joined(key, "IN (SELECT value FROM json_each(?))")
    found = env.storage.select(table, key, condition, (listed,))
    return {row[0] for row in found}


def version_of(env: EmulatedEnvironment, table: Table, record_id: str) -> int | None:
    """The row version, which is the record's ETag; None if there is no record."""
    found = env.storage.of_record(table, "versionnumber", record_id)
    return found[0] if found else None


def check_match(
    env: EmulatedEnvironment, table: Table, record_id: str | None, condition: str
) -> None:
    """Hold a record against If-Match.

    From "Perform conditional operations using the Web API".
    """
    if record_id is None:
        raise web_api_errors.no_such_key_value(table.name)
    version = version_of(env, table, record_id)
    if version is None:
        raise web_api_errors.no_such_record(table.name, guids.load_guid(record_id))
    if condition != "*" and condition.removeprefix("W/").strip('"') != str(version):
        raise web_api_errors.version_mismatch()


def _grouped(
    table: Table, drafts: list[Draft], operation: str
) -> dict[tuple[str, ...], list[int]]:
    """Places of the drafts by the columns they set.

    Columns that the operation may not set are dropped from them first.
    """
    frozen = table.plans.get(operation)
    if frozen is None:
        frozen = table.plans[operation] = frozenset(
            name
            for name, column in table.columns.items()
            if operation not in column.writable_on
        )
    groups: dict[tuple[str, ...], list[int]] = {}
    for place, draft in enumerate(drafts):
        groups.setdefault(draft.columns, []).append(place)
    for columns in [each for each in groups if not frozen.isdisjoint(each)]:
        places = groups.pop(columns)
        for place in places:
            drafts[place] = drafts[place].without(frozen)
        groups.setdefault(drafts[places[0]].columns, []).extend(places)
    return groups


def _system_values(
    table: Table, user: Principal, now: str, given: tuple[str, ...]
) -> dict[str, Stored]:
    """What the platform fills in on create, where the body does not."""
    organization = guids.store_guid(ORGANIZATION_ID)
    values: dict[str, Stored] = {
        "createdon": now,
        "createdby": user.stored_id,
        "modifiedon": now,
        "modifiedby": user.stored_id,
        "statecode": 0,
        "statuscode": 1,
        "organizationid": organization,
        "ownerid": user.stored_id,
        "owninguser": user.stored_id,
        "owningbusinessunit": guids.store_guid(ROOT_BUSINESS_UNIT),
    }
    return {
        name: value
        for name, value in values.items()
        if name in table.columns and name not in given
    }


def _insert_sql(table: Table, names: Sequence[str]) -> str:
    columns = ", ".join(quoted(name) for name in names)
    values = f"({columns}) VALUES ({', '.join('?' * len(names))})"
    return joined("INSERT INTO", quoted(table.name), values)


def _update_sql(table: Table, names: Sequence[str]) -> str:
    changes = ", ".join(f"{quoted(name)} = ?" for name in names)
    condition = f"WHERE {quoted(table.primary_key)} = ?"
    return joined("UPDATE", quoted(table.name), "SET", changes, condition)


def _write(
    env: EmulatedEnvironment,
    table: Table,
    sql: str,
    rows: list[list[Stored]],
    drafts: list[Draft],
) -> None:
    """Run the rows; on a violated key run them singly, to name the one at fault."""
    try:
        with env.storage.transaction():
            env.storage.execute_many(sql, rows)
    except sqlite3.IntegrityError:
        for row, draft in zip(rows, drafts, strict=True):
            try:
                env.storage.execute(sql, row)
            except sqlite3.IntegrityError as error:
                raise targets.conflict(table, error, draft) from None
        raise
    except UnicodeEncodeError:
        raise web_api_errors.malformed_payload(
            table.entity_set, "A string holds a surrogate without its pair."
        ) from None
