"""Deliver as several application users at once; Dataverse limits each by itself.

Each user has its own token, connections, pacing and budget. One stream feeds them all:
each request goes to the user with the most room. A user that Dataverse or Entra refuses
is left out for the rest of the run, and another user takes over its rows.
"""

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TypeVar

from apex_pipeline.dataverse.client import DataverseClient
from apex_pipeline.dataverse.environment import Environment, connect
from apex_pipeline.dataverse.request_size import RequestSize
from apex_pipeline.dataverse.retry_policy import RetryPolicy
from apex_pipeline.dataverse.throttling import Deadline
from apex_pipeline.errors import (
    ApexError,
    AuthError,
    ConfigError,
    OutOfTimeError,
    TransientError,
)
from apex_pipeline.metrics import CampaignMetric
from apex_pipeline.settings import DataverseSettings
from apex_pipeline.sync.delivery_outcome import Delivery
from apex_pipeline.sync.pacing_memory import PacingMemory, PacingState
from apex_pipeline.sync.request_delivery import MetricSink

logger = logging.getLogger(__name__)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Refused:
    """An application user that was left out, and why."""

    client_id: str
    reason: str

    def __str__(self) -> str:
        """One sentence for an operator."""
        return f"The application user {self.client_id} was left out: {self.reason}"


@dataclass(slots=True)
class ApplicationUser:
    """One connected application user.

    Attributes:
        under_way: Deliveries that it is carrying out.
        refusal: Why it is left out, if it is.
    """

    client_id: str
    environment: Environment
    memory: PacingMemory
    sink: MetricSink
    under_way: int = 0
    refusal: ApexError | None = None

    @property
    def slots(self) -> int:
        """How many deliveries it may carry out at once."""
        return self.environment.pacer.concurrency + self.environment.sender.resting

    def wait(self, more: int = 0) -> float:
        """Seconds until it can send after `more` others; infinite without a free slot."""
        pacer, resting = self.environment.pacer, self.environment.sender.resting
        promised = max(self.under_way - pacer.in_flight - resting, 0)
        return pacer.wait(time.monotonic(), promised + more)

    def room(self) -> int:
        """How many more deliveries it can send at once."""
        return next(more for more in count() if self.wait(more) > 0)

    def is_out_of_budget(self) -> bool:
        """Whether it has to wait for its limits, although it has a free slot."""
        return 0.0 < self.wait() < float("inf")


class ApplicationUsers:
    """All application users of a run, as one sink."""

    def __init__(self, users: Sequence[ApplicationUser]) -> None:
        self._users = users

    @property
    def requests(self) -> int:
        """How many requests were sent, retries included."""
        return sum(user.environment.sender.requests for user in self._users)

    @property
    def throttled_seconds(self) -> float:
        """How long Dataverse kept a user waiting, added up."""
        return sum(user.environment.gate.throttled_seconds for user in self._users)

    @property
    def least_throttled_seconds(self) -> float:
        """How long Dataverse kept every user waiting that was not left out."""
        return min(u.environment.gate.throttled_seconds for u in self._working())

    @property
    def token_hits(self) -> int:
        """Requests served without asking Entra."""
        return sum(user.environment.tokens.hits for user in self._users)

    @property
    def token_misses(self) -> int:
        """Requests that needed a token from Entra."""
        return sum(user.environment.tokens.misses for user in self._users)

    @property
    def refused(self) -> tuple[Refused, ...]:
        """The users that were left out; empty with one user, whose refusal fails the run."""
        if len(self._users) == 1:
            return ()
        return tuple(
            Refused(user.client_id, str(user.refusal))
            for user in self._users
            if user.refusal is not None
        )

    def slots(self) -> int:
        """How many deliveries may run at once.

        Rows are not handed out before somebody can send them. They would wait with one
        user, while another has room. One delivery may always begin, to wait at a gate.
        """
        return sum(user.under_way + user.room() for user in self._working()) or 1

    async def deliver(
        self, metrics: Sequence[CampaignMetric], deadline: Deadline
    ) -> Delivery:
        """Deliver with the user that has the most room; pass on what it cannot."""
        done = Delivery()
        rest = list(metrics)
        while True:
            user = self._choose()
            user.under_way += 1
            try:
                part = await user.sink.deliver(rest, deadline)
            finally:
                user.under_way -= 1
            if part.acknowledged:
                user.memory.refusal = ""
            done = done.and_then(part)
            settled = {*part.acknowledged}
            settled |= {each.id for each in (*part.rejections, *part.suspects)}
            rest = [each for each in rest if each.id not in settled]
            if not (rest and self._can_pass_on(user, part.failure, deadline)):
                return done

    async def ask(self, work: Callable[[DataverseClient], Awaitable[_T]]) -> _T:
        """Run `work` as the first user that is not refused.

        Raises:
            DataverseError: All users were refused, or another error; see `errors`.
        """
        while True:
            user = self._choose()
            try:
                return await work(user.environment.client)
            except ApexError as error:
                if not self._leave_out(user, error):
                    raise

    def _working(self) -> list[ApplicationUser]:
        """The users that are not left out; the first, whose refusal is final, if all are."""
        return [u for u in self._users if u.refusal is None] or [self._users[0]]

    def _choose(self) -> ApplicationUser:
        def order(user: ApplicationUser) -> tuple[float, bool, float]:
            # An earlier run left this one out; one request shows whether it works again.
            is_on_trial = bool(user.memory.refusal) and not user.under_way
            return user.wait(), not is_on_trial, user.under_way / max(user.slots, 1)

        return min(self._working(), key=order)

    def _can_pass_on(
        self, user: ApplicationUser, failure: ApexError | None, deadline: Deadline
    ) -> bool:
        """Whether another user can deliver what this one could not."""
        if failure is None or deadline.is_cut:
            return False
        if isinstance(failure, OutOfTimeError):
            is_throttled = failure.retry_at is not None and deadline.remaining() > 0
            return is_throttled and any(
                not other.is_out_of_budget()
                for other in self._working()
                if other is not user
            )
        return self._leave_out(user, failure)

    def _leave_out(self, user: ApplicationUser, failure: ApexError) -> bool:
        """Leave a refused user out; False if that leaves no other or it is not refused."""
        if not _is_refusal(failure):
            return False
        if user.refusal is None:
            user.refusal = failure
            user.memory.refusal = str(failure)
            if len(self._users) > 1:
                logger.warning("%s", Refused(user.client_id, str(failure)))
        return any(other.refusal is None for other in self._users)

    def states(
        self, size: RequestSize | None
    ) -> list[tuple[PacingMemory, PacingState]]:
        """What to store of each user for the next run; saving may happen in a thread."""
        return [
            (user.memory, user.memory.state(user.environment.pacer, size))
            for user in self._users
        ]


@asynccontextmanager
async def connect_users(
    settings: DataverseSettings,
    token_cache: Path,
    memory_of: Callable[[DataverseSettings], PacingMemory],
    make_sink: Callable[[DataverseClient, RetryPolicy], MetricSink],
    *,
    retry: RetryPolicy,
    request_timeout: float,
    size: RequestSize,
) -> AsyncIterator[ApplicationUsers]:
    """Connect as every application user; nothing is sent before the first request.

    Args:
        settings: The environment and its application users.
        token_cache: File of the shared token cache.
        memory_of: The stored pacing of one user.
        make_sink: Creates the sink of one user.
        retry: Retries of each request.
        request_timeout: Seconds after which a request times out.
        size: Receives the stored request size; the first user's wins.

    Raises:
        ConfigError: The CA bundle is unusable.
    """
    users: list[ApplicationUser] = []
    async with AsyncExitStack() as stack:
        for one in reversed(settings.users):
            memory = memory_of(one)
            environment = await stack.enter_async_context(
                connect(
                    one,
                    token_cache,
                    pacer=memory.restored(size=size),
                    retry=retry,
                    request_timeout=request_timeout,
                )
            )
            sink = make_sink(environment.client, retry)
            users.insert(0, ApplicationUser(one.client_id, environment, memory, sink))
        yield ApplicationUsers(users)


def _is_refusal(failure: ApexError) -> bool:
    """Whether the failure concerns one user: its credentials, its user or its role."""
    if isinstance(failure, AuthError | ConfigError):
        return True
    return isinstance(failure, TransientError) and failure.status == 401
