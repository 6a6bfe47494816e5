"""Makes Dataverse as the sync needs it, and finds out whether it is.

Each step is: read everything, plan, make the first change of the plan, wait until a
read shows it. So an interrupted run needs no record of how far it came, and a write
whose answer was lost is looked for before it is sent again.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from apex_pipeline.dataverse.client import DataverseClient
from apex_pipeline.dataverse.environment import connect
from apex_pipeline.dataverse.gate import Deadline
from apex_pipeline.dataverse.sender import RetryPolicy
from apex_pipeline.errors import (
    AuthError,
    ConfigError,
    RejectedError,
    SchemaDriftError,
    TransientError,
)
from apex_pipeline.provisioning import access_verification
from apex_pipeline.provisioning.dataverse_changes import carry_out
from apex_pipeline.provisioning.desired_state import Change, Plan, make_plan
from apex_pipeline.provisioning.existing_state import Found
from apex_pipeline.provisioning.inspection import inspect
from apex_pipeline.settings import DataverseSettings


@dataclass(frozen=True, slots=True)
class Patience:
    """How long things may take, in seconds.

    Attributes:
        effect: Until what Dataverse accepted can be read, and used.
        lost: Until what may have been accepted is taken for not accepted.
        attempts: How often a change is sent whose answers get lost.
        total: For everything.
    """

    effect: float = 120.0
    lost: float = 60.0
    attempts: int = 3
    total: float = 1800.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was found, done and seen.

    Attributes:
        plan: How it differed when it was first read.
        applied: The changes made, in words.
        checks: What was verified, in words; empty where only a plan was asked for.
    """

    plan: Plan
    applied: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()


def provision(
    settings: DataverseSettings,
    administrator: DataverseSettings | None,
    token_cache: Path,
    *,
    plan_only: bool = False,
    patience: Patience | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Make publisher, solution, table, role and application user as they should be.

    Args:
        settings: The application that is to sync.
        administrator: Who makes the changes; None for the application itself.
        token_cache: File that tokens are shared through.
        plan_only: Read and compare only.
        patience: How long things may take.
        tell: Is told of each change once it can be seen.

    Raises:
        SchemaDriftError: Something is there in a way that only a person can mend. All
            of it is named; nothing was changed.
        AuthError: Whoever provisions may not.
        DataverseError: See the tree in `errors`; the next run goes on from there.
        ConfigError: The client id is not one.
    """
    try:
        application = str(UUID(settings.client_id))
    except ValueError:
        raise ConfigError(
            "AZURE_CLIENT_ID must be the application (client) id, a GUID."
        ) from None
    patience = patience or Patience()
    work = _Work(application, patience, Deadline(patience.total), tell)
    return asyncio.run(
        _provision(work, settings, administrator, token_cache, plan_only=plan_only)
    )


async def _provision(
    work: "_Work",
    settings: DataverseSettings,
    administrator: DataverseSettings | None,
    token_cache: Path,
    *,
    plan_only: bool,
) -> Outcome:
    async with connect(
        administrator or settings, token_cache, retry=work.patience.retry
    ) as environment:
        try:
            found = await work.look(environment.client)
            plan = make_plan(found)
            if plan_only:
                return Outcome(plan)
            applied, found = await work.converge(environment.client, found)
        except AuthError as error:
            if error.status != 403:
                raise
            raise _not_allowed(error, is_administrator=bool(administrator)) from error
        async with connect(
            settings, token_cache, retry=work.patience.retry
        ) as application:
            checks = await access_verification.verify(
                application.client,
                environment.client if administrator else None,
                found,
                work.deadline,
                work.patience.effect,
            )
    return Outcome(plan, tuple(applied), tuple(checks))


@dataclass(frozen=True, slots=True)
class _Work:
    application: str
    patience: Patience
    deadline: Deadline
    tell: Callable[[str], None]

    async def look(self, client: DataverseClient) -> Found:
        return await inspect(client, self.application, self.deadline)

    async def converge(
        self, client: DataverseClient, found: Found
    ) -> tuple[list[str], Found]:
        """Make the changes one by one, planning anew after each."""
        applied: list[str] = []
        while True:
            plan = make_plan(found)
            if plan.drifts:
                raise SchemaDriftError("\n".join(plan.drifts))
            if not plan.changes:
                return applied, found
            found = await self._make(client, plan.changes[0], found)
            applied.append(plan.changes[0].text)
            self.tell(plan.changes[0].text)

    async def _make(
        self, client: DataverseClient, change: Change, found: Found
    ) -> Found:
        attempt = 0
        while True:
            attempt += 1
            error: TransientError | RejectedError | None = None
            wait = self.patience.effect
            try:
                await carry_out(client, change, found, self.deadline)
            except TransientError as lost:
                error, wait = lost, self.patience.lost
            except RejectedError as refusal:
                # Also the answer to what an unanswered request has made meanwhile.
                error, wait = refusal, 0.0
            found = await self._look_for(client, change, found, wait)
            if not change.is_in(make_plan(found)):
                return found
            if error is None:
                raise TransientError(
                    f"Dataverse accepted the {change.text}, but does not show it after "
                    f"{wait:g} s. Run the same again later."
                )
            if isinstance(error, RejectedError) or attempt >= self.patience.attempts:
                raise error

    async def _look_for(
        self, client: DataverseClient, change: Change, found: Found, seconds: float
    ) -> Found:
        """Read until the change is there, or for so long."""

        async def is_there() -> bool:
            nonlocal found
            found = await self.look(client)
            return not change.is_in(make_plan(found))

        await access_verification.until(is_there, seconds)
        return found


def _not_allowed(error: AuthError, *, is_administrator: bool) -> AuthError:
    who = (
        "APEX_ADMIN_CLIENT_ID needs an application user with the role System "
        "Administrator in the environment."
        if is_administrator
        else "Without APEX_ADMIN_* the application provisions itself, for which it needs "
        "the role System Administrator meanwhile; better name an administrator."
    )
    return AuthError(
        f"{error.message} {who}",
        status=error.status,
        code=error.code,
        request_id=error.request_id,
    )
