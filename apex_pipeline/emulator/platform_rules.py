"""What creating one of the platform's own records means beyond its columns."""

from collections.abc import Callable

from apex_pipeline.emulator import errors, guids, roles
from apex_pipeline.emulator.codecs import Stored
from apex_pipeline.emulator.environment import Environment
from apex_pipeline.emulator.schema import Table
from apex_pipeline.emulator.storage import quoted
from apex_pipeline.emulator.targets import Draft


def before_create(env: Environment, table: Table, draft: Draft) -> Draft:
    """Check, and fill in what the platform derives."""
    rule = _BEFORE.get(table.name)
    return rule(env, table, draft) if rule else draft


def after_write(
    env: Environment, table: Table, record_id: str, *, created: bool
) -> None:
    """A new role gets privileges that were not asked for (observed); contacts a name."""
    if table.name == "role" and created:
        roles.inject_privileges(env, record_id)
    if table.name == "contact":
        env.storage.execute(
            "UPDATE contact SET fullname = NULLIF(TRIM(COALESCE(firstname, '') || ' ' ||"
            " COALESCE(lastname, '')), '') WHERE contactid = ?",
            (record_id,),
        )


def _application_user(env: Environment, table: Table, draft: Draft) -> Draft:
    """One user for one application: DuplicateApplicationUser.

    That the business unit is required is documented for the column; status is chosen.
    """
    _require(table, draft, "businessunitid")
    held = dict(zip(draft.columns, draft.values, strict=True))
    application = held.get("applicationid")
    if application is None:
        raise errors.not_emulated("users that are not application users.")
    if _exists(env, table, "applicationid", application):
        raise errors.WebApiError(
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


def _role(env: Environment, table: Table, draft: Draft) -> Draft:
    del env
    _require(table, draft, "name", "businessunitid")
    return draft


def _uniquely_named(env: Environment, table: Table, draft: Draft) -> Draft:
    """Publishers and solutions have unique names; status and code are chosen."""
    needed = {
        "solution": ("publisherid", "version"),
        "publisher": ("customizationprefix",),
    }
    _require(table, draft, "uniquename", "friendlyname", *needed[table.name])
    held = dict(zip(draft.columns, draft.values, strict=True))
    if _exists(env, table, "uniquename", held["uniquename"]):
        raise errors.WebApiError(
            412,
            "0x80040237",
            f"The {table.name} unique name '{held['uniquename']}' is already being used"
            " and cannot be used again.",
        )
    return (
        draft
        if "ismanaged" in held or table.name == "publisher"
        else (draft.with_values({"ismanaged": 0}))
    )


def _require(table: Table, draft: Draft, *columns: str) -> None:
    """RequiredFieldMissing: system-required columns are enforced, others are not."""
    held = dict(zip(draft.columns, draft.values, strict=True))
    for name in columns:
        if held.get(name) is None:
            raise errors.WebApiError(
                400,
                "0x80040200",
                f"Required field missing. {table.name}.{name} must not be empty.",
            )


def _exists(env: Environment, table: Table, column: str, value: object) -> bool:
    found = env.storage.select(table, "1", f"{quoted(column)} = ?", (str(value),))
    return bool(found)


_BEFORE: dict[str, Callable[[Environment, Table, Draft], Draft]] = {
    "systemuser": _application_user,
    "role": _role,
    "publisher": _uniquely_named,
    "solution": _uniquely_named,
}
