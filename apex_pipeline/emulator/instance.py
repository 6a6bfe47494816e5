"""One emulator: its state, and what happens to a request on its way through."""

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from apex_pipeline.emulator import latency, security, service, web_api_errors, wire
from apex_pipeline.emulator.clock import Clock
from apex_pipeline.emulator.emulated_environment import EmulatedEnvironment
from apex_pipeline.emulator.faults import FaultRule, Faults
from apex_pipeline.emulator.identity_provider import IdentityProvider
from apex_pipeline.emulator.limits import ServiceProtection, UserLimits
from apex_pipeline.emulator.request_log import Entry, RequestLog, count_targets
from apex_pipeline.emulator.security import Principal
from apex_pipeline.emulator.storage import Storage
from apex_pipeline.emulator.web_api_errors import WebApiError
from apex_pipeline.emulator.wire import OperationRequest, Response

TENANT_ID = "7e1a5c2e-0000-4000-8000-00000000a9e0"
CLIENT_ID = "c11e0000-0000-4000-8000-00000000a9e0"
ROOT = re.compile(r"/api/data/v9\.[0-2](?:/|$)")
_AFFINITY = re.compile(r"ARRAffinity=([0-9a-f]+)")


@dataclass(frozen=True, slots=True)
class Options:
    """How an emulator is to be.

    Attributes:
        client_secret: Secret of the first application.
        tenant_id: Its tenant.
        client_id: Its id; it has an application user from the start.
        certificate: Its certificate, PEM, beside or in place of the secret.
        state_file: SQLite file; None keeps everything in memory.
        empty: Whether to start without the campaign metrics table.
        limits: Service protection.
        profile: Latency.
        dop_hint: `x-ms-dop-hint`.
        servers: Web servers behind the affinity cookie.
        seed: Of the faults' dice.
        key_index_seconds: How long the index of a new alternate key takes.
        most_body_bytes: Longest body; the service's own threshold is not documented.
        control_secret: What opens `/_emulator/…`; by default a new one.
    """

    client_secret: str | None = field(repr=False)
    tenant_id: str = TENANT_ID
    client_id: str = CLIENT_ID
    certificate: str | None = None
    state_file: Path | None = None
    empty: bool = False
    limits: UserLimits = field(default_factory=UserLimits)
    profile: latency.Profile = latency.NONE
    dop_hint: int = 4
    servers: int = 1
    seed: int = 0
    key_index_seconds: float = 0
    most_body_bytes: int = 128 * 1024 * 1024
    control_secret: str = field(default_factory=secrets.token_urlsafe, repr=False)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request as it came in.

    Attributes:
        origin: `https://host:port` that it was sent to.
        path: Decoded, for the log and the faults.
        raw_path: Still encoded.
        too_long: Whether the body was cut off at the limit.
    """

    origin: str
    method: str
    path: str
    raw_path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    too_long: bool = False


class Dropped(Exception):  # noqa: N818 # not an error: the answer is a closed connection
    """The connection is to be closed without an answer."""


class Emulator:
    """The whole service: environment, identity provider, limits, faults, log."""

    def __init__(self, options: Options, clock: Clock | None = None) -> None:
        """Open the state; the application of the options is registered in it."""
        self.options = options
        self.clock = clock or Clock()
        self.storage = Storage(options.state_file)
        self.environment = EmulatedEnvironment(
            self.storage,
            self.clock,
            empty=options.empty,
            key_index_seconds=options.key_index_seconds,
        )
        self.identity = IdentityProvider(
            self.storage, self.clock, options.tenant_id.lower()
        )
        self.protection = ServiceProtection(options.limits)
        self.faults = Faults(options.seed)
        self.log = RequestLog()
        self._next_server = 0
        self._register_application()

    def reset(self) -> None:
        """Back to the start; tokens that were issued stay valid."""
        self.environment.reset()
        for kind in ("application", "denied", "mail"):
            for name in self.storage.documents(kind):
                self.storage.delete_document(kind, name)
        self._register_application()
        self.faults.clear()
        self.log.clear()
        self.protection.limits = self.options.limits
        self.protection.reset()

    def _register_application(self) -> None:
        """Make the first application and its user as the options say."""
        options = self.options
        self.identity.applications.register(
            options.client_id,
            secret=options.client_secret,
            certificate=options.certificate,
        )
        security.set_user(self.environment, options.client_id.lower())

    def close(self) -> None:
        self.storage.close()

    async def answer(self, arrival: Arrival) -> tuple[Response, list[tuple[str, str]]]:
        """Carry a request of the Web API through; returns the answer and its headers.

        Raises:
            Dropped: The connection is to be closed instead.
        """
        started = self.clock.now()
        server, cookie = self._server_of(arrival.headers)
        entry = self.log.add(
            Entry(started, arrival.method, arrival.path, arrival.query, server=server)
        )
        entry.targets = count_targets(arrival.method, arrival.path, arrival.body)
        fault = self.faults.pick(arrival.method, arrival.path)
        entry.fault = fault.kind if fault else None
        try:
            response = await self._respond(arrival, entry, fault)
        except WebApiError as error:
            response = wire.error_response(error, arrival.headers.get("prefer", ""))
        finally:
            entry.seconds = self.clock.now() - started
        entry.status = response.status
        entry.code = response.code
        if arrival.method == "GET":
            entry.targets = response.rows
        return response, self._headers(entry, response, cookie=cookie)

    async def _respond(
        self, arrival: Arrival, entry: Entry, fault: FaultRule | None
    ) -> Response:
        early = await self.intercepted(arrival, fault)
        if early is not None:
            return early
        application = self.identity.application_of(
            arrival.headers.get("authorization", ""), arrival.origin
        )
        if application is None:
            return self._unauthorized(arrival)
        entry.application = application
        user = security.principal(self.environment, application)
        if arrival.too_long:
            raise web_api_errors.request_too_large()
        self.protection.begin(application, entry.server, entry.at)
        seconds = 0.0
        try:
            response, seconds = await self._work(arrival, user, fault)
        finally:
            self.protection.finish(application, entry.server, self.clock.now(), seconds)
        if fault and fault.kind == "drop_after":
            raise Dropped
        return response

    async def intercepted(
        self, arrival: Arrival, fault: FaultRule | None
    ) -> Response | None:
        """What a fault does before the service sees the request."""
        if fault is None:
            return None
        if fault.delay and fault.kind != "slow":
            await self.clock.sleep(fault.delay)
        if fault.kind == "drop_before":
            raise Dropped
        if fault.kind == "unauthorized":
            return self._unauthorized(arrival)
        if fault.kind == "html":
            headers = {"Content-Type": "text/html", **fault.error().headers}
            return Response(fault.status, fault.page("Gateway error"), headers)
        if fault.kind == "status":
            raise fault.error()
        return None

    async def _work(
        self, arrival: Arrival, user: Principal, fault: FaultRule | None
    ) -> tuple[Response, float]:
        """The work, and the rest of the simulated time; charged is the simulated time."""
        match = ROOT.match(arrival.raw_path)
        path = arrival.raw_path[match.end() :] if match else ""
        profile = self.options.profile
        slowness = fault.delay if fault and fault.kind == "slow" else 0.0
        await self.clock.sleep(slowness)
        began = self.clock.now()
        seconds = profile.seconds(arrival.method, path, arrival.body)
        if fault and fault.kind in {"deadlock", "sql_timeout", "first_use"}:
            await self.clock.sleep(seconds)
            raise fault.error()
        response = service.handle(
            self.environment,
            user,
            OperationRequest(
                arrival.method,
                path,
                arrival.query,
                arrival.headers,
                arrival.body,
                f"{arrival.origin}/api/data/v9.2",
            ),
        )
        if arrival.method == "GET":
            seconds += response.rows * profile.read
        spent = self.clock.now() - began
        await self.clock.sleep(max(seconds - spent, 0.0))
        return response, slowness + (spent if profile == latency.NONE else seconds)

    def _unauthorized(self, arrival: Arrival) -> Response:
        """401 as observed: an empty body, the authority and the resource in a header."""
        challenge = (
            f"Bearer authorization_uri={arrival.origin}/{self.identity.tenant_id}"
            f"/oauth2/authorize, resource_id={arrival.origin}/"
        )
        # Its body has no code; the log names that of RequestIsNotAuthenticated.
        headers = {"WWW-Authenticate": challenge}
        return Response(401, headers=headers, code="0x80044302")

    def _server_of(self, headers: Mapping[str, str]) -> tuple[int, bool]:
        """The web server that answers, and whether its cookie was sent.

        Without a cookie the servers take turns.
        """
        match = _AFFINITY.search(headers.get("cookie", ""))
        names = [_affinity(number) for number in range(self.options.servers)]
        if match and match[1] in names:
            return names.index(match[1]), True
        self._next_server = (self._next_server + 1) % self.options.servers
        return self._next_server, False

    def _headers(
        self, entry: Entry, response: Response, *, cookie: bool
    ) -> list[tuple[str, str]]:
        """Headers of every answer, as captured from the service."""
        request_id = str(uuid4())
        headers = [
            ("REQ_ID", request_id),
            ("x-ms-service-request-id", request_id),
            ("OData-Version", "4.0"),
            ("Cache-Control", "no-cache"),
            ("Expires", "-1"),
            ("Allow", "OPTIONS,GET,HEAD,POST"),
            ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
            *response.headers.items(),
        ]
        if not cookie:
            name = _affinity(entry.server)
            flags = "path=/; secure; HttpOnly"
            headers += [
                ("Set-Cookie", f"ARRAffinity={name}; {flags}"),
                ("Set-Cookie", f"ReqClientId={uuid4()}; {flags}"),
            ]
        if entry.application is None:
            return headers
        requests, seconds = self.protection.remaining(
            entry.application, entry.server, self.clock.now()
        )
        return [
            *headers,
            ("x-ms-dop-hint", str(self.options.dop_hint)),
            ("x-ms-ratelimit-burst-remaining-xrm-requests", str(requests)),
            ("x-ms-ratelimit-time-remaining-xrm-requests", f"{seconds:,.2f}"),
        ]


def _affinity(server: int) -> str:
    return hashlib.sha256(f"web server {server}".encode()).hexdigest()
