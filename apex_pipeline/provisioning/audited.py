"""Provision Dataverse with an event in the audit trail of the metrics database."""

from collections.abc import Callable

from apex_pipeline.audit.canonical_json import Json
from apex_pipeline.audit.events import Action, Author, Event
from apex_pipeline.audit.intents import has_trail, intended
from apex_pipeline.postgres.database import Database
from apex_pipeline.provisioning.dataverse import Outcome, provision
from apex_pipeline.settings import DataverseSettings, Settings


def provision_audited(
    settings: Settings,
    administrator: DataverseSettings | None,
    author: Author,
    *,
    plan_only: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Create what Dataverse lacks, as `provision` does; its arguments and errors.

    The intent is committed before the first change. What changes nothing leaves no event,
    and neither does what comes before the database is provisioned: there is no trail yet.

    Raises:
        DatabaseError: The intent could not be written; nothing was changed.
    """

    def work(tell: Callable[[str], None]) -> Outcome:
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
        if not database.ask(has_trail):
            return work(tell)
        with intended(database, event) as ending:
            outcome = work(noting)
            ending.is_void = not made
        return outcome
