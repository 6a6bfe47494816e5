"""Formatted values: how a value is shown to a person, on request.

From "Select columns using OData", section on formatted values. Numbers and dates are
written as for a user in the United States whose time zone is UTC.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from apex_pipeline.emulator import codecs, decimals
from apex_pipeline.emulator.codecs import Stored
from apex_pipeline.emulator.schema import Column

ANNOTATION = "OData.Community.Display.V1.FormattedValue"

Formatter = Callable[[Stored], str]


def wanted(annotations: str) -> bool:
    """Whether `odata.include-annotations` asks for formatted values."""
    return annotations == "*" or ANNOTATION in annotations


def formatter(column: Column) -> Formatter | None:
    """How a column's values are formatted; None where they are not."""
    codec = column.codec
    match codec:
        case codecs.Choice() | codecs.Flag():
            labels = _labels(column)
            return lambda stored: labels.get(int(stored or 0), "")
        case codecs.WholeNumber():
            return lambda stored: f"{stored:,}"
        case decimals.DecimalNumber(precision=places):
            return lambda stored: f"{decimals.load_decimal(str(stored), places):,f}"
        case decimals.FloatingNumber(precision=places):
            return lambda stored: f"{stored:,.{places}f}"
        case codecs.Moment():
            return _instant
        case _:
            return None


def _labels(column: Column) -> dict[int, str]:
    options: Any = column.definition["OptionSet"] or {}
    listed = options.get("Options") or [
        options.get("TrueOption"),
        options.get("FalseOption"),
    ]
    return {
        int(each["Value"]): str(each["Label"]["LocalizedLabels"][0]["Label"])
        for each in listed
        if each
    }


def _instant(stored: Stored) -> str:
    """`10/30/2025 1:00 PM`."""
    text = str(stored)
    moment = datetime.fromisoformat(text)
    day = f"{moment.month}/{moment.day}/{moment.year}"
    if len(text) == len("2025-10-30"):
        return day
    half = "PM" if moment.hour >= 12 else "AM"
    return f"{day} {(moment.hour + 11) % 12 + 1}:{moment.minute:02d} {half}"
