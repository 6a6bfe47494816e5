"""Every acknowledgement of the product, against every answer that is not one.

The table holds a line for each request: how it is made, and what its documented success
is. Each is made against that answer, which counts, and against what a gateway, a portal
or half an answer would be, none of which may.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from uuid import UUID

import httpx
import pytest

from apex_pipeline.dataverse import documented_answers
from apex_pipeline.dataverse.client import DataverseClient
from apex_pipeline.dataverse.throttling import Deadline
from apex_pipeline.errors import DataverseError, InterceptedError, TransientError
from apex_pipeline.metrics import COLUMNS, ENTITY_SET, TABLE
from apex_pipeline.microsoft.documented_success import Documented
from apex_pipeline.microsoft.graph import connect as connect_graph
from apex_pipeline.microsoft.token_cache import TokenCacheFile
from apex_pipeline.microsoft.tokens import TokenSource
from apex_pipeline.monitoring.alerts import heartbeat
from apex_pipeline.monitoring.alerts.graph_mail import GraphMail
from apex_pipeline.monitoring.alerts.notice import DeliveryError
from apex_pipeline.monitoring.alerts.send_limits import Pace, until_taken
from apex_pipeline.monitoring.alerts.smtp import SmtpMail
from apex_pipeline.monitoring.alerts.teams import Teams
from apex_pipeline.provisioning.access_verification import verify
from apex_pipeline.provisioning.dataverse_changes import carry_out
from apex_pipeline.provisioning.desired_state import Change, ChangeKind
from apex_pipeline.provisioning.existing_state import (
    PREFIX,
    PUBLISHER,
    TABLE_PRIVILEGES,
    Found,
    FoundPublisher,
    FoundRole,
    FoundTable,
    FoundUser,
)
from apex_pipeline.settings import (
    AlertSettings,
    Encryption,
    MailSettings,
    SmtpSettings,
)
from apex_pipeline_tests.support.entra import (
    AUTHORITY,
    RESOURCE,
    Entra,
    dataverse_settings,
)
from apex_pipeline_tests.support.hostile import answer, serving
from apex_pipeline_tests.support.notices import SENDER, TO, notice
from apex_pipeline_tests.support.receivers import mail_server
from apex_pipeline_tests.support.scripted_sender import (
    TABLE as NAMES,
    TARGETS,
    connected,
)

API = f"{RESOURCE}/api/data/v9.2"
ID = str(UUID(int=7))
PAGE = b"<html><head><title>Sign in</title></head><body>portal</body></html>"
JSON = {"Content-Type": "application/json; odata.metadata=minimal"}


@dataclass(frozen=True)
class Said:
    """One answer."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def response(self) -> httpx.Response:
        return httpx.Response(self.status, headers=self.headers, content=self.body)

    def without(self, name: str) -> "Said":
        kept = {key: value for key, value in self.headers.items() if key != name}
        return replace(self, headers=kept)


def no_content(**more: str) -> Said:
    headers = {name.replace("_", "-"): value for name, value in more.items()}
    return Said(204, {"OData-Version": "4.0"} | headers)


def made(path: str) -> Said:
    return no_content(OData_EntityId=f"{API}/{path}({ID})")


def read(**members: object) -> Said:
    document = {name.replace("__", "@odata."): each for name, each in members.items()}
    body = json.dumps({"@odata.context": f"{API}/$metadata#x"} | document)
    return Said(200, {"OData-Version": "4.0"} | JSON, body.encode())


def part(status: int, headers: str, body: str = "", content_id: str = "") -> str:
    named = f"Content-ID: {content_id}\r\n" if content_id else ""
    return (
        "Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
        f"{named}\r\nHTTP/1.1 {status} Told\r\n{headers}\r\n{body}\r\n"
    )


def upserted(target, **more: str) -> str:
    at = f"OData-EntityId: {API}/{ENTITY_SET}({target.key})\r\n"
    return part(204, f"OData-Version: 4.0\r\n{at}", **more)


def batch(*parts: str, end: str = "--b--\r\n") -> Said:
    body = "".join(f"--b\r\n{each}\r\n" for each in parts) + end
    headers = {"Content-Type": "multipart/mixed; boundary=b"}
    return Said(200, headers, body.encode())


FIRST, SECOND = TARGETS
REFUSED = part(400, "REQ_ID: 1\r\n", '{"error":{"code":"0x80044331","message":"no"}}')
BATCH = batch(upserted(FIRST), REFUSED)
FOUND = Found(
    language=1033,
    is_audited=True,
    business_unit=ID,
    application=ID,
    metadata_privileges={},
    publishers=(FoundPublisher(ID, PUBLISHER, PREFIX),),
    table=FoundTable(
        ID,
        is_managed=False,
        table_type="Standard",
        entity_set=ENTITY_SET,
        has_change_tracking=True,
        is_audited=True,
        columns={},
        privileges=dict.fromkeys(TABLE_PRIVILEGES, ID),
    ),
    role=FoundRole(ID, {}),
    user=FoundUser(ID, is_disabled=False, business_unit=ID, roles={}),
)

Call = Callable[[DataverseClient], Awaitable[object]]


@dataclass(frozen=True)
class Line:
    """One request to Dataverse.

    Attributes:
        good: Its documented success.
        wrong: What besides the usual is no acknowledgement of it.
        before: What is answered to requests that come before.
        after: What is answered to those that follow its success.
    """

    call: Call
    good: Said
    wrong: Mapping[str, Said] = field(default_factory=dict)
    before: tuple[Said, ...] = ()
    after: tuple[Said, ...] = ()


def change(kind: ChangeKind, subject: str = "") -> Call:
    return lambda client: carry_out(
        client, Change(kind, subject, f"the {kind}"), FOUND, Deadline()
    )


def get(path: str, expected: Documented = documented_answers.DOCUMENT) -> Call:
    return lambda client: client.get(
        path, what="read", deadline=Deadline(), expected=expected
    )


async def all_pages(client: DataverseClient) -> list[object]:
    pages = client.pages(ENTITY_SET, what="list", deadline=Deadline())
    return [page async for page in pages]


DELTA = read(value=[], __deltaLink=f"{API}/x?$deltatoken=1")
DEFINITION = read(MetadataId=ID, LogicalName=TABLE)
WHO = read(UserId=ID, BusinessUnitId=ID, OrganizationId=ID)

LINES = {
    "UpsertMultiple": Line(
        lambda client: client.upsert_multiple(NAMES, TARGETS, Deadline()), no_content()
    ),
    "$batch": Line(
        lambda client: client.upsert_each(NAMES, TARGETS, Deadline()),
        BATCH,
        {
            "too few parts": batch(upserted(FIRST)),
            "too many parts": batch(upserted(FIRST), REFUSED, REFUSED),
            "no part": batch(),
            "parts out of order": batch(upserted(SECOND), upserted(FIRST)),
            "one part twice": batch(upserted(FIRST), upserted(FIRST)),
            "a part that is another's": batch(
                upserted(FIRST, content_id="2"), upserted(SECOND, content_id="1")
            ),
            "a part with 200": batch(part(200, "OData-Version: 4.0\r\n"), REFUSED),
            "a part with a page": batch(
                part(200, "Content-Type: text/html\r\n", PAGE.decode()), REFUSED
            ),
            "a part without OData-Version": batch(
                upserted(FIRST).replace("OData-Version: 4.0\r\n", ""), REFUSED
            ),
            "a part without OData-EntityId": batch(
                part(204, "OData-Version: 4.0\r\n"), REFUSED
            ),
            "a refusal by a page": batch(upserted(FIRST), part(403, "", PAGE.decode())),
            "no end": batch(upserted(FIRST), REFUSED, end=""),
        },
    ),
    "a single upsert": Line(
        lambda client: client.upsert(NAMES, FIRST, Deadline()),
        no_content(OData_EntityId=f"{API}/{ENTITY_SET}({FIRST.key})"),
        {"another record": made(ENTITY_SET)},
    ),
    "a deletion": Line(
        lambda client: client.delete(NAMES, UUID(FIRST.key), Deadline()), no_content()
    ),
    "a page of records": Line(all_pages, read(value=[{"n": 1}])),
    "change tracking": Line(
        lambda client: client.tracked_page(
            f"{API}/{ENTITY_SET}", what="track", deadline=Deadline()
        ),
        DELTA,
        {"no link": read(value=[])},
    ),
    "columns": Line(
        lambda client: client.column_types(NAMES, Deadline()), read(value=[])
    ),
    "a count": Line(
        get("x?$apply=aggregate($count as records)", documented_answers.COUNT),
        read(value=[{"records": 5}]),
        {
            "no group": read(value=[]),
            "two groups": read(value=[{"records": 5}, {"records": 5}]),
            "records": read(value=[{"n": 1}]),
            "a text": read(value=[{"records": "5"}]),
            "a truth": read(value=[{"records": True}]),
            "less than none": read(value=[{"records": -1}]),
            "not known": read(value=[{"records": None}]),
        },
    ),
    "WhoAmI": Line(
        get("WhoAmI", documented_answers.WHO_AM_I), WHO, {"half of it": read(UserId=ID)}
    ),
    "privileges": Line(
        get("x", documented_answers.PRIVILEGES),
        read(RolePrivileges=[]),
        {"records": read(value=[])},
    ),
    "a publisher": Line(change(ChangeKind.PUBLISHER), made("publishers")),
    "a solution": Line(change(ChangeKind.SOLUTION), made("solutions")),
    "the table": Line(change(ChangeKind.TABLE), made("EntityDefinitions")),
    "a column": Line(
        change(ChangeKind.COLUMN, COLUMNS[0].dataverse),
        made("EntityDefinitions/Attributes"),
    ),
    "the definition to change": Line(
        change(ChangeKind.SETTINGS),
        DEFINITION,
        {"records": read(value=[])},
        after=(no_content(),),
    ),
    "a changed definition": Line(
        change(ChangeKind.SETTINGS), no_content(), before=(DEFINITION,)
    ),
    "PublishXml": Line(
        change(ChangeKind.SETTINGS), no_content(), before=(DEFINITION, no_content())
    ),
    "a role": Line(change(ChangeKind.ROLE), made("roles")),
    "filing in the solution": Line(change(ChangeKind.FILING, TABLE), read(id=ID)),
    "privileges of the role": Line(change(ChangeKind.PRIVILEGES), no_content()),
    "an application user": Line(change(ChangeKind.USER, ID), made("systemusers")),
    "a role given to it": Line(change(ChangeKind.ASSIGNMENT), no_content()),
}


def never(good: Said) -> dict[str, Said]:
    """Answers that never acknowledge a request to Dataverse."""
    served = {"Content-Type": "text/html", "Server": "portal/1"}
    found = {
        "a page": Said(200, served, PAGE),
        "a page in place of 204": Said(204, served),
        "queued": replace(good, status=202),
        "an empty document": Said(200, JSON, b"{}"),
        "an empty document that claims the version": Said(
            200, {"OData-Version": "4.0"} | JSON, b"{}"
        ),
        "nothing": Said(200),
        "another version": replace(
            good,
            headers=dict(good.headers)
            | {"OData-Version": "3.0", "Content-Type": "text/plain"},
        ),
        "a redirect": Said(302, {"Location": "https://portal.example/login"}),
        "an error in the body": Said(
            200, {"OData-Version": "4.0"} | JSON, b'{"value":[],"error":"none"}'
        ),
        "a page with 403": Said(403, served, PAGE),
        "a page with 401": Said(401, served, PAGE),
        "a page with 404": Said(404, served, PAGE),
    }
    if good is not BATCH:
        found["no version"] = good.without("OData-Version")
    if "OData-EntityId" in good.headers:
        found["no record named"] = good.without("OData-EntityId")
    if good.body:
        found["half of it"] = replace(good, body=good.body[: len(good.body) // 2])
        found["another type"] = replace(
            good, headers=dict(good.headers) | {"Content-Type": "text/html"}
        )
    return found


class Service:
    """Returns each answer once, and the last one for ever."""

    def __init__(self, *said: Said) -> None:
        self.said = list(said)
        self.requests = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        one = self.said.pop(0) if len(self.said) > 1 else self.said[0]
        return one.response()


def carried_out(line: Line, said: Said, folder) -> int:
    """Make the request against an answer; return how many were sent."""
    after = line.after if said is line.good else ()
    service = Service(*line.before, said, *after)

    async def go() -> None:
        async with connected(service, folder) as client:
            await line.call(client)

    asyncio.run(go())
    return service.requests


@pytest.mark.parametrize("name", LINES)
def test_the_documented_success_counts(name, tmp_path):
    carried_out(LINES[name], LINES[name].good, tmp_path)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (name, kind)
        for name, line in LINES.items()
        for kind in [*never(line.good), *line.wrong]
    ],
)
def test_nothing_else_does(name, kind, tmp_path):
    line = LINES[name]
    said = (never(line.good) | dict(line.wrong))[kind]
    with pytest.raises(InterceptedError, match="answers in its place") as caught:
        carried_out(line, said, tmp_path)
    if said.body == PAGE:
        assert "server portal/1, page “Sign in”" in str(caught.value)


def test_what_may_be_repeated_is_and_then_counts(tmp_path):
    line = LINES["UpsertMultiple"]
    page = never(line.good)["a page"]
    assert carried_out(replace(line, before=(page, page)), line.good, tmp_path) == 3


def test_what_must_not_be_repeated_is_not(tmp_path):
    line = LINES["the table"]
    with pytest.raises(InterceptedError):
        carried_out(
            replace(line, before=(never(line.good)["a page"],)), line.good, tmp_path
        )


def test_what_gateways_do_to_headers_is_no_fault(tmp_path):
    line = LINES["UpsertMultiple"]
    twice = replace(line.good, headers={"OData-Version": "4.0, 4.0"})
    assert carried_out(line, twice, tmp_path) == 1


@pytest.mark.parametrize("name", ["PrivilegeId", "Depth"])
def test_a_privilege_without_a_property_is_told_in_words(tmp_path, name):
    privilege = {"PrivilegeId": ID, "Depth": "Global"}
    del privilege[name]
    line = Line(
        lambda client: verify(client, None, FOUND, Deadline(), 0.0),
        read(RolePrivileges=[privilege]),
    )
    with pytest.raises(DataverseError, match=f"the answer lacks {name}"):
        carried_out(line, line.good, tmp_path)


# The authority.

GRANTED: dict[str, object] = {
    "token_type": "Bearer",
    "expires_in": 3599,
    "access_token": "t",
}
DESCRIBED = {
    "authorization_endpoint": f"{AUTHORITY}/t/oauth2/v2.0/authorize",
    "token_endpoint": f"{AUTHORITY}/t/oauth2/v2.0/token",
}


def of(document: object, status: int = 200) -> Said:
    return Said(status, JSON, json.dumps(document).encode())


def never_of(document: Mapping[str, object]) -> dict[str, Said]:
    served = {"Content-Type": "text/html", "Server": "portal/1"}
    return {
        "a page": Said(200, served, PAGE),
        "a page with 403": Said(403, served, PAGE),
        "queued": of(document, 202),
        "an empty document": of({}),
        "a list": of([document]),
        "nothing": Said(204),
        "a redirect": Said(302, {"Location": "https://portal.example/"}),
        "an error in the body": of({**document, "error": "none"}),
        "half of it": Said(200, JSON, json.dumps(document).encode()[:-9]),
        **{
            f"no {name}": of({k: v for k, v in document.items() if k != name})
            for name in document
        },
    }


def token(entra: Entra, folder) -> str:
    source = TokenSource(
        dataverse_settings(), TokenCacheFile(folder / "cache.json"), entra.client()
    )
    return source.acquire()


@pytest.mark.parametrize("kind", never_of(GRANTED))
def test_only_a_token_is_a_token(kind, tmp_path):
    entra = Entra(said=[never_of(GRANTED)[kind].response()])
    with pytest.raises(InterceptedError, match="between us and the authority"):
        token(entra, tmp_path)
    assert token(entra, tmp_path) == "token-1"


@pytest.mark.parametrize("seconds", [0, -5, True, "soon", None, [1]])
def test_a_token_lasts_for_some_seconds(seconds, tmp_path):
    said = of(GRANTED | {"expires_in": seconds})
    with pytest.raises(InterceptedError):
        token(Entra(said=[said.response()]), tmp_path)


@pytest.mark.parametrize("kind", never_of(DESCRIBED))
def test_only_the_authoritys_document_is_believed(kind, tmp_path):
    entra = Entra(described=[never_of(DESCRIBED)[kind].response()])
    with pytest.raises(InterceptedError, match="between us and the authority"):
        token(entra, tmp_path)
    assert token(entra, tmp_path) == "token-1"


# The ways to people.


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """A server that returns the given answer to every client."""
    with serving(tmp_path_factory.mktemp("gateway")) as server:
        yield server


Send = Callable[..., object]


def card(gateway, folder) -> None:
    Teams(
        f"{gateway.url}/workflow",
        gateway.ca_bundle,
        pace=Pace(apart=0, per_hour=100),
        patiently=partial(until_taken, sleep=lambda _: None),
    ).send(notice())


def mail(gateway, folder) -> None:
    GraphMail(
        MailSettings(TO, SENDER, None),
        gateway.settings,
        folder / "tokens.json",
        patiently=partial(until_taken, sleep=lambda _: None),
    ).send(notice())


def ping(gateway, folder) -> None:
    settings = AlertSettings(
        heartbeat_url=f"{gateway.url}/ping", ca_bundle=gateway.ca_bundle
    )
    heartbeat.ping(settings, 30.0)


def registration(gateway, folder) -> None:
    with connect_graph(gateway.settings(), folder / "tokens.json") as opened:
        try:
            opened.password_credentials(ID)
        except TransientError as error:
            raise DeliveryError(str(error)) from None


TAKEN: dict[Send, list[Said]] = {
    card: [Said(202), Said(200), Said(200, {}, b"1"), Said(204)],
    mail: [Said(202)],
    ping: [
        Said(200, {}, b"OK"),
        Said(200, JSON, b'{"ok":true}'),
        Said(201, {}, b"Created"),
        Said(202, {}, b"Got it, thanks!\n"),
        Said(202, JSON, b'{"result":"PONG - Heartbeat received"}'),
        Said(204),
    ],
    registration: [of({"passwordCredentials": []})],
}
PORTAL = {"Content-Type": "text/html", "Server": "portal/1"}
NOT_TAKEN = {
    "a page": Said(200, PORTAL, PAGE),
    "a page with 202": Said(202, PORTAL, PAGE),
    "a page with 403": Said(403, PORTAL, PAGE),
    "a redirect": Said(302, {"Location": "https://portal.example/hidden-part"}),
    "an error in the body": Said(200, JSON, b'{"error":{"code":"x","message":"y"}}'),
    "a complaint": Said(200, {}, b"Webhook message delivery failed with error: x"),
    "half of it": Said(202, {"Content-Length": "40"}, b"Got"),
    "not found": Said(200, {}, b"OK (not found)"),
}
# Both say so little that these may be theirs.
ALSO_NOT: dict[Send, dict[str, Said]] = {
    card: {"an empty document": Said(200, JSON, b"{}")},
    mail: {
        "an empty document": Said(200, JSON, b"{}"),
        "no content": Said(204),
        "200": Said(200),
    },
    ping: {
        "a refusal in JSON": Said(200, JSON, b'{"ok": false}'),
        "not counted": Said(200, {}, b"OK (rate limited)"),
        "nothing": Said(200),
        "an empty document": Said(200, JSON, b"{}"),
        "an empty document with 201": Said(201, JSON, b" { }\n"),
        "a list": Said(200, JSON, b'["OK"]'),
        "null": Said(200, JSON, b"null"),
        "an empty text": Said(200, JSON, b'""'),
        "queued": Said(202),
        "queued, in words": Said(202, {}, b"Accepted"),
        "queued, in JSON": Said(202, JSON, b'{"status":"queued"}'),
        "another success": Said(203, {}, b"OK"),
        "a part": Said(206, {}, b"OK"),
    },
    registration: {
        "an empty document": Said(200, JSON, b"{}"),
        "a list": of([]),
        "202": of({"passwordCredentials": []}, 202),
    },
}


def say(gateway, said: Said) -> None:
    gateway.says = lambda _: answer(said.status, said.headers, said.body)


@pytest.mark.parametrize(
    ("send", "number"),
    [(s, n) for s, taken in TAKEN.items() for n in range(len(taken))],
)
def test_what_a_channel_documents_is_taken(gateway, tmp_path, send, number):
    say(gateway, TAKEN[send][number])
    send(gateway, tmp_path)


@pytest.mark.parametrize(
    ("send", "kind"), [(s, k) for s in TAKEN for k in NOT_TAKEN | ALSO_NOT[s]]
)
def test_nothing_else_is(gateway, tmp_path, send, kind):
    said = (NOT_TAKEN | ALSO_NOT[send])[kind]
    say(gateway, said)
    with pytest.raises(DeliveryError) as caught:
        send(gateway, tmp_path)
    assert "hidden-part" not in str(caught.value)
    if said.body == PAGE and send is not registration:
        assert "server portal/1, page “Sign in”" in str(caught.value)


@pytest.mark.parametrize("send", [card, ping], ids=["card", "ping"])
def test_a_bundle_without_a_certificate_is_told_as_any_failure(gateway, tmp_path, send):
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("nothing")
    with pytest.raises(DeliveryError, match="contains no PEM certificate"):
        send(replace(gateway, ca_bundle=bundle), tmp_path)


@pytest.mark.parametrize("reply", ["202 queued", "200 <html>", "251 later", "354 on"])
def test_a_mail_server_takes_a_message_with_250(authority, reply):
    with mail_server(authority, "plain") as server:
        server.refuses["DATA"] = reply
        settings = SmtpSettings("127.0.0.1", server.port, Encryption.OFFERED)
        way = SmtpMail(MailSettings(TO, SENDER, settings), settings)
        with pytest.raises(DeliveryError, match=reply[:3]):
            way.send(notice())
        server.refuses.clear()
        way.send(notice())


def test_a_mail_server_is_there_when_it_says_250(authority):
    with mail_server(authority, "plain") as server:
        settings = SmtpSettings("127.0.0.1", server.port, Encryption.OFFERED)
        way = SmtpMail(MailSettings(TO, SENDER, settings), settings)
        assert "nothing sent" in way.reach(10.0)
        server.refuses["NOOP"] = "202 not now"
        with pytest.raises(DeliveryError, match="202 not now"):
            way.reach(10.0)
