import logging
import stat
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from apex_pipeline.errors import AuthError, ConfigError, TransientError
from apex_pipeline.microsoft.token_cache import TokenCacheFile
from apex_pipeline.microsoft.tokens import TokenSource
from apex_pipeline_tests.support.entra import RESOURCE, Entra, dataverse_settings


class Clock:
    def __init__(self):
        self.offset = 0.0

    def __call__(self):
        return time.time() + self.offset


@pytest.fixture
def cache_path(tmp_path):
    return tmp_path / "state" / "token_cache.json"


def source(entra, cache_path, **overrides):
    return TokenSource(
        dataverse_settings(**overrides), TokenCacheFile(cache_path), entra.client()
    )


def test_one_token_serves_many_requests(cache_path):
    entra = Entra()
    tokens = source(entra, cache_path)
    assert {tokens.acquire() for _ in range(100)} == {"token-1"}
    assert (tokens.hits, tokens.misses) == (99, 1)
    assert entra.forms[0]["scope"] == f"{RESOURCE}/.default"


def test_the_next_process_finds_the_token_without_asking_the_authority(cache_path):
    source(Entra(), cache_path).acquire()
    unreachable = Entra(fault=httpx.ConnectError("no route"))
    tokens = source(unreachable, cache_path)
    assert tokens.acquire() == "token-1"
    assert (tokens.hits, tokens.misses) == (1, 0)


def test_a_token_about_to_expire_is_replaced(cache_path):
    entra = Entra()
    clock = Clock()
    tokens = TokenSource(
        dataverse_settings(), TokenCacheFile(cache_path), entra.client(), now=clock
    )
    assert tokens.acquire() == "token-1"
    clock.offset = 3599 - 299
    # MSAL has a clock of its own, so the shared cache must not serve it either.
    assert tokens.cached() is None


def test_a_refused_token_is_replaced_by_another(cache_path):
    entra = Entra()
    tokens = source(entra, cache_path)
    refused = tokens.acquire()
    assert tokens.renew(refused) == "token-2"
    assert source(entra, cache_path).acquire() == "token-2"


def test_a_token_renewed_meanwhile_is_taken_over(cache_path):
    """Fifty requests that fail together renew once."""
    entra = Entra()
    tokens = source(entra, cache_path)
    refused = tokens.acquire()
    with ThreadPoolExecutor(8) as pool:
        renewed = set(pool.map(tokens.renew, [refused] * 8))
    assert renewed == {"token-2"}
    assert len(entra.tokens) == 2


def test_processes_that_start_together_ask_once(cache_path):
    entra = Entra()
    with ThreadPoolExecutor(8) as pool:
        got = set(pool.map(lambda _: source(entra, cache_path).acquire(), range(8)))
    assert got == {"token-1"}


def test_the_cache_is_for_its_owner_alone(cache_path):
    source(Entra(), cache_path).acquire()
    assert stat.S_IMODE(cache_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(cache_path.parent.stat().st_mode) == 0o700
    assert "a-secret-value" not in cache_path.read_text()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"AccessToken": 7}', '{"AccessToken":{"k":1}}']
)
def test_a_damaged_cache_begins_anew(cache_path, content):
    cache_path.parent.mkdir()
    cache_path.write_text(content)
    entra = Entra()
    assert source(entra, cache_path).acquire() == "token-1"
    assert source(entra, cache_path).acquire() == "token-1"


def test_bytes_that_are_no_text_begin_anew(cache_path):
    cache_path.parent.mkdir()
    cache_path.write_bytes(b"\xff\xfe\x00")
    assert source(Entra(), cache_path).acquire() == "token-1"


def test_a_cache_that_cannot_be_written_costs_a_request_and_says_so(tmp_path, caplog):
    """Like a full disk: the folder is a file, because root ignores permissions."""
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    entra = Entra()
    with caplog.at_level(logging.WARNING):
        assert source(entra, blocked / "cache.json").acquire() == "token-1"
    assert "cannot be used" in caplog.text


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (7000215, "must be the secret's value"),
        (7000222, "has expired"),
        (700016, "AZURE_CLIENT_ID is not an application"),
        (90002, "AZURE_TENANT_ID is not a tenant"),
        (500011, "DATAVERSE_RESOURCE is not an environment"),
        (700024, "clock is wrong"),
    ],
)
def test_a_refusal_shows_the_aadsts_code_and_the_remedy(cache_path, code, remedy):
    body: dict[str, object] = {
        "error": "invalid_client",
        "error_description": f"AADSTS{code}: No.\r\nTrace ID: 1",
        "error_codes": [code],
        "correlation_id": "c-1",
    }
    tokens = source(Entra(refusal=(401, body)), cache_path)
    with pytest.raises(AuthError, match=remedy) as caught:
        tokens.acquire()
    assert caught.value.code == f"AADSTS{code}"
    assert "a-secret-value" not in str(caught.value)
    assert "Trace ID" not in str(caught.value)


@pytest.mark.parametrize("place", ["described", "said"])
@pytest.mark.parametrize(
    ("status", "document"),
    [
        (429, {"error": "throttled"}),
        (400, {"error": "temporarily_unavailable"}),
        (400, {"error": "server_error", "error_codes": "none"}),
        (400, {"error": "x", "error_codes": [90033]}),
        (400, {"error": "x", "error_description": "AADSTS90033: A transient error."}),
        (502, {}),
    ],
)
def test_what_passes_is_not_called_wrong_credentials(
    cache_path, place, status, document
):
    answer = httpx.Response(status, json=document, headers={"Retry-After": "7"})
    entra = Entra()
    getattr(entra, place).append(answer)
    tokens = source(entra, cache_path)
    with pytest.raises(TransientError) as caught:
        tokens.acquire()
    assert caught.value.retry_after == 7.0
    assert "AZURE" not in str(caught.value)


def test_a_wait_that_the_authority_asks_for_holds_for_every_worker(cache_path):
    busy = httpx.Response(429, headers={"Retry-After": "60"})
    entra = Entra(said=[busy])
    tokens = source(entra, cache_path)

    def ask(_):
        with pytest.raises(TransientError) as caught:
            tokens.acquire()
        return caught.value.retry_after

    with ThreadPoolExecutor(8) as pool:
        waits = list(pool.map(ask, range(8)))
    assert all(50 < wait <= 60 for wait in waits)
    assert entra.tokens == []
    assert tokens.misses == 1


@pytest.mark.parametrize("codes", [None, 7, [], [{}], ["x"], {"a": 1}])
def test_codes_of_any_shape_are_no_reason_to_crash(cache_path, codes):
    body: dict[str, object] = {"error": "invalid_client", "error_codes": codes}
    with pytest.raises(AuthError, match="invalid_client"):
        source(Entra(refusal=(401, body)), cache_path).acquire()


def test_an_authority_that_fails_is_a_passing_fault(cache_path):
    with pytest.raises(TransientError):
        source(Entra(refusal=(503, {"error": "down"})), cache_path).acquire()


def test_an_authority_that_does_not_answer_is_a_passing_fault(cache_path):
    with pytest.raises(
        TransientError, match=r"ask https://login\.example/t for a token"
    ):
        source(Entra(fault=httpx.ConnectTimeout("")), cache_path).acquire()


def test_a_certificate_file_needs_key_and_certificate(cache_path, tmp_path):
    path = tmp_path / "certificate.pem"
    path.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    tokens = source(Entra(), cache_path, client_secret=None, certificate_path=path)
    with pytest.raises(ConfigError, match="private key and the certificate"):
        tokens.acquire()


def test_the_secret_is_in_no_representation():
    assert "a-secret-value" not in repr(dataverse_settings())
