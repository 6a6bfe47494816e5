"""Signing in without a secret: workload identities and managed identities."""

import json
from datetime import date

import pytest

from apex_pipeline.errors import (
    AuthError,
    ConfigError,
    InterceptedError,
    TransientError,
)
from apex_pipeline.microsoft.application_proof import read_assertion
from apex_pipeline.microsoft.credential_expiry import credential_end
from apex_pipeline.microsoft.http_transport import token_http
from apex_pipeline.microsoft.token_cache import TokenCacheFile
from apex_pipeline.microsoft.tokens import TokenSource
from apex_pipeline.texts.redaction import redact
from apex_pipeline_tests.support.emulator_server import web_api
from apex_pipeline_tests.support.ends import emulator_settings, free_port
from apex_pipeline_tests.support.entra import RESOURCE, dataverse_settings
from apex_pipeline_tests.support.identities import Cluster, served_machine

WORKLOAD = "f0000000-0000-4000-8000-00000000a9e0"


@pytest.fixture
def cluster(emulator, tmp_path):
    cluster = Cluster(emulator, WORKLOAD, tmp_path / "azure-identity-token")
    cluster.register()
    return cluster


@pytest.fixture
def workload(cluster, tmp_path):
    """Tokens for the workload, each asked from the emulator."""
    settings = emulator_settings(
        cluster.emulator,
        client_id=WORKLOAD,
        client_secret=None,
        token_file=cluster.file,
    )
    with token_http(settings.ca_bundle) as http:
        yield TokenSource(settings, TokenCacheFile(tmp_path / "cache.json"), http)


def test_a_workload_signs_in_with_the_token_of_its_cluster(cluster, workload):
    cluster.issue()
    with web_api(cluster.emulator, workload.acquire()) as client:
        assert client.get("WhoAmI").status_code == 200


def test_the_token_of_the_cluster_is_read_each_time_because_it_rotates(
    cluster, workload
):
    cluster.issue(seconds=-3600)
    with pytest.raises(AuthError, match="its issuer no longer replaces it") as raised:
        workload.acquire()
    assert raised.value.code == "AADSTS700024"
    cluster.issue()
    first = workload.acquire()
    cluster.issue(seconds=-3600)
    assert workload.acquire() == first  # from memory, so nothing is read
    with pytest.raises(AuthError, match="AADSTS700024"):
        workload.renew(first)
    cluster.issue()
    assert workload.renew(first) != first


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe"])
def test_a_token_file_without_a_token_is_named(cluster, workload, content):
    cluster.issue()
    cluster.file.unlink()
    if content is not None:
        cluster.file.write_bytes(content)
    with pytest.raises(ConfigError, match=str(cluster.file)):
        workload.acquire()


@pytest.fixture
def machine(monkeypatch):
    with served_machine() as served:
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", served.url)
        yield served


def of_machine(tmp_path, identity="user"):
    settings = dataverse_settings(client_secret=None, managed_identity=identity)
    with token_http(None) as http:
        return TokenSource(settings, TokenCacheFile(tmp_path / "cache.json"), http)


@pytest.mark.parametrize("identity", ["user", "system"])
def test_a_machine_asks_its_own_endpoint_in_the_name_of_its_identity(
    machine, tmp_path, identity
):
    assert of_machine(tmp_path, identity).acquire() == "token-of-the-machine"
    ((query, headers),) = machine.asked
    assert (query["resource"], headers["metadata"]) == (RESOURCE, "true")
    assert query.get("client_id") == ("client-1" if identity == "user" else None)


def test_another_process_finds_the_token_of_the_machine(machine, tmp_path):
    of_machine(tmp_path).acquire()
    tokens = of_machine(tmp_path)
    assert tokens.acquire() == "token-of-the-machine"
    assert (tokens.hits, tokens.misses, len(machine.asked)) == (1, 0, 1)


def test_a_refused_token_of_the_machine_is_replaced(machine, tmp_path):
    tokens = of_machine(tmp_path)
    first = tokens.acquire()
    machine.token = lambda: "another"
    assert tokens.renew(first) == "another"


def test_app_service_and_container_apps_have_an_endpoint_of_their_own(
    machine, tmp_path, monkeypatch
):
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{machine.url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "sentinel-header")
    assert of_machine(tmp_path).acquire() == "token-of-the-machine"
    ((query, headers),) = machine.asked
    assert headers["x-identity-header"] == "sentinel-header"
    assert query["client_id"] == "client-1"


def test_no_proxy_stands_between_a_machine_and_its_endpoint(
    machine, tmp_path, monkeypatch
):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert of_machine(tmp_path).acquire() == "token-of-the-machine"


@pytest.mark.parametrize("status", [404, 410, 429, 500, 503])
def test_an_endpoint_that_is_busy_is_asked_again_later(machine, tmp_path, status):
    machine.answers.append((status, {"Retry-After": "17"}, "{}"))
    tokens = of_machine(tmp_path)
    with pytest.raises(TransientError, match="for now") as raised:
        tokens.acquire()
    assert raised.value.retry_after == 17
    with pytest.raises(TransientError):
        tokens.acquire()  # within the 17 seconds, without asking
    assert len(machine.asked) == 1


@pytest.mark.parametrize(
    ("identity", "remedy"),
    [
        ("user", "APEX_MANAGED_IDENTITY=system"),
        ("system", "APEX_MANAGED_IDENTITY=user"),
    ],
)
def test_a_machine_without_the_identity_says_what_to_assign(
    machine, tmp_path, identity, remedy
):
    body = {"error": "invalid_request", "error_description": "Identity not found"}
    machine.answers.append((400, {}, json.dumps(body)))
    with pytest.raises(AuthError, match="Identity not found") as raised:
        of_machine(tmp_path, identity).acquire()
    assert remedy in str(raised.value)


def test_a_page_in_place_of_the_endpoint_is_not_taken_for_its_answer(machine, tmp_path):
    machine.answers.append((200, {"Content-Type": "text/html"}, "<html>Sign in</html>"))
    with pytest.raises(InterceptedError, match="managed identity"):
        of_machine(tmp_path).acquire()


TOKEN: dict[str, object] = {
    "access_token": "t",
    "expires_in": "3599",
    "expires_on": "9999999999",
}


@pytest.mark.parametrize("kind", ["virtual machine", "app service"])
@pytest.mark.parametrize(
    ("status", "said"),
    [
        *[(status, TOKEN) for status in (201, 202, 203, 400, 401, 403)],
        (200, {}),
        (200, {"access_token": "t"}),
        (200, TOKEN | {"expires_in": None}),
        (200, TOKEN | {"expires_in": "soon"}),
        (200, TOKEN | {"expires_in": "-5", "expires_on": "-5"}),
        (200, TOKEN | {"expires_on": "1", "expires_in": "0"}),
        (200, TOKEN | {"access_token": ["t"]}),
        (200, TOKEN | {"access_token": "two words"}),
        (200, TOKEN | {"error": "none"}),
    ],
)
def test_only_a_token_that_lasts_is_a_token_of_the_machine(
    machine, tmp_path, monkeypatch, kind, status, said
):
    if kind == "app service":
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{machine.url}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "sentinel-header")
    machine.answers.append((status, {}, json.dumps(said)))
    with pytest.raises(InterceptedError, match="managed identity"):
        of_machine(tmp_path).acquire()


def test_a_token_without_its_end_is_not_kept(machine, tmp_path, monkeypatch):
    # App Service tells the instant alone, a virtual machine the seconds as well.
    body = json.dumps({"access_token": "t", "expires_on": "9999999999"})
    machine.answers += [(200, {}, body)] * 2
    with pytest.raises(TransientError, match="how long"):
        of_machine(tmp_path).acquire()
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{machine.url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "sentinel-header")
    assert of_machine(tmp_path).acquire() == "t"


def test_a_page_with_401_is_not_the_first_answer_of_azure_arc(machine, tmp_path):
    machine.answers.append((401, {"Content-Type": "text/html"}, "<html>Sign in</html>"))
    with pytest.raises(InterceptedError, match="managed identity"):
        of_machine(tmp_path).acquire()


def test_a_key_of_azure_arc_that_cannot_be_read_is_named(
    machine, tmp_path, monkeypatch
):
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{machine.url}/metadata/identity")
    monkeypatch.setenv("IMDS_ENDPOINT", machine.url)
    where = {"WWW-Authenticate": "Basic realm=/var/opt/azcmagent/tokens/none.key"}
    machine.answers.append((401, where, ""))
    with pytest.raises(ConfigError, match=r"azcmagent/tokens/none\.key.*himds"):
        of_machine(tmp_path, "system").acquire()


def test_an_agent_of_azure_arc_that_gives_a_token_without_its_key_is_not_believed(
    machine, tmp_path, monkeypatch
):
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{machine.url}/metadata/identity")
    monkeypatch.setenv("IMDS_ENDPOINT", machine.url)
    body = json.dumps({"access_token": "sentinel-token", "expires_in": "3600"})
    machine.answers.append((200, {}, body))
    with pytest.raises(TransientError, match="not issue a token as doc") as caught:
        of_machine(tmp_path, "system").acquire()
    assert "sentinel" not in str(caught.value)


def test_a_machine_without_an_endpoint_is_told_so(tmp_path, monkeypatch):
    closed = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", closed)
    with pytest.raises(TransientError, match="this machine's managed identity"):
        of_machine(tmp_path).acquire()


@pytest.mark.parametrize(
    "proof", [{"managed_identity": "user"}, {"token_file": "/run/token"}]
)
def test_an_identity_without_a_secret_has_no_end(tmp_path, proof):
    settings = dataverse_settings(client_secret=None, **proof)
    end = credential_end(settings, {}, tmp_path / "cache.json")
    assert (end.comes, end.days_left(date(2026, 1, 1))) == (False, None)
    assert settings.proof in end.source


def test_the_cluster_s_token_is_hidden_once_it_is_read(tmp_path):
    path = tmp_path / "azure-identity-token"
    path.write_text("eyJhbGciOiJSUzI1NiJ9.a-token-of-the-cluster\n")
    token = read_assertion(path)
    assert redact(f"The authority said: {token}") == "The authority said: ***"
