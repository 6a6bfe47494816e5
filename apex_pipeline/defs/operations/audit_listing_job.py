"""The job that does in the Dagster UI what `apex audit list` and `show` do in a terminal."""

import json
from datetime import date, timedelta

import dagster as dg
from pydantic import Field

from apex_pipeline.audit import trail
from apex_pipeline.audit.canonical_json import Json
from apex_pipeline.audit.events import Action
from apex_pipeline.defs.job_tags import OPERATOR_TAGS
from apex_pipeline.defs.quarantine.quarantine_asset import table
from apex_pipeline.defs.services import Services
from apex_pipeline.errors import ApexError, ConfigError

_LISTED = 50
# The event log stores the whole list.
_MOST_LISTED = 1000


class ListingConfig(dg.Config):
    """Which events to list; an empty text or 0 means not set."""

    sequence: int = Field(default=0, description="Only the event of this number.")
    action: str = Field(
        default="",
        description=f"Only events of this kind: {', '.join(Action)}.",
    )
    actor: str = Field(default="", description="Only events of this actor.")
    first: str = Field(default="", description="First day, UTC, such as 2026-11-25.")
    last: str = Field(default="", description="Last day, inclusive.")
    before: int = Field(default=0, description="Only events before this number.")
    limit: int = Field(
        default=_LISTED, description="Maximum events to show, 1 to 1 000."
    )


@dg.op
def list_events(
    context: dg.OpExecutionContext, config: ListingConfig, services: Services
) -> None:
    """List events, newest first, each with all that it holds."""
    try:
        found = _events(config, services)
    except ApexError as error:
        raise dg.Failure(str(error), allow_retries=False) from None
    lines: list[dict[str, str | int]] = [
        {name: _cell(value) for name, value in event.items()} for event in found
    ]
    context.add_output_metadata(
        {"events": table(lines)} if lines else {"events_found": 0}
    )


def _events(config: ListingConfig, services: Services) -> list[dict[str, Json]]:
    if not 1 <= config.limit <= _MOST_LISTED:
        raise ConfigError(f"limit must be 1 to {_MOST_LISTED}.")
    if config.action not in {"", *Action}:
        raise ConfigError(f"action must be one of {', '.join(Action)}.")
    first, last = _day("first", config.first), _day("last", config.last)
    with services.open_database() as database:
        if config.sequence:
            return [database.ask(trail.one, config.sequence)]
        return database.ask(
            trail.newest,
            limit=config.limit,
            before=config.before or None,
            action=Action(config.action) if config.action else None,
            actor=config.actor or None,
            since=None if first is None else f"{first}T00:00:00Z",
            until=None if last is None else f"{last + timedelta(days=1)}T00:00:00Z",
        )


def _day(name: str, text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise ConfigError(f"{name} must be a date like 2026-11-25.") from None


def _cell(value: Json) -> str | int:
    match value:
        case None:
            return ""
        case int() | str():
            return value
        case _:
            return json.dumps(value, sort_keys=True, allow_nan=False)


@dg.job(
    executor_def=dg.in_process_executor,
    description="Lists events of the audit trail, like `apex audit list` and `show`. Run "
    "it to see who did what.",
    tags=OPERATOR_TAGS,
)
def list_audit_trail() -> None:
    """List events of the audit trail."""
    list_events()
