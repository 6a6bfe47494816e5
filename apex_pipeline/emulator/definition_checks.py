"""Whether what was posted as a definition can be one."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from apex_pipeline.emulator import errors

Definition = Mapping[str, object]

_WIDEST = 10**11


def objects(value: object, what: str) -> list[dict[str, Any]]:
    """A JSON collection of objects."""
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise errors.malformed_payload(what, f"{what} is not a collection of objects.")
    return value


def check_table_changes(body: Definition) -> None:
    """The switches that can be changed have to be switches."""
    tracking = body.get("ChangeTrackingEnabled", False)
    audit = body.get("IsAuditEnabled", {"Value": False})
    if not isinstance(tracking, bool) or not (
        isinstance(audit, dict) and isinstance(audit.get("Value"), bool)
    ):
        raise errors.invalid_definition(
            "ChangeTrackingEnabled and IsAuditEnabled.Value must be true or false."
        )


def check_column(kind: str, definition: Definition) -> None:
    """Types, and the limits of "Create and edit columns".

    4,000 characters (multiline text: 1,048,576), ten places, 10^11.
    """
    for flag in ("IsPrimaryName", "IsValidForCreate", "IsValidForUpdate"):
        if not isinstance(definition.get(flag), bool):
            raise errors.invalid_definition(f"{flag} must be true or false.")
    if kind in {"String", "Memo"}:
        most = 4000 if kind == "String" else 2**20
        _check_whole(definition, "MaxLength", 1, most)
    elif kind in {"Decimal", "Money", "Double"}:
        _check_whole(definition, "Precision", 0, 5 if kind == "Double" else 10)
        _check_range(definition, _WIDEST)
    elif kind in {"Integer", "BigInt"}:
        bits = 31 if kind == "Integer" else 63
        _check_whole(definition, "MinValue", -(2**bits), 2**bits - 1)
        _check_whole(definition, "MaxValue", -(2**bits), 2**bits - 1)
    elif kind == "DateTime":
        behavior = definition["DateTimeBehavior"]
        known = {"UserLocal", "DateOnly", "TimeZoneIndependent"}
        if not isinstance(behavior, dict) or str(behavior.get("Value")) not in known:
            raise errors.invalid_definition(
                f"DateTimeBehavior must be one of {', '.join(sorted(known))}."
            )
    elif kind in {"Picklist", "State", "Status", "Boolean"}:
        _check_options(definition["OptionSet"])


def _check_whole(definition: Definition, name: str, least: int, most: int) -> None:
    number = definition.get(name)
    if type(number) is not int or not least <= number <= most:
        raise errors.invalid_definition(
            f"{name} must be {least} to {most}, not {number}."
        )


def _check_range(definition: Definition, widest: int) -> None:
    for name in ("MinValue", "MaxValue"):
        number = definition[name]
        if type(number) not in {int, float, Decimal}:
            raise errors.invalid_definition(f"{name} must be a number.")
        if abs(Decimal(str(number))) > widest:
            raise errors.invalid_definition(f"{name} must be within {widest:,}.")


def _check_options(given: object) -> None:
    """Null, or options that each have a number and a label."""
    if given is None:
        return
    if not isinstance(given, dict):
        raise errors.invalid_definition("OptionSet must be an object.")
    listed = given.get("Options") or [
        each for each in (given.get("TrueOption"), given.get("FalseOption")) if each
    ]
    for option in objects(listed, "Options"):
        labels = (option.get("Label") or {}).get("LocalizedLabels")
        if type(option.get("Value")) is not int or not objects(labels, "Label"):
            raise errors.invalid_definition("Each option needs a Value and a Label.")
