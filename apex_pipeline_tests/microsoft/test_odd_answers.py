"""Answers that hold what is documented, and more that nobody promised."""

import json
import logging

import httpx
import pytest

from apex_pipeline.errors import AuthError, DataverseError, InterceptedError
from apex_pipeline.microsoft import graph
from apex_pipeline.microsoft.token_cache import TokenCacheFile
from apex_pipeline.microsoft.tokens import TokenSource
from apex_pipeline_tests.support import hostile
from apex_pipeline_tests.support.entra import AUTHORITY, Entra, dataverse_settings
from apex_pipeline_tests.support.identities import served_machine

TOKEN = "token-of-an-odd-answer"
DOCUMENTED = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3599}
DESCRIPTION = {
    "authorization_endpoint": f"{AUTHORITY}/t/oauth2/v2.0/authorize",
    "token_endpoint": f"{AUTHORITY}/t/oauth2/v2.0/token",
}

ODD_MEMBERS = [
    '"ext_expires_in": null',
    '"ext_expires_in": []',
    '"ext_expires_in": "1.5"',
    '"refresh_in": "1800"',
    '"refresh_in": null',
    '"refresh_in": 1e400',
    '"refresh_in": true',
    '"id_token": null',
    '"id_token": "x"',
    '"id_token_claims": []',
    '"scope": null',
    '"scope": 7',
    '"client_info": null',
    '"client_info": "x"',
    '"refresh_token": {}',
    '"foci": []',
    '"expires_on": "soon"',
    '"resource": []',
    '"\\u0000": "\\ud800"',
]
ODD_CODINGS = [
    ("application/json", "utf-8-sig"),
    ("application/json; charset=utf-16", "utf-16"),
    ("application/json; charset=utf-16", "utf-8"),
    ("application/json; charset=base64", "utf-8"),
    ("application/json; charset=hex", "utf-8"),
    ("application/json; charset=none-such", "utf-8"),
    ("text/plain; charset=rot13", "utf-8"),
]


def with_member(document, member):
    """The document as JSON, with one more member as it is spelled."""
    return json.dumps(document)[:-1] + f", {member}" + "}"


def coded(document, content_type, coding):
    return httpx.Response(
        200,
        content=json.dumps(document).encode(coding),
        headers={"Content-Type": content_type},
    )


@pytest.fixture
def acquired(tmp_path, caplog):
    """The token that a source gets, and that nothing has logged it."""

    def run(entra):
        path = tmp_path / "cache.json"
        with caplog.at_level(logging.DEBUG):
            found = TokenSource(
                dataverse_settings(), TokenCacheFile(path), entra.client()
            ).acquire()
        assert TOKEN not in caplog.text
        # Another process reads what was stored.
        stored = TokenSource(
            dataverse_settings(), TokenCacheFile(path), Entra(fault=OSError()).client()
        )
        assert stored.acquire() == found
        return found

    return run


@pytest.mark.parametrize("member", ODD_MEMBERS)
def test_members_beside_the_token_are_ignored(acquired, member):
    odd = httpx.Response(200, content=with_member(DOCUMENTED, member))
    assert acquired(Entra(said=[odd])) == TOKEN


@pytest.mark.parametrize(("content_type", "coding"), ODD_CODINGS)
def test_a_token_is_read_in_whatever_coding_json_may_have(
    acquired, content_type, coding
):
    assert acquired(Entra(said=[coded(DOCUMENTED, content_type, coding)])) == TOKEN


@pytest.mark.parametrize("seconds", ["3599", 3599, 999_999_999_999])
def test_the_seconds_of_a_token_may_be_a_text(acquired, seconds):
    odd = httpx.Response(200, json=DOCUMENTED | {"expires_in": seconds})
    assert acquired(Entra(said=[odd])) == TOKEN


@pytest.mark.parametrize(
    "member", ['"issuer": 7', '"device_authorization_endpoint": 1']
)
def test_members_beside_the_endpoints_are_ignored(acquired, member):
    odd = httpx.Response(200, content=with_member(DESCRIPTION, member))
    assert acquired(Entra(described=[odd])) == "token-1"


@pytest.mark.parametrize(("content_type", "coding"), ODD_CODINGS)
def test_the_endpoints_are_read_in_whatever_coding_json_may_have(
    acquired, content_type, coding
):
    odd = coded(DESCRIPTION, content_type, coding)
    assert acquired(Entra(described=[odd])) == "token-1"


ODD_HOSTS = [
    "",
    "[::1",
    "graph\x00.example",
    "graph.example\n",
    "a..b",
    "x" * 70 + ".example",
    "user@graph.example",
    "graph.example:port",
    "graph.example?x",
    "graph example",
    "\ud800",
]


@pytest.mark.parametrize("host", ODD_HOSTS)
def test_an_endpoint_at_an_impossible_host_is_not_the_authoritys(tmp_path, host):
    odd = httpx.Response(
        200, content=json.dumps(DESCRIPTION | {"token_endpoint": f"https://{host}/t/x"})
    )
    source = TokenSource(
        dataverse_settings(),
        TokenCacheFile(tmp_path / "cache.json"),
        Entra(described=[odd]).client(),
    )
    with pytest.raises(InterceptedError, match="addresses of the authority"):
        source.acquire()


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with hostile.serving(tmp_path_factory.mktemp("hostile")) as served:
        yield served


@pytest.mark.parametrize("host", [*ODD_HOSTS, None, 7, []])
def test_an_impossible_host_of_graph_counts_as_none(service, tmp_path, host):
    service.described = {"msgraph_host": host}
    with (
        pytest.raises(AuthError, match="names no Microsoft Graph"),
        graph.connect(service.settings(), tmp_path / "cache.json"),
    ):
        pass


@pytest.fixture
def machine(monkeypatch):
    with served_machine() as served:
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", served.url)
        yield served


def app_service(machine, monkeypatch):
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{machine.url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "sentinel-header")


def of_machine(tmp_path):
    return TokenSource(
        dataverse_settings(client_secret=None, managed_identity="user"),
        TokenCacheFile(tmp_path / "cache.json"),
        Entra().client(),
    )


@pytest.mark.parametrize("kind", ["virtual machine", "app service"])
@pytest.mark.parametrize(
    ("headers", "text"),
    [
        *(
            ({}, with_member({"expires_in": "3599", "expires_on": "9999999999"}, text))
            for text in (
                f'"access_token": "{TOKEN}", "token_type": null',
                f'"access_token": "{TOKEN}", "resource": [1]',
                f'"access_token": "{TOKEN}", "refresh_in": null',
                f'"access_token": "{TOKEN}", "ext_expires_in": []',
                f'"access_token": "{TOKEN}", "not_before": 1e400',
            )
        ),
        (
            {"Content-Type": "application/json; charset=base64"},
            json.dumps(DOCUMENTED | {"expires_on": "9999999999"}),
        ),
        ({}, "\ufeff" + json.dumps(DOCUMENTED | {"expires_on": "9999999999"})),
    ],
)
def test_a_machines_odd_answer_gives_its_token(
    machine, tmp_path, monkeypatch, caplog, kind, headers, text
):
    if kind == "app service":
        app_service(machine, monkeypatch)
    machine.answers.append((200, headers, text))
    with caplog.at_level(logging.DEBUG):
        assert of_machine(tmp_path).acquire() == TOKEN
    assert TOKEN not in caplog.text


def refusal_of(tmp_path, status, document, *, at_discovery=False):
    odd = httpx.Response(status, content=json.dumps(document))
    entra = Entra(described=[odd]) if at_discovery else Entra(said=[odd])
    source = TokenSource(
        dataverse_settings(), TokenCacheFile(tmp_path / "cache.json"), entra.client()
    )
    with pytest.raises(DataverseError) as caught:
        source.acquire()
    return caught.value


@pytest.mark.parametrize("at_discovery", [True, False])
@pytest.mark.parametrize(
    ("status", "document"),
    [
        (403, {"status": 403, "error": "Forbidden", "path": "/t"}),
        (400, {"status": 400, "error": "Bad Request", "path": "/t"}),
        (401, {"timestamp": 1, "status": 401, "error": "Unauthorized"}),
        (404, {"error": "Not Found"}),
        (404, {"error": "invalid_tenant", "error_description": "AADSTS90002: No."}),
        (407, {"error": "proxy auth"}),
        (403, {"error": "invalid_client", "error_codes": [7000215]}),
        (400, {"error": {"code": "BadRequest", "message": "No."}}),
        (400, {"error": "blocked", "error_codes": "7000215"}),
        (401, {"error": "blocked", "error_codes": [True, -1]}),
        (401, {"error": "blocked", "error_description": ["AADSTS90002"]}),
        (401, {"message": "Unauthorized"}),
        (401, []),
    ],
)
def test_what_only_looks_like_a_refusal_comes_from_something_in_between(
    tmp_path, status, document, at_discovery
):
    error = refusal_of(tmp_path, status, document, at_discovery=at_discovery)
    assert isinstance(error, InterceptedError)
    assert f"answers in its place: HTTP {status}" in str(error)
    assert "AZURE_TENANT_ID" not in str(error)


@pytest.mark.parametrize("status", [400, 401])
@pytest.mark.parametrize(
    "document",
    [
        {"error": "invalid_client"},
        {"error": "invalid_scope", "error_description": "No."},
        {"error": "invalid_resource"},
        {"error": "x", "error_description": "AADSTS70011: No."},
        {"error_codes": [70011]},
    ],
)
def test_a_refusal_names_an_error_that_is_documented(tmp_path, status, document):
    error = refusal_of(tmp_path, status, document)
    assert isinstance(error, AuthError)
    assert "Check AZURE_TENANT_ID" in str(error)


ODD_TEXTS = [
    "a\0b",
    "half \ud800 pair",
    "x" * 3_000_000,
    "two\r\nlines \x1b[31m \u202e",
]


@pytest.mark.parametrize("said", ODD_TEXTS)
@pytest.mark.parametrize(
    "document", [{"error": "invalid_client"}, {"error": "server_error"}]
)
def test_what_the_authority_says_is_one_bounded_printable_line(
    tmp_path, said, document
):
    odd = document | {"error_description": said, "correlation_id": said}
    text = str(refusal_of(tmp_path, 401, odd))
    assert text.isprintable()
    assert len(text) < 3_000


@pytest.mark.parametrize("said", ODD_TEXTS)
def test_what_a_machine_says_is_one_bounded_printable_line(machine, tmp_path, said):
    body = {"error": "invalid_request", "error_description": said}
    machine.answers.append((400, {}, json.dumps(body)))
    with pytest.raises(AuthError) as caught:
        of_machine(tmp_path).acquire()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 3_000


@pytest.mark.parametrize("kind", ["virtual machine", "app service"])
@pytest.mark.parametrize(
    ("status", "document"),
    [
        (403, {"status": 403, "error": "Forbidden"}),
        (400, {"status": 400, "error": "Bad Request"}),
        (407, {"error": "proxy auth"}),
        (400, {"message": "Blocked"}),
        (400, {"statusCode": 403, "message": "Blocked"}),
        (401, {"error": {"code": "1", "message": "No."}}),
    ],
)
def test_what_only_looks_like_a_machines_refusal_comes_from_something_in_between(
    machine, tmp_path, monkeypatch, kind, status, document
):
    if kind == "app service":
        app_service(machine, monkeypatch)
    machine.answers.append((status, {}, json.dumps(document)))
    with pytest.raises(InterceptedError, match=f"in its place: HTTP {status}"):
        of_machine(tmp_path).acquire()


@pytest.mark.parametrize(
    "document",
    [
        {"error": "invalid_resource", "error_description": "AADSTS500011: No."},
        {"error": "invalid_request", "error_description": "Identity not found"},
        {"statusCode": 400, "message": "No managed identity was found"},
    ],
)
def test_an_app_service_says_why_it_refuses(machine, tmp_path, monkeypatch, document):
    app_service(machine, monkeypatch)
    machine.answers.append((400, {}, json.dumps(document)))
    said = document.get("error_description") or document["message"]
    with pytest.raises(AuthError, match=said.rstrip(".")):
        of_machine(tmp_path).acquire()
