"""The emulator, served, with clients that know nothing of its insides."""

import asyncio
import json
import ssl
import time
from collections.abc import Iterator
from typing import Any, Self
from uuid import uuid4

import httpx
import msal
import pytest
from azure.core.credentials import AccessToken

from apex_pipeline.emulator import Clock, Options, ServedEmulator, UserLimits, serve
from apex_pipeline_tests.support.waiting import SECONDS

TYPE = "Microsoft.Dynamics.CRM.apex_campaignmetrics"
SET = "apex_campaignmetricses"
UPSERT = f"{SET}/Microsoft.Dynamics.CRM.UpsertMultiple"
CRLF = "\r\n"


def campaign_metric(**overrides: Any) -> dict[str, Any]:
    """A target of a bulk message, every column filled."""
    return {
        "@odata.type": TYPE,
        "apex_campaignmetricsid": str(uuid4()),
        "apex_campaignid": "c-001",
        "apex_runid": "r-001",
        "apex_phase": "2-3",
        "apex_agentstotal": 5,
        "apex_agentssuccessful": 4,
        "apex_assetsgenerated": 12,
        "apex_tokensin": 1500,
        "apex_tokensout": 3000,
        "apex_costusd": 0.00348,
        "apex_latencyp95ms": 51200,
        "apex_latencyavgms": 42000,
        "apex_successrate": 80.25,
        "apex_createdat": "2025-10-30T13:00:00Z",
        **overrides,
    }


def trusting(emulator: ServedEmulator) -> ssl.SSLContext:
    """A TLS context that trusts the emulator's authority."""
    return ssl.create_default_context(cafile=str(emulator.ca_bundle))


def operation(
    method: str, url: str, body: Any = None, content_id: int | None = None
) -> str:
    """One part of a batch."""
    head = ["Content-Type: application/http", "Content-Transfer-Encoding: binary"]
    if content_id is not None:
        head.append(f"Content-ID: {content_id}")
    text = "" if body is None else json.dumps(body)
    inner = [f"{method} {url} HTTP/1.1", "Content-Type: application/json; type=entry"]
    return CRLF.join([*head, "", *inner, "", text])


def multipart(parts: list[str], boundary: str = "batch_1") -> str:
    body = "".join(f"--{boundary}{CRLF}{part}{CRLF}" for part in parts)
    return f"{body}--{boundary}--{CRLF}"


def change_set(*parts: str) -> str:
    return (
        f"Content-Type: multipart/mixed; boundary=changeset_1{CRLF}{CRLF}"
        + multipart(list(parts), "changeset_1")
    )


def send(
    api: httpx.Client, parts: list[str], *, keep_going: bool = False
) -> httpx.Response:
    headers = {"Content-Type": 'multipart/mixed; boundary="batch_1"'}
    if keep_going:
        headers["Prefer"] = "odata.continue-on-error"
    return api.post("$batch", content=multipart(parts).encode(), headers=headers)


class MsalTransport(httpx.Client):
    """MSAL hands over a client assertion as bytes, which httpx would print as such."""

    def post(self, url: httpx.URL | str, **more: Any) -> httpx.Response:
        form = more.pop("data")
        decoded = {
            name: value.decode() if isinstance(value, bytes) else value
            for name, value in form.items()
        }
        return super().post(url, data=decoded, **more)


def sign_in(
    emulator: ServedEmulator,
    credential: Any = None,
    client_id: str | None = None,
    resource: str | None = None,
) -> dict[str, Any]:
    """What MSAL makes of the emulator's answer to a token request."""
    with MsalTransport(verify=trusting(emulator)) as client:
        application = msal.ConfidentialClientApplication(
            client_id or emulator.client_id,
            client_credential=credential or emulator.client_secret,
            authority=emulator.authority,
            instance_discovery=False,
            http_client=client,
        )
        found: dict[str, Any] = application.acquire_token_for_client(
            [f"{resource or emulator.url}/.default"]
        )
        return found


def token(emulator: ServedEmulator, **more: Any) -> str:
    """An access token, by MSAL."""
    found = sign_in(emulator, **more)
    assert "access_token" in found, found
    return str(found["access_token"])


def web_api(emulator: ServedEmulator, bearer: str | None = None) -> httpx.Client:
    """A client of the Web API that keeps cookies."""
    return httpx.Client(
        base_url=f"{emulator.api}/",
        timeout=SECONDS,
        verify=trusting(emulator),
        headers={
            "Authorization": f"Bearer {bearer or token(emulator)}",
            "Content-Type": "application/json",
        },
    )


def control(emulator: ServedEmulator, secret: str | None) -> httpx.Client:
    """A client of `/_emulator/…`, with a secret or without."""
    headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
    return httpx.Client(
        base_url=f"{emulator.url}/_emulator/",
        timeout=SECONDS,
        verify=trusting(emulator),
        headers=headers,
    )


class MsalCredential:
    """What Microsoft's SDK asks for tokens."""

    def __init__(self, emulator: ServedEmulator) -> None:
        self._emulator = emulator
        self._token: AccessToken | None = None

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        assert scopes == (f"{self._emulator.url}/.default",)
        if self._token is None:
            found = token(self._emulator)
            self._token = AccessToken(found, int(time.time()) + 3000)
        return self._token


class AsyncMsalCredential:
    """The same for the SDK's asynchronous client."""

    def __init__(self, emulator: ServedEmulator) -> None:
        self._credential = MsalCredential(emulator)

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        return await asyncio.to_thread(self._credential.get_token, *scopes)

    async def close(self) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


class Dial:
    """A clock that moves when it is told to; sleeping moves it."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    def clock(self) -> Clock:
        return Clock(lambda: self.now, self.sleep)


@pytest.fixture(scope="session")
def shared_emulator() -> Iterator[ServedEmulator]:
    with serve() as emulator:
        yield emulator


@pytest.fixture
def emulator(shared_emulator: ServedEmulator) -> ServedEmulator:
    """An emulator in its first state."""
    shared_emulator.reset()
    return shared_emulator


@pytest.fixture
def api(emulator: ServedEmulator) -> Iterator[httpx.Client]:
    """Its Web API, as an application that may do everything."""
    with web_api(emulator) as client:
        yield client


@pytest.fixture
def dial() -> Dial:
    return Dial()


@pytest.fixture
def timed_emulator(dial: Dial) -> Iterator[ServedEmulator]:
    """An emulator on a clock of the test's, with two servers and small limits."""
    options = Options(
        "emulator-secret",
        limits=UserLimits(requests=10, execution_seconds=20, concurrent=3),
        servers=2,
        key_index_seconds=60,
    )
    with serve(options, clock=dial.clock()) as emulator:
        yield emulator
