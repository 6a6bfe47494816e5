"""What the platform adds to what is written: states, numbers, and rules of its tables.

States from "Define status reason transitions" and the StatusOptionMetadata of the Web API
reference (the error is observed); numbers from "Create autonumber columns".
"""

import re
import secrets
import string
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from apex_pipeline.emulator import guids, roles, web_api_errors
from apex_pipeline.emulator.codecs import Stored
from apex_pipeline.emulator.emulated_environment import EmulatedEnvironment
from apex_pipeline.emulator.schema import Table
from apex_pipeline.emulator.storage import joined, quoted
from apex_pipeline.emulator.targets import Draft

_STATES = frozenset({"statecode", "statuscode"})
_FIRST_NUMBER = 1000
_PLACEHOLDER = re.compile(r"\{(SEQNUM|RANDSTRING|DATETIMEUTC):([^}]*)\}")
_LONGEST_RANDOM = 6
# .NET's letters for parts of a date, as in the documentation's examples.
_DATE_PARTS = {"yyyy": "%Y", "MM": "%m", "dd": "%d", "HH": "%H", "hh": "%I"}
_DATE_PARTS |= {"mm": "%M", "ss": "%S"}


def before_create(env: EmulatedEnvironment, table: Table, draft: Draft) -> Draft:
    """Check, and fill in what the platform derives."""
    if not table.custom:
        _require(table, draft, *_REQUIRED.get(table.name, ()))
        rule = _BEFORE.get(table.name)
        draft = rule(env, table, draft) if rule else draft
    return _numbered(env, table, with_state(env, table, draft, None))


def after_write(
    env: EmulatedEnvironment, table: Table, record_id: str, *, created: bool
) -> None:
    """A new role gets privileges that were not asked for (observed); contacts a name."""
    if table.name == "role" and created:
        roles.inject_privileges(env, record_id)
    if table.name == "contact":
        whole = "COALESCE(firstname, '') || ' ' || COALESCE(lastname, '')"
        change = f"SET fullname = NULLIF(TRIM({whole}), '') WHERE contactid = ?"
        env.storage.execute(joined("UPDATE contact", change), (record_id,))


def with_state(
    env: EmulatedEnvironment, table: Table, draft: Draft, record_id: str | None
) -> Draft:
    """A draft whose state and status belong together.

    A state alone sets its default status. A status alone has to belong to the state of
    the record, or to the first where the record is new.

    Args:
        env: Where the record is.
        table: Its table.
        draft: What is to be written.
        record_id: The record; None for a new one.
    """
    if _STATES.isdisjoint(draft.columns):
        return draft
    held = draft.held()
    for name in _STATES & held.keys():
        if held[name] is None:
            raise web_api_errors.required_missing(f"{name} must not be null.")
    state = held.get("statecode", _state_of(env, table, record_id))
    belonging = [
        int(option["Value"])
        for option in _options(table, "statuscode")
        if option.get("State", option["Value"] - 1) == state
    ]
    if "statuscode" not in held:
        return draft.with_values({"statuscode": belonging[0]})
    if held["statuscode"] in belonging:
        return draft
    labels = {
        option["Value"]: option["Label"]["LocalizedLabels"][0]["Label"]
        for option in _options(table, "statecode")
    }
    shown = "" if record_id is None else f" with Id {guids.load_guid(record_id)}"
    raise web_api_errors.WebApiError(
        400,
        "0x80048408",
        f"{held['statuscode']} is not a valid status code for state code"
        f" {table.definition['SchemaName']}State.{labels[state]} on {table.name}{shown}.",
    )


def _state_of(env: EmulatedEnvironment, table: Table, record_id: str | None) -> Any:
    if record_id is None:
        return 0
    found = env.storage.of_record(table, "statecode", record_id)
    return found and found[0]


def _options(table: Table, name: str) -> list[Any]:
    options: Any = table.columns[name].definition["OptionSet"]
    listed: list[Any] = options["Options"]
    return listed


def _numbered(env: EmulatedEnvironment, table: Table, draft: Draft) -> Draft:
    """With the numbers that a new record does not bring along."""
    patterns = table.plans.get("autonumber")
    if patterns is None:
        patterns = table.plans["autonumber"] = {
            name: str(column.definition["AutoNumberFormat"])
            for name, column in table.columns.items()
            if column.definition.get("AutoNumberFormat")
        }
    missing = patterns.keys() - draft.columns if patterns else ()
    added = {
        name: _text(env, f"{table.name}.{name}", patterns[name]) for name in missing
    }
    return draft.with_values(added) if added else draft


def _text(env: EmulatedEnvironment, name: str, pattern: str) -> str:
    def fill(match: re.Match[str]) -> str:
        kind, length = match[1], match[2]
        if kind == "DATETIMEUTC":
            now = datetime.fromtimestamp(env.clock.now(), UTC)
            return re.sub(
                "|".join(_DATE_PARTS), lambda m: f"{now:{_DATE_PARTS[m[0]]}}", length
            )
        if not length.isdigit() or (
            kind == "RANDSTRING" and not 1 <= int(length) <= _LONGEST_RANDOM
        ):
            raise web_api_errors.invalid_definition("Invalid Argument")
        if kind == "RANDSTRING":
            return "".join(
                secrets.choice(string.ascii_uppercase + string.digits)
                for _ in range(int(length))
            )
        number = env.storage.document("autonumber", name) or _FIRST_NUMBER
        env.storage.put_document("autonumber", name, number + 1)
        return str(number).zfill(int(length))

    return _PLACEHOLDER.sub(fill, pattern)


def _application_user(env: EmulatedEnvironment, table: Table, draft: Draft) -> Draft:
    """One user for one application: DuplicateApplicationUser.

    That the business unit is required is documented for the column; status is chosen.
    """
    held = draft.held()
    application = held.get("applicationid")
    if application is None:
        raise web_api_errors.not_emulated("users that are not application users.")
    if _exists(env, table, "applicationid", application):
        raise web_api_errors.WebApiError(
            400,
            "0x8004f511",
            "Another user is already associated with application"
            f" {guids.load_guid(str(application))}.",
        )
    derived: dict[str, Stored] = {
        "fullname": f"# {guids.load_guid(str(application))}",
        "isdisabled": 0,
    }
    return draft.with_values(
        {name: value for name, value in derived.items() if name not in held}
    )


def _uniquely_named(env: EmulatedEnvironment, table: Table, draft: Draft) -> Draft:
    """Publishers and solutions have unique names; status and code are chosen."""
    held = draft.held()
    if _exists(env, table, "uniquename", held["uniquename"]):
        raise web_api_errors.WebApiError(
            412,
            "0x80040237",
            f"The {table.name} unique name '{held['uniquename']}' is already being used"
            " and cannot be used again.",
        )
    if table.name == "solution" and "ismanaged" not in held:
        return draft.with_values({"ismanaged": 0})
    return draft


def _require(table: Table, draft: Draft, *columns: str) -> None:
    """RequiredFieldMissing: system-required columns are enforced, others are not."""
    held = draft.held()
    for name in columns:
        if held.get(name) is None:
            raise web_api_errors.required_missing(
                f"{table.name}.{name} must not be empty."
            )


def _exists(env: EmulatedEnvironment, table: Table, column: str, value: object) -> bool:
    found = env.storage.select(table, "1", f"{quoted(column)} = ?", (str(value),))
    return bool(found)


_REQUIRED = {
    "systemuser": ("businessunitid",),
    "role": ("name", "businessunitid"),
    "publisher": ("uniquename", "friendlyname", "customizationprefix"),
    "solution": ("uniquename", "friendlyname", "publisherid", "version"),
}
_BEFORE: dict[str, Callable[[EmulatedEnvironment, Table, Draft], Draft]] = {
    "systemuser": _application_user,
    "publisher": _uniquely_named,
    "solution": _uniquely_named,
}
