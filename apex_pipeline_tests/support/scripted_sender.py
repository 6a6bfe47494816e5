"""A sender in front of answers that a test chooses."""

from contextlib import asynccontextmanager
from uuid import UUID

import httpx

from apex_pipeline.dataverse.client import DataverseClient, DataverseTable
from apex_pipeline.dataverse.pacing import Pacer
from apex_pipeline.dataverse.retry_policy import RetryPolicy
from apex_pipeline.dataverse.sender import Sender
from apex_pipeline.dataverse.throttling import Gate
from apex_pipeline.metrics import CampaignMetric
from apex_pipeline.microsoft.http_transport import no_cookies
from apex_pipeline.microsoft.token_cache import TokenCacheFile
from apex_pipeline.microsoft.tokens import TokenSource
from apex_pipeline_tests.support.entra import RESOURCE, Entra, dataverse_settings

TABLE = DataverseTable(
    "apex_campaignmetrics", "apex_campaignmetricses", "apex_campaignmetricsid"
)
KEYS = [str(UUID(int=n)) for n in (1, 2)]
TARGETS = [CampaignMetric(key, key, '{"apex_phase":"2-3"}') for key in KEYS]
IMPATIENT = RetryPolicy(attempts=3, first_wait=0.001)


def no(status, code="", **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: httpx.Response(
        status, json={"error": {"code": code, "message": "no"}}, headers=headers
    )


VERSION = {"OData-Version": "4.0"}


@asynccontextmanager
async def connected(
    service, tmp_path, entra=None, retry=IMPATIENT, request_timeout=120.0
):
    entra = entra or Entra()
    tokens = TokenSource(
        dataverse_settings(), TokenCacheFile(tmp_path / "cache.json"), entra.client()
    )
    async with httpx.AsyncClient(
        transport=httpx.MockTransport(service), cookies=no_cookies()
    ) as http:
        sender = Sender(
            tokens, http, Gate(Pacer()), retry=retry, request_timeout=request_timeout
        )
        yield DataverseClient(RESOURCE, sender)
