"""Provision Dataverse with an event in the audit trail of the metrics database."""

from collections.abc import Callable

from apex_pipeline.audit.canonical_json import Json
from apex_pipeline.audit.events import Action, Author, Event
from apex_pipeline.audit.intents import has_trail, intended
from apex_pipeline.errors import DatabaseError, SchemaMissingError
from apex_pipeline.postgres.database import Database
from apex_pipeline.provisioning.dataverse import ProvisioningOutcome, provision
from apex_pipeline.settings import DataverseSettings, Settings

_UNCHANGED = (
    "Nothing was changed in Dataverse, because the audit trail in DATABASE_URL must "
    "record it first."
)


def provision_audited(
    settings: Settings,
    administrator: DataverseSettings | None,
    author: Author,
    *,
    plan_only: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> ProvisioningOutcome:
    """Create what Dataverse lacks, as `provision` does; its arguments and errors.

    The intent is committed before the first change. What changes nothing leaves no event.

    Raises:
        DatabaseError: The database does not answer or has no trail yet, so the intent
            could not be written; nothing was changed.
    """

    def work(tell: Callable[[str], None]) -> ProvisioningOutcome:
        return provision(
            settings.dataverse,
            administrator,
            settings.token_cache_path,
            plan_only=plan_only,
            tell=tell,
        )

    if plan_only:
        return work(tell)
    signed_in = (administrator or settings.dataverse).client_id
    event = Event(
        Action.PROVISION,
        author,
        {"environment": settings.dataverse.resource, "application": signed_in},
    )
    made: list[Json] = []

    def noting(text: str) -> None:
        made.append(text)
        ending.subject["created"] = made
        tell(text)

    with Database(settings.database_url, application_name="apex provision") as database:
        _require_trail(database)
        with intended(database, event) as ending:
            outcome = work(noting)
            ending.is_void = not made
        return outcome


def _require_trail(database: Database) -> None:
    try:
        exists = database.ask(has_trail)
    except DatabaseError as error:
        raise type(error)(f"{_UNCHANGED} {error}") from error
    if not exists:
        raise SchemaMissingError(
            f"{_UNCHANGED} The database has no audit trail yet: run `apex provision "
            "database` first, or `apex provision` for both."
        )
