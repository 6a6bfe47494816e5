"""Proxies of the environment: entries that mean nothing are named and passed over."""

import asyncio
import logging
import ssl
import threading

import httpx
import pytest

from apex_pipeline.dataverse.environment import dataverse_http
from apex_pipeline.errors import ConfigError, TransientError
from apex_pipeline.microsoft.http_transport import (
    certificate_fault,
    token_http,
    translated,
)
from apex_pipeline.monitoring.alerts.webhook import reason
from apex_pipeline.settings import proxies as module
from apex_pipeline.settings.proxies import load_proxies
from apex_pipeline_tests.support.ends import free_port
from apex_pipeline_tests.support.receivers import proxy, workflow

PROXY = {"HTTPS_PROXY": "http://user:pass-word@proxy.example:3128"}


@pytest.fixture(autouse=True)
def nothing_warned(monkeypatch):
    monkeypatch.setattr(module, "_warned", set())
    for name in ("https_proxy", "http_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("exempt", "host", "port", "is_direct"),
    [
        ("", "org.example", 443, False),
        ("*", "org.example", 443, True),
        ("org.example", "org.example", 443, True),
        ("ORG.example", "org.EXAMPLE", 443, True),
        ("example", "org.example", 443, True),
        (".example", "org.example", 443, True),
        ("*.example", "org.example", 443, True),
        ("g.example", "org.example", 443, False),
        ("https://org.example", "org.example", 443, True),
        ("org.example:443", "org.example", 443, True),
        ("org.example:444", "org.example", 443, False),
        ("localhost,fd00::/8", "fd12::7", 443, True),
        ("localhost,fd00::/8", "fe80::1", 443, False),
        ("localhost,fd00::/8", "localhost", 443, True),
        ("[::1]", "::1", 443, True),
        ("[::1]", "[::1]", 443, True),
        ("::1", "::1", 443, True),
        ("[::1]:8443", "::1", 443, False),
        ("[::1]:8443", "::1", 8443, True),
        ("10.0.0.0/8", "10.1.2.3", 443, True),
        ("10.0.0.0/8", "11.1.2.3", 443, False),
        ("127.0.0.1", "127.0.0.1", 443, True),
        (" a , org.example ,", "org.example", 443, True),
    ],
)
def test_who_is_reached_without_a_proxy(exempt, host, port, is_direct):
    found = load_proxies(PROXY | {"NO_PROXY": exempt}).towards("https", host, port)
    assert found == (None if is_direct else PROXY["HTTPS_PROXY"])


@pytest.mark.parametrize(
    "entry", ["[::1", "a b", "fd00::/999", "x:y:z", "exa[mple", "#"]
)
def test_a_broken_entry_is_named_and_passed_over(entry, caplog):
    environment = PROXY | {"NO_PROXY": f"{entry},org.example"}
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert (
                load_proxies(environment).towards("https", "org.example", 443) is None
            )
    (record,) = caplog.records
    assert "NO_PROXY" in record.message
    assert entry in record.message


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        (
            {"ALL_PROXY": "socks5://10.0.0.1:1080"},
            "ALL_PROXY is a proxy of type",
        ),
        ({"all_proxy": "socks5h://user:pass-word@x:1"}, "ALL_PROXY"),
        ({"HTTPS_PROXY": "http://proxy:port-pass-word"}, "HTTPS_PROXY is not"),
        ({"https_proxy": "http://"}, "HTTPS_PROXY is not"),
        ({"https_proxy": "PROXY proxy:3128"}, "HTTPS_PROXY is not"),
        ({"https_proxy": "http://a\tb:1"}, "HTTPS_PROXY is not"),
        ({"https_proxy": "http://pro\x7fxy:1"}, "HTTPS_PROXY is not"),
        ({"https_proxy": "http://..:1"}, "HTTPS_PROXY is not"),
        ({"https_proxy": "http://[::x]:1"}, "HTTPS_PROXY is not"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_refused_by_its_variable(environment, told):
    with pytest.raises(ConfigError, match=told) as caught:
        load_proxies(environment).towards("https", "org.example", 443)
    assert "pass-word" not in str(caught.value)
    exempted = load_proxies(environment | {"NO_PROXY": "org.example"})
    assert exempted.towards("https", "org.example", 443) is None


@pytest.mark.parametrize(
    "host", ["proxy", "proxy_1.corp.", "10.0.0.1", "[::1]", "[fe80::1%eth0]", "pröxy"]
)
def test_the_host_of_a_proxy_is_a_name_or_an_address(host):
    environment = {"HTTPS_PROXY": f"http://user:secret@{host}:3128/"}
    found = load_proxies(environment).towards("https", "org.example", 443)
    assert found == environment["HTTPS_PROXY"]


def test_the_more_special_variable_counts_and_the_lower_case_one():
    environment = {"ALL_PROXY": "a:1", "HTTPS_PROXY": "b:2", "https_proxy": "c:3"}
    assert load_proxies(environment).towards("https", "x", 443) == "http://c:3"
    assert load_proxies(environment).towards("http", "x", 80) == "http://a:1"
    assert "pass-word" not in repr(load_proxies(PROXY))


def ask(url, ca_bundle, *, is_async):
    """An answer's status, by either of the clients that everything goes through."""

    async def go():
        async with dataverse_http(ca_bundle, request_timeout=10) as http:
            return (await http.post(url, content=b"{}")).status_code

    with translated("ask"):
        if is_async:
            return asyncio.run(go())
        with token_http(ca_bundle) as http:
            return http.post(url, content=b"{}").status_code


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    "exempt", ["localhost,fd00::/8", "[::1],localhost", "[::1,localhost"]
)
def test_no_entry_keeps_a_client_from_its_server(
    authority, monkeypatch, is_async, exempt
):
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("NO_PROXY", exempt)
    with workflow(authority) as served:
        served.answers.append((204, {}))
        assert ask(served.url, authority.ca_bundle, is_async=is_async) == 204


@pytest.mark.parametrize("is_async", [False, True])
def test_a_client_goes_through_the_proxy_that_is_named(
    authority, monkeypatch, is_async
):
    monkeypatch.setenv("NO_PROXY", "fd00::/8")
    with workflow(authority) as served, proxy() as (port, heads):
        served.answers.append((204, {}))
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{port}")
        assert ask(served.url, authority.ca_bundle, is_async=is_async) == 204
    assert heads[0].startswith(f"CONNECT localhost:{served.port} ")


@pytest.mark.parametrize("is_async", [False, True])
def test_socks_is_refused_in_words(authority, monkeypatch, is_async):
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    with pytest.raises(ConfigError, match="ALL_PROXY is a proxy of type socks5"):
        ask("https://localhost:9/", authority.ca_bundle, is_async=is_async)


# Certificates of servers.


def refusal(code, message):
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, message
    return error


@pytest.mark.parametrize(
    ("code", "message", "told"),
    [
        (10, "certificate has expired", "has expired"),
        (9, "certificate is not yet valid", "machine's clock"),
        (62, "Hostname mismatch, certificate is not valid for 'x'", "another host"),
        (64, "IP address mismatch", "another host"),
        (18, "self-signed certificate", "APEX_CA_BUNDLE"),
        (20, "unable to get local issuer certificate", "APEX_CA_BUNDLE"),
    ],
)
def test_why_a_certificate_was_refused_is_told_in_openssls_words(code, message, told):
    error = refusal(code, message)
    for text in (certificate_fault(error), reason(error)):
        assert told in text
        assert message in text
        assert ("APEX_CA_BUNDLE" in text) is (told == "APEX_CA_BUNDLE")


def test_httpxs_error_keeps_the_reason():
    error = httpx.ConnectError("failed")
    error.__cause__ = refusal(10, "certificate has expired")
    with pytest.raises(ConfigError, match="has expired"), translated("ask"):
        raise error


@pytest.mark.parametrize(
    "error",
    [ssl.SSLError(1, "[SSL] bad record mac"), ConnectionResetError(104, "reset")],
)
def test_what_breaks_in_mid_stream_is_a_passing_fault(error):
    with pytest.raises(TransientError), translated("ask"):
        raise error


def test_tls_that_breaks_is_not_called_no_tls():
    assert "does not speak TLS" not in reason(ssl.SSLError(1, "[SSL] bad record mac"))


@pytest.mark.parametrize("character", ["/", "?", "#"])
def test_a_password_that_ends_the_address_early_is_explained_and_not_shown(character):
    """Its first part would pass for a port, and the user for a host."""
    address = f"http://me:12{character}34-secret@proxy:3128"
    with pytest.raises(ConfigError) as refused:
        load_proxies({"HTTPS_PROXY": address}).towards("https", "example.com", 443)
    assert "%2F" in str(refused.value)
    for part in ("12", "34-secret", "me:"):
        assert part not in str(refused.value)
    encoded = f"http://me:12%{ord(character):02X}34-secret@proxy:3128"
    proxies = load_proxies({"HTTPS_PROXY": encoded})
    assert proxies.towards("https", "example.com", 443) == encoded


def test_the_tests_proxy_ends_though_nobody_has_come():
    before = {*threading.enumerate()}
    with pytest.raises(ConnectionError), proxy() as (_, heads):
        raise ConnectionError
    assert heads == []
    assert {*threading.enumerate()} <= before
