"""Teams: a card is taken once, refusals are told with what to do, the address never."""

import json
import logging
import socket
import ssl
import traceback

import pytest

from apex_pipeline.microsoft.http_answer import Answer
from apex_pipeline.monitoring.alerts import webhook
from apex_pipeline.monitoring.alerts.notice import DeliveryError
from apex_pipeline.monitoring.alerts.send_limits import Pace, until_taken
from apex_pipeline.monitoring.alerts.teams import Teams
from apex_pipeline.monitoring.alerts.webhook import reason
from apex_pipeline_tests.support.notices import notice, runs
from apex_pipeline_tests.support.receivers import (
    SIGNATURE,
    proxy,
    refusing_proxy,
    workflow,
)


class Dial:
    """A clock that sleeping moves."""

    def __init__(self):
        self.now = 1_000.0
        self.slept = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def teams(authority):
    with workflow(authority) as served:
        yield served


@pytest.fixture
def dial():
    return Dial()


@pytest.fixture
def channel(teams, authority, dial):
    return Teams(
        teams.url,
        authority.ca_bundle,
        pace=Pace(apart=0.0, per_hour=100, now=dial, sleep=dial.sleep),
        patiently=lambda call: until_taken(call, now=dial, sleep=dial.sleep),
    )


def refused(channel):
    """What a refusal says; the address is in none of it, however it is looked at."""
    with pytest.raises(DeliveryError) as caught:
        channel.send(notice())
    shown = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    assert SIGNATURE not in shown
    assert "/workflows/" not in str(caught.value)
    return caught.value


def test_a_card_is_taken_by_an_endpoint_that_checks_it(channel, teams):
    channel.send(notice())
    (card,) = teams.cards
    texts = runs(notice())
    assert all(json.dumps(text)[1:-1] in json.dumps(card) for text in texts)
    assert teams.paths == [f"/workflows/1/invoke?sig={SIGNATURE}"]


def test_the_address_is_in_no_log_and_no_representation(channel, caplog):
    with caplog.at_level(logging.DEBUG):
        channel.send(notice())
    assert SIGNATURE not in caplog.text + repr(channel)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_passing_refusal_is_tried_again_after_the_time_asked_for(
    channel, teams, dial, status
):
    teams.answers += [(status, {"Retry-After": "3"}), (status, {})]
    channel.send(notice())
    assert len(teams.cards) == 1
    assert dial.slept == [3.0, 2.0]


def test_who_refuses_for_long_is_left_to_be_asked_later(channel, teams, dial):
    teams.answers += [(503, {})] * 3
    error = refused(channel)
    assert "HTTP 503 for now" in str(error)
    assert (error.retry_after, dial.slept) == (None, [1.0, 2.0])
    teams.answers += [(429, {"Retry-After": "600"})]
    error = refused(channel)
    assert (error.retry_after, dial.slept) == (600.0, [1.0, 2.0])
    assert teams.cards == []


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (400, "accept an Adaptive Card"),
        (401, "open to anyone"),
        (403, "open to anyone"),
        (404, "APEX_TEAMS_WEBHOOK_URL"),
        (410, "APEX_TEAMS_WEBHOOK_URL"),
        (413, "Power Automate"),
    ],
)
def test_a_lasting_refusal_is_told_once_with_what_to_do(channel, teams, status, text):
    teams.answers.append((status, {}))
    error = str(refused(channel))
    assert text in error
    assert f"HTTP {status}, triggerdisabled" in error
    assert len(teams.paths) == 1


NO_ERRORS_OF_A_WORKFLOW = [
    b"",
    b"Request blocked by policy",
    b'{"message":"Forbidden"}',
    b'{"error":"Forbidden"}',
    b'{"error":{"code":"403"}}',
    b'{"error":{"code":"","message":"No."}}',
    b'{"error":{"code":403,"message":"No."}}',
]


@pytest.mark.parametrize("said", NO_ERRORS_OF_A_WORKFLOW)
@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refusal_by_something_in_between_is_not_the_workflows(
    channel, teams, status, said
):
    teams.answers.append((status, {"Content-Type": "text/plain", "Server": "waf/1"}))
    teams.refusal = said
    error = str(refused(channel))
    assert f"between us and Teams answers in its place: HTTP {status}" in error
    assert "trigger" not in error
    assert "workflow in Power Automate" not in error


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(channel, teams, status):
    teams.answers.append((status, {"Location": f"{teams.url}&elsewhere"}))
    assert "redirects" in str(refused(channel))
    assert len(teams.paths) == 1


def test_a_certificate_that_nobody_vouches_for(teams):
    error = refused(Teams(teams.url, pace=Pace(apart=0, per_hour=9)))
    assert "APEX_CA_BUNDLE" in str(error)
    assert teams.paths == []


def test_an_endpoint_that_is_dead(authority):
    dead = f"https://localhost:9/{SIGNATURE}"
    error = refused(Teams(dead, pace=Pace(apart=0, per_hour=9)))
    assert "Connection refused" in str(error)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (socket.gaierror(-2, "Name or service not known"), "DNS"),
        (TimeoutError("timed out"), "too long"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"), "does not speak TLS"),
        (ConnectionResetError(104, "Connection reset by peer"), "reset by peer"),
        (OSError(), "OSError"),
    ],
)
def test_a_fault_of_the_network_has_a_name(fault, text):
    assert text in reason(fault)


def test_looking_sends_nothing(channel, teams):
    assert "TLS in" in channel.reach(5.0)
    assert (teams.connections, teams.paths) == (1, [])


def test_a_proxy_sees_host_and_port_and_not_the_path(channel, teams, monkeypatch):
    monkeypatch.setenv("no_proxy", "")
    with proxy() as (port, heads):
        monkeypatch.setenv("https_proxy", f"http://u:p%40x@127.0.0.1:{port}")
        channel.send(notice())
    assert len(teams.cards) == 1
    (head,) = heads
    assert head.startswith(f"CONNECT localhost:{teams.port} ")
    assert "Proxy-Authorization: Basic dTpwQHg=" in head
    assert SIGNATURE not in head


def test_a_proxy_that_speaks_tls_itself_is_refused_in_words(
    channel, teams, monkeypatch
):
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("https_proxy", "https://u:secret@127.0.0.1:9")
    told = str(refused(channel))
    assert "the proxy on the way must begin with http://" in told
    assert "secret" not in told
    assert teams.cards == []


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(407, "user and password"), (403, "NO_PROXY"), (502, "NO_PROXY")],
)
@pytest.mark.parametrize("variable", ["https_proxy", "all_proxy"])
def test_a_proxy_that_opens_no_connection_is_told_with_its_variable(
    channel, teams, monkeypatch, status, remedy, variable
):
    monkeypatch.setenv("no_proxy", "")
    with refusing_proxy(status) as port:
        monkeypatch.setenv(variable, f"http://u:secret-word@127.0.0.1:{port}")
        told = str(refused(channel))
    assert f"the proxy that {variable.upper()} names refuses (HTTP {status})" in told
    assert remedy in told
    assert "secret-word" not in told
    assert "sentinel" not in told


def test_hosts_that_no_proxy_names_go_without(channel, teams, monkeypatch):
    monkeypatch.setenv("https_proxy", "127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    assert "Connection refused" in str(refused(channel))
    monkeypatch.setenv("https_proxy", "http://proxy:port")
    assert "HTTPS_PROXY" in str(refused(channel))
    monkeypatch.setenv("no_proxy", "localhost")
    channel.send(notice())
    assert len(teams.cards) == 1


def test_messages_keep_their_distance_and_their_number_within_the_hour():
    dial = Dial()
    pace = Pace(apart=1.0, per_hour=3, now=dial, sleep=dial.sleep)
    for _ in range(3):
        pace.take()
    assert dial.slept == [1.0, 1.0]
    with pytest.raises(DeliveryError, match="3 messages") as caught:
        pace.take()
    assert caught.value.retry_after == 3_598.0
    dial.now += 3_598.5
    pace.take()
    with pytest.raises(DeliveryError):
        pace.take()


def test_each_workflow_has_a_pace_of_its_own_which_its_channels_share(teams, authority):
    for _ in range(2):
        Teams(teams.url, authority.ca_bundle).send(notice())
    assert len(teams.cards) == 2


def test_an_answer_is_read_only_so_far(teams, authority):
    teams.answers.append((200, {"X-Long": "y" * 100}))
    answer = webhook.call("POST", teams.url, body=b"{}", ca_bundle=authority.ca_bundle)
    assert isinstance(answer, Answer)
    assert answer.headers["x-long"] == "y" * 100
