"""The panel's connection to Dataverse."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack

from apex_pipeline.dataverse.environment import Environment, connect
from apex_pipeline.dataverse.retry_policy import RetryPolicy
from apex_pipeline.panel.dataverse_reads import DEADLINE_SECONDS
from apex_pipeline.panel.source_values import DataverseUse
from apex_pipeline.settings import load_settings

_RETRY = RetryPolicy(attempts=2, first_wait=0.3, grace=2.0)


class DataverseEnd:
    """The environment, connected on first use."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._stack = AsyncExitStack()
        self._opened: Environment | None = None
        self._lock = asyncio.Lock()

    async def open(self) -> Environment:
        async with self._lock:
            if self._opened is None:
                settings = load_settings(self._environment)
                self._opened = await self._stack.enter_async_context(
                    connect(
                        settings.dataverse,
                        settings.token_cache_path,
                        retry=_RETRY,
                        request_timeout=DEADLINE_SECONDS,
                    )
                )
            return self._opened

    def use(self) -> DataverseUse:
        """What this process has asked of Dataverse so far."""
        if self._opened is None:
            return DataverseUse()
        sender, tokens = self._opened.sender, self._opened.tokens
        return DataverseUse(sender.requests, tokens.hits, tokens.misses)

    async def close(self) -> None:
        await self._stack.aclose()
