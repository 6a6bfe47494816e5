"""Send one request until an answer settles it.

All retries happen here and nowhere else. After a lost answer or a passing fault, the
request is sent again, unless it must not be repeated.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from uuid import uuid4

import httpx

from apex_pipeline.dataverse.answers import (
    Remedy,
    failure,
    is_intercepted,
    is_too_much,
    remedy,
)
from apex_pipeline.dataverse.retry_policy import RetryPolicy
from apex_pipeline.dataverse.throttling import Deadline, Gate
from apex_pipeline.errors import (
    DataverseError,
    InterceptedError,
    OutOfTimeError,
    TooMuchError,
    TransientError,
)
from apex_pipeline.microsoft.http_answer import Answer, Expectation
from apex_pipeline.microsoft.http_transport import translated
from apex_pipeline.microsoft.tokens import TokenSource

logger = logging.getLogger(__name__)

_HEADERS = {
    "Accept": "application/json",
    "OData-MaxVersion": "4.0",
    "OData-Version": "4.0",
}
_MAX_ANSWER_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, and what the sender needs to know about it.

    Attributes:
        what: Completes "could not …" in messages.
        expected: Recognizes the documented success; nothing else counts as success.
        is_divisible: Whether its content can go in smaller parts. Then a request that
            was too large is not sent again unchanged.
        is_repeatable: Whether running it twice is harmless. If not, it is retried only
            after a 429 or a 401, which come before any work.
        refuses_token: Whether a part of a successful answer refuses the token. The next
            request gets a new one.
    """

    method: str
    url: str
    what: str
    expected: Expectation
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    is_divisible: bool = False
    is_repeatable: bool = True
    refuses_token: Callable[[Answer], bool] = lambda _: False


class Sender:
    """Sends this process's requests to Dataverse: token, gate, connection, retry.

    Attributes:
        requests: How many requests were sent, retries included.
        resting: How many wait to retry; their slots are free for others meanwhile.
    """

    def __init__(
        self,
        tokens: TokenSource,
        http: httpx.AsyncClient,
        gate: Gate,
        *,
        request_timeout: float = 120.0,
        retry: RetryPolicy | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._tokens = tokens
        self._http = http
        self._gate = gate
        self._request_timeout = request_timeout
        self._retry = retry or RetryPolicy()
        self._chance = chance
        self._was_accepted = False
        self._refused_in_part: str | None = None
        self._told: set[str] = set()
        self.requests = 0
        self.resting = 0

    async def send(self, request: Request, deadline: Deadline) -> Answer:
        """Send until the request succeeds, or `Remedy` or the policy gives up.

        After a 401, one new token is tried. If Dataverse refuses that too, the request
        fails, unless an earlier request of this sender has succeeded: then the refusal
        counts as a passing fault.

        Raises:
            TooMuchError: Send a divisible request in smaller parts.
            DataverseError: See the tree in `errors`.
            ConfigError: The server's certificate is not trusted.
            OutOfTimeError: The deadline came before there was room for the request; its
                cause is the error before that, if any.
        """
        attempt = 0
        refused: str | None = None
        error: DataverseError | None = None
        while True:
            is_sent = False
            try:
                token = await self._token(refused)
                is_sent = True
                answer = await self._attempt(request, token, deadline, attempt)
            except OutOfTimeError as late:
                raise late from error
            except TransientError as lost:
                error, verdict = lost, Remedy.RETRY
            else:
                verdict = remedy(answer, request.expected)
                if verdict is Remedy.NONE:
                    self._accept(request, token, answer)
                    return answer
                is_renewed = refused is not None
                if verdict is Remedy.RENEW:
                    refused, is_sent = token, False
                if verdict is Remedy.WAIT or (
                    verdict is Remedy.RENEW and not is_renewed
                ):
                    error = self._stand_in(answer, request) or error
                    continue
                error = _failure(answer, request)
                if verdict is Remedy.RENEW and self._was_accepted:
                    error, verdict = _refused_again(error), Remedy.RETRY
            attempt += 1
            self._tell(error)
            if (
                verdict is not Remedy.RETRY
                or (is_sent and not request.is_repeatable)
                or (request.is_divisible and isinstance(error, TooMuchError))
            ):
                raise error
            await self._pause(error, attempt, deadline, is_sent=is_sent)

    def _stand_in(self, answer: Answer, request: Request) -> DataverseError | None:
        """The error for a pause that something else than Dataverse asks for."""
        if not is_intercepted(answer):
            return None
        error = _failure(answer, request)
        self._tell(error)
        return error

    def _accept(self, request: Request, token: str, answer: Answer) -> None:
        self._was_accepted = True
        if request.refuses_token(answer):
            self._refused_in_part = token

    async def _pause(
        self, error: DataverseError, attempt: int, deadline: Deadline, *, is_sent: bool
    ) -> None:
        """Wait before the next attempt; raise the error if no attempt is left."""
        asked = error.retry_after if isinstance(error, TransientError) else None
        wait = max(self._retry.wait(attempt, self._chance()), asked or 0.0)
        # For a request that was sent, the gate decides whether a retry has time.
        is_late = not is_sent and wait > deadline.remaining() + self._retry.grace
        if attempt >= self._retry.attempts or deadline.is_cut or is_late:
            raise error
        self.resting += 1
        try:
            await asyncio.sleep(wait)
        finally:
            self.resting -= 1

    async def _token(self, refused: str | None) -> str:
        refused, self._refused_in_part = refused or self._refused_in_part, None
        if refused is not None:
            return await asyncio.to_thread(self._tokens.renew, refused)
        token = self._tokens.cached()
        if token is None:
            return await asyncio.to_thread(self._tokens.acquire)
        return token

    def _tell(self, error: DataverseError) -> None:
        """Log each kind of intercepted answer once, although the request is retried."""
        if isinstance(error, InterceptedError) and error.message not in self._told:
            self._told.add(error.message)
            logger.warning("%s", error)

    async def _attempt(
        self, request: Request, token: str, deadline: Deadline, attempt: int
    ) -> Answer:
        grace = self._retry.grace if attempt else 0.0
        async with self._gate.slot(deadline, grace) as slot:
            self.requests += 1
            with translated(request.what):
                try:
                    async with asyncio.timeout(self._request_timeout):
                        slot.answer = await self._exchange(request, token)
                except TimeoutError:
                    raise TooMuchError(
                        f"Could not {request.what}: no answer in "
                        f"{self._request_timeout:g} s.",
                        seconds=self._request_timeout,
                    ) from None
            return slot.answer

    async def _exchange(self, request: Request, token: str) -> Answer:
        headers = {
            **_HEADERS,
            **request.headers,
            "Authorization": f"Bearer {token}",
            "x-ms-client-request-id": str(uuid4()),
        }
        begun = time.monotonic()
        async with self._http.stream(
            request.method, request.url, content=request.content, headers=headers
        ) as response:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > _MAX_ANSWER_BYTES:
                    raise DataverseError(
                        f"Could not {request.what}: the answer is too large.",
                        status=response.status_code,
                    )
            return Answer(
                response.status_code,
                {
                    name.lower(): value.replace(token, "[token]")
                    for name, value in response.headers.items()
                },
                # Some gateways echo the request that they refuse, headers included.
                bytes(body).replace(token.encode(), b"[token]"),
                time.monotonic() - begun,
            )


def _refused_again(error: DataverseError) -> TransientError:
    return TransientError(
        f"{error.message} It has accepted this application's tokens before, so this "
        "may pass. If it does not, check that the application user is enabled.",
        status=error.status,
        code=error.code,
        request_id=error.request_id,
    )


def _failure(answer: Answer, request: Request) -> DataverseError:
    error = failure(answer, request.what, request.expected)
    if not (request.is_divisible and is_too_much(answer)):
        return error
    return TooMuchError(
        error.message,
        seconds=answer.seconds,
        status=error.status,
        code=error.code,
        request_id=error.request_id,
    )
