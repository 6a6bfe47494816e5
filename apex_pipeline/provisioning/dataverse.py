"""Provision Dataverse for the sync, and verify the result.

Each step reads everything, plans, makes the first change of the plan, and waits until a
read shows it. So an interrupted run needs no stored progress, and a write whose answer
was lost is looked for before it is sent again.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from apex_pipeline.dataverse.answer_shape import as_documented
from apex_pipeline.dataverse.client import DataverseClient
from apex_pipeline.dataverse.environment import connect
from apex_pipeline.dataverse.retry_policy import RetryPolicy
from apex_pipeline.dataverse.throttling import Deadline
from apex_pipeline.errors import (
    AuthError,
    ConfigError,
    RejectedError,
    SchemaDriftError,
    TransientError,
)
from apex_pipeline.provisioning import access_verification
from apex_pipeline.provisioning.dataverse_changes import carry_out
from apex_pipeline.provisioning.desired_state import (
    Change,
    Plan,
    combined,
    make_plan,
)
from apex_pipeline.provisioning.existing_state import Found
from apex_pipeline.provisioning.inspection import inspect
from apex_pipeline.settings import DataverseSettings


@dataclass(frozen=True, slots=True)
class Patience:
    """Timeouts in seconds, and retries.

    Attributes:
        effect: Until an accepted change can be read and used.
        lost: Until a change without an answer counts as not accepted.
        attempts: How often to send a change whose answers are lost.
        total: For everything together.
        retry: Retries of each request.
    """

    effect: float = 120.0
    lost: float = 60.0
    attempts: int = 3
    total: float = 1800.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)


@dataclass(frozen=True, slots=True)
class ProvisioningOutcome:
    """Result of provisioning Dataverse.

    Attributes:
        plan: What differed at the first read.
        applied: The changes made, in words.
        checks: What was verified, in words; empty with `plan_only`.
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
) -> ProvisioningOutcome:
    """Create what is missing of publisher, solution, table, role and application users.

    Args:
        settings: The applications that will sync.
        administrator: Credentials for the changes; None for the application itself.
        token_cache: File of the shared token cache.
        plan_only: Only read and compare.
        patience: Timeouts and retries.
        tell: Called with each change once a read shows it.

    Raises:
        SchemaDriftError: Something needs a fix by hand. Lists all of it; nothing was
            changed.
        AuthError: The administrator or application lacks a privilege.
        DataverseError: See the tree in `errors`; the next run continues.
        ConfigError: The client id is not a GUID.
    """
    try:
        applications = [str(UUID(user.client_id)) for user in settings.users]
    except ValueError:
        raise ConfigError(
            "AZURE_CLIENT_ID must be the application (client) id, a GUID."
        ) from None
    patience = patience or Patience()
    work = _Work(applications, patience, Deadline(patience.total), tell)
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
) -> ProvisioningOutcome:
    async with connect(
        administrator or settings, token_cache, retry=work.patience.retry
    ) as environment:
        applied: list[str] = []
        ready: list[Found] = []
        try:
            found = await work.look_at_all(environment.client)
            plan = combined([_planned(each) for each in found])
            if plan_only:
                return ProvisioningOutcome(plan)
            if plan.drifts:
                raise SchemaDriftError("\n".join(plan.drifts))
            for each in found:
                # Earlier changes serve all applications.
                now = (
                    each
                    if each is found[0]
                    else await work.look(environment.client, each.application)
                )
                made, after = await work.converge(environment.client, now)
                applied += made
                ready.append(after)
        except AuthError as error:
            if error.status != 403:
                raise
            raise _not_allowed(error, is_administrator=bool(administrator)) from error
        checks: dict[str, None] = {}
        for user, each in zip(settings.users, ready, strict=True):
            async with connect(
                user, token_cache, retry=work.patience.retry
            ) as application:
                # The first one provisioned, so it may do what an administrator may.
                is_first = user.client_id == settings.client_id
                helper = environment.client if administrator or not is_first else None
                done = await access_verification.verify(
                    application.client,
                    helper,
                    each,
                    work.deadline,
                    work.patience.effect,
                )
            several = f"{user.client_id}: " if settings.others else ""
            checks |= dict.fromkeys(f"{several}{check}" for check in done)
    return ProvisioningOutcome(plan, tuple(applied), tuple(checks))


@dataclass(frozen=True, slots=True)
class _Work:
    applications: list[str]
    patience: Patience
    deadline: Deadline
    tell: Callable[[str], None]

    async def look(self, client: DataverseClient, application: str) -> Found:
        return await inspect(client, application, self.deadline)

    async def look_at_all(self, client: DataverseClient) -> list[Found]:
        return [await self.look(client, each) for each in self.applications]

    async def converge(
        self, client: DataverseClient, found: Found
    ) -> tuple[list[str], Found]:
        """Make the changes one by one, with a new plan after each."""
        applied: list[str] = []
        while True:
            plan = _planned(found)
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
                # An earlier request without an answer may have made the change already.
                error, wait = refusal, 0.0
            found = await self._look_for(client, change, found, wait)
            if not change.is_in(_planned(found)):
                return found
            if error is None:
                raise TransientError(
                    f"Dataverse accepted the {change.text}, but does not show it after "
                    f"{wait:g} s. Run the command again later."
                )
            if isinstance(error, RejectedError) or attempt >= self.patience.attempts:
                raise error

    async def _look_for(
        self, client: DataverseClient, change: Change, found: Found, seconds: float
    ) -> Found:
        """Read until the change shows, at most for `seconds`."""

        async def is_there() -> bool:
            nonlocal found
            found = await self.look(client, found.application)
            return not change.is_in(_planned(found))

        await access_verification.until(is_there, seconds)
        return found


def _planned(found: Found) -> Plan:
    """The plan; comparing reads the properties of columns, which are as they came."""
    with as_documented("compare the environment with what it should hold"):
        return make_plan(found)


def _not_allowed(error: AuthError, *, is_administrator: bool) -> AuthError:
    who = (
        "APEX_ADMIN_CLIENT_ID needs an application user with the role System "
        "Administrator in the environment."
        if is_administrator
        else "Without APEX_ADMIN_* the application provisions itself and needs the role "
        "System Administrator for that time. Configure an administrator instead, if you can."
    )
    return AuthError(
        f"{error.message} {who}",
        status=error.status,
        code=error.code,
        request_id=error.request_id,
    )
