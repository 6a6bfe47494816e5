"""Hosts that no resolver takes are refused where they are read, for every address."""

import socket
from collections.abc import Callable

import pytest

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings import (
    find_mistakes,
    load_alert_settings,
    load_audit_settings,
    load_dagster_url,
    load_dataverse,
    load_lineage_settings,
    load_panel_settings,
    load_storage_parameters,
)
from apex_pipeline.settings.host_names import is_possible_host, is_web_address
from apex_pipeline.settings.postgres_url import read_postgres_url
from apex_pipeline.settings.proxies import load_proxies
from apex_pipeline_tests.support.complete_settings import REAL

IMPOSSIBLE = ["a..b", ".a", "x" * 64 + ".example", "a." * 127 + "a"]
MAIL = {"APEX_ALERT_EMAIL_TO": "a@b.example", "APEX_ALERT_EMAIL_FROM": "a@b.example"}


def proxied(environment):
    return load_proxies(environment).towards("https", "org.example", 443)


READ: dict[str, tuple[Callable[[dict[str, str]], object], str, dict[str, str]]] = {
    "APEX_TEAMS_WEBHOOK_URL": (load_alert_settings, "https://{}/x?sig=1", {}),
    "APEX_HEARTBEAT_URL": (load_alert_settings, "http://{}/x", {}),
    "APEX_SMTP_URL": (load_alert_settings, "smtp://{}:25", MAIL),
    "APEX_DAGSTER_URL": (load_dagster_url, "https://{}", {}),
    "APEX_TSA_URL": (
        load_audit_settings,
        "http://{}/tsr",
        {"APEX_TSA_CERTIFICATES": __file__},
    ),
    "OPENLINEAGE_URL": (load_lineage_settings, "https://{}", {}),
    "APEX_PANEL_CORS": (load_panel_settings, "https://{}", {}),
    "DAGSTER_POSTGRES_URL": (load_storage_parameters, "postgresql://u:p@{}/d", {}),
    "HTTPS_PROXY": (proxied, "http://{}:3128", {}),
    "DATAVERSE_RESOURCE": (load_dataverse, "https://{}", REAL),
    "AZURE_AUTHORITY_HOST": (load_dataverse, "https://{}", REAL),
    "DATABASE_URL": (
        lambda environment: read_postgres_url(
            environment["DATABASE_URL"], "DATABASE_URL"
        ),
        "postgresql://u:p@{}/d",
        {},
    ),
}


@pytest.mark.parametrize("host", [*IMPOSSIBLE, "[::g]", "[::1"])
@pytest.mark.parametrize("variable", READ)
def test_an_impossible_host_is_refused_and_the_variable_named(variable, host):
    load, address, others = READ[variable]
    with pytest.raises(ConfigError, match=variable):
        load(others | {variable: address.format(host)})


@pytest.mark.parametrize("host", IMPOSSIBLE)
def test_a_host_is_impossible_where_the_resolver_takes_no_such_name(host):
    assert not is_possible_host(host)
    with pytest.raises((UnicodeError, socket.gaierror)):
        socket.getaddrinfo(host, 443)


@pytest.mark.parametrize(
    "host",
    [
        "a",
        "a.",
        "a_b.example",
        "x" * 63 + ".example",
        "127.0.0.1",
        "::1",
        "bücher.example",
    ],
)
def test_names_and_addresses_are_possible(host):
    assert is_possible_host(host)


@pytest.mark.parametrize(
    "text",
    [
        *("https://a b/", "https://a/\n", "https://a:0/", "https://"),
        *("https://a:port/", "ftp://a/", "a", "", "https://a:99999/"),
    ],
)
def test_a_web_address_is_what_every_client_takes(text):
    assert not is_web_address(text, frozenset({"https"}))
    assert is_web_address("https://a.example:8443/b?c=d", frozenset({"https"}))


def test_several_hosts_and_sockets_of_postgres_are_possible():
    for host in ("a,b", "/run/postgresql", "", "127.0.0.1,::1"):
        url = f"postgresql://u:p@/d?host={host}&hostaddr=127.0.0.1"
        assert read_postgres_url(url, "DATABASE_URL")["dbname"] == "d"
    for host in ("a,b..c", "a..b,c"):
        with pytest.raises(ConfigError, match="DATABASE_URL"):
            read_postgres_url(f"postgresql://u:p@{host}/d", "DATABASE_URL")


@pytest.mark.parametrize(
    "url", ["https://[x", "https://h:abc", "https://h:99999", "ftp://x", "marquez:5000"]
)
def test_a_receiver_of_lineage_that_is_none_is_among_the_mistakes(url):
    (mistake,) = find_mistakes(REAL | {"OPENLINEAGE_URL": url})
    assert mistake.startswith("OPENLINEAGE_URL must be the receiver's address")
    (mistake,) = find_mistakes(REAL | {"OPENLINEAGE_API_KEY": "a-key-of-it"})
    assert mistake == "OPENLINEAGE_API_KEY is set but OPENLINEAGE_URL is not."
