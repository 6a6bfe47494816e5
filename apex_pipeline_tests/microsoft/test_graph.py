"""Microsoft Graph: mail from one mailbox, and the end of the secret."""

import email
from datetime import UTC, date, datetime, timedelta
from email import policy
from functools import partial
from uuid import UUID

import pytest

from apex_pipeline.errors import ConfigError, InterceptedError, TransientError
from apex_pipeline.microsoft import graph
from apex_pipeline.microsoft.credential_expiry import credential_end, secret_end
from apex_pipeline.monitoring.alerts.graph_mail import GraphMail
from apex_pipeline.monitoring.alerts.notice import DeliveryError
from apex_pipeline.monitoring.alerts.send_limits import until_taken
from apex_pipeline.settings import MailSettings
from apex_pipeline_tests.support import hostile
from apex_pipeline_tests.support.certificate_files import certificate_and_key
from apex_pipeline_tests.support.ends import emulator_settings
from apex_pipeline_tests.support.notices import SENDER, TO, notice
from apex_pipeline_tests.support.receivers import refusing_proxy

CLIENT = str(UUID(int=91))
SECRET = "abc-sentinel-secret"
SEND = "sendMail$"
NOTED = {"APEX_CLIENT_SECRET_EXPIRES_ON": "2027-01-31"}
READ = ["Application.Read.All"]
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.fixture
def register(emulator):
    """Register the application with permissions in Graph."""

    def run(**grants):
        emulator.register(CLIENT, client_secret=SECRET, graph=grants)

    run()
    return run


@pytest.fixture
def application(emulator):
    return emulator_settings(emulator, client_id=CLIENT, client_secret=SECRET)


@pytest.fixture
def channel(application, tmp_path):
    return GraphMail(
        MailSettings(TO, SENDER, None),
        lambda: application,
        tmp_path / "tokens.json",
        patiently=partial(until_taken, sleep=lambda seconds: None),
    )


def refused(way):
    with pytest.raises(DeliveryError) as caught:
        way.send(notice())
    return caught.value


def test_a_mailbox_that_exchange_has_granted_sends_the_message(
    channel, register, emulator
):
    register(mailboxes=[SENDER.upper()])
    channel.send(notice())
    (sent,) = emulator.mail()
    assert (sent["application"], sent["mailbox"]) == (CLIENT, SENDER)
    message = email.message_from_string(sent["mime"], policy=policy.default)
    assert (message["From"], message["To"]) == (SENDER, ", ".join(TO))
    assert message["Subject"] == "[Apex] Error: The sync fails"
    assert message["Auto-Submitted"] == "auto-generated"


def test_a_grant_over_all_mailboxes_does_too(channel, register, emulator):
    register(permissions=["Mail.Send"])
    channel.send(notice())
    assert len(emulator.mail()) == 1


@pytest.mark.parametrize(
    "grants", [{}, {"mailboxes": ["other@example.com"]}, {"permissions": READ}]
)
def test_without_a_grant_for_this_mailbox_the_refusal_says_what_is_missing(
    channel, register, emulator, grants
):
    register(**grants)
    error = str(refused(channel))
    assert "HTTP 403, Access is denied" in error
    assert "Mail.Send for the mailbox in APEX_ALERT_EMAIL_FROM" in error
    assert emulator.mail() == []


@pytest.fixture
def service(tmp_path):
    with hostile.serving(tmp_path) as served:
        yield served


NO_ERRORS_OF_GRAPH = [
    b"",
    b"Request blocked by policy",
    b'{"message":"Forbidden"}',
    b'{"error":"Forbidden"}',
    b'{"error":{"code":"403"}}',
]


@pytest.mark.parametrize("said", NO_ERRORS_OF_GRAPH)
@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_refusal_by_something_in_between_is_not_graphs(
    service, tmp_path, status, said
):
    service.says = lambda _: hostile.answer(status, body=said)
    mail = MailSettings(TO, SENDER, None)
    error = str(refused(GraphMail(mail, service.settings, tmp_path / "tokens.json")))
    assert (
        f"between us and Microsoft Graph answers in its place: HTTP {status}" in error
    )
    assert "Mail.Send" not in error
    assert "mailbox" not in error


def test_an_error_of_graph_may_have_an_empty_message(service, tmp_path):
    said = b'{"error":{"code":"UnknownError","message":"","innerError":{}}}'
    service.says = lambda _: hostile.answer(403, body=said)
    mail = MailSettings(TO, SENDER, None)
    error = str(refused(GraphMail(mail, service.settings, tmp_path / "tokens.json")))
    assert "Mail.Send" in error


@pytest.mark.parametrize("said", NO_ERRORS_OF_GRAPH)
@pytest.mark.parametrize("status", [400, 403])
def test_a_registration_that_something_in_between_holds_back_is_not_forbidden(
    service, tmp_path, status, said
):
    service.says = lambda _: hostile.answer(status, body=said)
    with (
        graph.connect(service.settings(), tmp_path / "tokens.json") as opened,
        pytest.raises(InterceptedError, match="answers in its place"),
    ):
        opened.password_credentials(CLIENT)


def test_a_proxy_that_opens_no_connection_is_told_with_its_variable(
    service, tmp_path, monkeypatch
):
    monkeypatch.setenv("no_proxy", "")
    with refusing_proxy(407) as port:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        with (
            pytest.raises(TransientError, match="the proxy that HTTPS_PROXY names"),
            graph.connect(service.settings(), tmp_path / "tokens.json"),
        ):
            pass


def test_a_mailbox_that_is_not_there(channel, register, emulator):
    emulator.fault("status", status=404, code="ErrorInvalidUser", path=SEND)
    assert "must be a mailbox of the tenant" in str(refused(channel))


def test_a_passing_refusal_is_tried_again_within_bounds(channel, register, emulator):
    register(mailboxes=[SENDER])
    emulator.fault("status", status=429, retry_after="1", path=SEND, count=2)
    channel.send(notice())
    assert len(emulator.mail()) == 1
    emulator.fault("status", status=503, retry_after="900", path=SEND)
    error = refused(channel)
    assert (error.retry_after, len(emulator.mail())) == (900.0, 1)


def test_a_token_that_is_not_taken_any_more_is_replaced_once(
    channel, register, emulator
):
    register(mailboxes=[SENDER])
    emulator.fault("unauthorized", path=SEND)
    channel.send(notice())
    assert len(emulator.mail()) == 1
    emulator.fault("unauthorized", path=SEND, count=None)
    assert "HTTP 401" in str(refused(channel))


def test_a_lost_answer_is_not_tried_again_here(channel, register, emulator):
    register(mailboxes=[SENDER])
    emulator.fault("drop_after", path=SEND)
    assert "Could not send mail" in str(refused(channel))
    assert len(emulator.mail()) == 1


def test_an_application_that_is_not_known_or_not_configured(
    channel, emulator, tmp_path
):
    emulator.register(CLIENT, client_secret="another")
    assert "AZURE_CLIENT_SECRET is wrong" in str(refused(channel))

    def missing():
        raise ConfigError("AZURE_CLIENT_ID must be the application (client) id.")

    mail = MailSettings(TO, SENDER, None)
    way = GraphMail(mail, missing, tmp_path / "tokens.json")
    assert "AZURE_CLIENT_ID" in str(refused(way))


def test_a_certificate_is_as_good_as_a_secret(emulator, tmp_path):
    certificate, key = certificate_and_key()
    path = tmp_path / "certificate.pem"
    path.write_text(key + certificate)
    emulator.register(CLIENT, certificate=certificate, graph={"mailboxes": [SENDER]})
    settings = emulator_settings(
        emulator, client_id=CLIENT, client_secret=None, certificate_path=path
    )
    mail = MailSettings(TO, SENDER, None)
    GraphMail(mail, lambda: settings, tmp_path / "tokens.json").send(notice())
    assert len(emulator.mail()) == 1


def test_looking_gets_a_token_and_sends_nothing(channel, register, emulator):
    assert "token acquired, nothing sent" in channel.reach(30.0)
    assert emulator.mail() == []


def test_tokens_for_dataverse_and_for_graph_share_a_file_and_not_each_other(
    application, register, emulator, tmp_path
):
    with graph.connect(application, tmp_path / "tokens.json") as opened:
        assert opened.origin == f"{emulator.url}/graph"
        one = opened.token()
    with graph.connect(application, tmp_path / "tokens.json") as opened:
        assert opened.token() == one
    asked = [r for r in emulator.requests() if r["path"].endswith("/token")]
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"kind": "status", "status": 503}, TransientError),
        ({"kind": "html", "status": 404}, InterceptedError),
        ({"kind": "html", "status": 200}, InterceptedError),
        ({"kind": "status", "status": 400}, TransientError),
        ({"kind": "drop_before"}, TransientError),
    ],
)
def test_an_authority_that_names_no_graph(
    application, register, emulator, tmp_path, fault, expected
):
    emulator.fault(**fault, path="openid-configuration$")
    with (
        pytest.raises(expected),
        graph.connect(application, tmp_path / "tokens.json"),
    ):
        pass


def end_of(application, tmp_path, environment=NOTED):
    return credential_end(application, environment, tmp_path / "tokens.json")


def test_the_directory_tells_the_end_of_the_secret_where_it_may_be_asked(
    application, register, tmp_path
):
    register(permissions=READ, secret_ends="2027-06-30T12:00:00.1234567Z")
    end = end_of(application, tmp_path)
    assert (end.on, end.source) == (date(2027, 6, 30), "Microsoft Graph")


def test_else_what_a_person_noted_counts_and_it_is_said_why(
    application, register, emulator, tmp_path
):
    end = end_of(application, tmp_path)
    assert end.on == date(2027, 1, 31)
    assert "APEX_CLIENT_SECRET_EXPIRES_ON" in end.source
    assert "may not read its own registration" in end.source

    unknown = end_of(application, tmp_path, {})
    assert unknown.on is None
    assert "is not set" in unknown.source


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 503},
        {"kind": "html", "status": 200},
        {"kind": "drop_before"},
    ],
)
def test_a_directory_that_fails_or_talks_nonsense_is_no_fault_of_ours(
    application, register, emulator, tmp_path, fault
):
    register(permissions=READ)
    emulator.fault(**fault, path="^/graph/")
    end = end_of(application, tmp_path)
    assert end.on == date(2027, 1, 31)
    assert "is not available" in end.source


def test_a_registration_without_a_secret_like_ours_is_no_answer(
    application, register, tmp_path
):
    others = [{"hint": "zzz", "endDateTime": "2026-12-24T00:00:00Z"}]
    register(permissions=READ, secret_ends="2020-06-30T12:00:00Z", other_secrets=others)
    end = end_of(application, tmp_path)
    assert end.on == date(2027, 1, 31)
    assert "matches ours" in end.source


def test_a_certificate_tells_its_own_end_and_nobody_is_asked(
    application, emulator, tmp_path
):
    certificate, key = certificate_and_key()
    path = tmp_path / "certificate.pem"
    path.write_text(key + certificate)
    settings = emulator_settings(
        emulator, client_id=CLIENT, client_secret=None, certificate_path=path
    )
    emulator.clear_requests()
    end = end_of(settings, tmp_path)
    assert end.on == (datetime.now(UTC) + timedelta(days=1)).date()
    assert end.source == "the certificate itself"
    assert emulator.requests() == []
    path.write_text("nonsense")
    with pytest.raises(ConfigError, match="contains no certificate"):
        end_of(settings, tmp_path)


def listed(hint, end):
    return {"hint": hint, "endDateTime": end}


@pytest.mark.parametrize(
    ("credentials", "expected"),
    [
        ([], None),
        ([listed("abc", "2027-01-01T00:00:00Z")], date(2027, 1, 1)),
        ([listed("xyz", "2027-01-01T00:00:00Z")], None),
        # Our own came first in the list, and another later.
        (
            [
                listed("abc", "2027-03-01T00:00:00Z"),
                listed("xyz", "2027-01-01T00:00:00Z"),
            ],
            date(2027, 3, 1),
        ),
        # Two begin alike: the earlier end, but not one that is long over.
        (
            [
                listed("abc", "2027-03-01T00:00:00Z"),
                listed("abc", "2027-02-01T00:00:00Z"),
                listed("abc", "2026-11-24T11:00:00Z"),
            ],
            date(2027, 2, 1),
        ),
        # Over for an hour: the token of before still works.
        ([listed("abc", "2026-11-25T11:00:00Z")], date(2026, 11, 25)),
        # Old secrets have no hint; they count only where none is like ours.
        ([listed(None, "2027-01-01T00:00:00Z")], date(2027, 1, 1)),
        (
            [
                listed(None, "2027-01-01T00:00:00Z"),
                listed("abc", "2027-02-01T00:00:00Z"),
            ],
            date(2027, 2, 1),
        ),
        ([listed("abc", None), listed("abc", "never"), {}], None),
        ([listed(7, 7), listed("abc", "9999-12-31T23:59:59-12:00")], None),
    ],
)
def test_which_of_several_secrets_is_ours(credentials, expected):
    found = secret_end(SECRET, credentials, NOW)
    assert (found.on if found else None) == expected
