"""Connect to one environment for the length of a run."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from apex_pipeline.dataverse.client import DataverseClient
from apex_pipeline.dataverse.pacing import MAX_CONCURRENCY, Pacer
from apex_pipeline.dataverse.retry_policy import RetryPolicy
from apex_pipeline.dataverse.sender import Sender
from apex_pipeline.dataverse.throttling import Gate
from apex_pipeline.microsoft.http_transport import (
    CONNECT_SECONDS,
    no_cookies,
    token_http,
    trust,
)
from apex_pipeline.microsoft.proxy_routes import AsyncRoutes
from apex_pipeline.microsoft.token_cache import TokenCacheFile
from apex_pipeline.microsoft.tokens import TokenSource
from apex_pipeline.settings import DataverseSettings

REQUEST_TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Environment:
    """A connected environment, with the parts that report its use so far."""

    client: DataverseClient
    sender: Sender
    tokens: TokenSource
    gate: Gate
    pacer: Pacer


@asynccontextmanager
async def connect(
    settings: DataverseSettings,
    token_cache: Path,
    *,
    pacer: Pacer | None = None,
    retry: RetryPolicy | None = None,
    request_timeout: float = REQUEST_TIMEOUT_SECONDS,
) -> AsyncIterator[Environment]:
    """Connect to an environment; nothing is sent before the first request.

    Raises:
        ConfigError: The CA bundle is unusable.
    """
    pacer = pacer or Pacer()
    gate = Gate(pacer, time.monotonic)
    with token_http(settings.ca_bundle) as token_client:
        tokens = TokenSource(settings, TokenCacheFile(token_cache), token_client)
        async with dataverse_http(
            settings.ca_bundle, request_timeout=request_timeout
        ) as http:
            sender = Sender(
                tokens, http, gate, request_timeout=request_timeout, retry=retry
            )
            yield Environment(
                DataverseClient(settings.resource, sender), sender, tokens, gate, pacer
            )


def dataverse_http(
    ca_bundle: Path | None, *, request_timeout: float
) -> httpx.AsyncClient:
    """The client for Dataverse itself; connections are kept, cookies are not."""
    limits = httpx.Limits(
        max_connections=MAX_CONCURRENCY, max_keepalive_connections=MAX_CONCURRENCY
    )
    return httpx.AsyncClient(
        transport=AsyncRoutes(trust(ca_bundle), limits),
        cookies=no_cookies(),
        timeout=httpx.Timeout(request_timeout, connect=CONNECT_SECONDS, pool=None),
        trust_env=False,
    )
