"""E-mail by SMTP, against a real server that speaks each of the ways."""

import socket
import threading
import traceback

import pytest

from apex_pipeline.monitoring.alerts.notice import DeliveryError
from apex_pipeline.monitoring.alerts.smtp import SmtpMail
from apex_pipeline.settings import Encryption, MailSettings, SmtpSettings
from apex_pipeline_tests.support.notices import SENDER, TO, notice
from apex_pipeline_tests.support.receivers import (
    PASSWORD,
    USER,
    challenging_mail_server,
    mail_server,
)


def channel(port, encryption, ca_bundle=None, *, user=None, password=None):
    server = SmtpSettings("localhost", port, encryption, user, password)
    return SmtpMail(MailSettings(TO, SENDER, server), server, ca_bundle)


def refused(way):
    with pytest.raises(DeliveryError) as caught:
        way.send(notice())
    shown = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    assert PASSWORD not in shown + repr(way)
    return str(caught.value)


def test_a_message_over_starttls_with_user_and_password(authority):
    with mail_server(authority, "starttls", accounts=True) as served:
        way = channel(
            served.port,
            Encryption.REQUIRED,
            authority.ca_bundle,
            user=USER,
            password=PASSWORD,
        )
        way.send(notice())
        ((sender, to, message),) = served.envelopes
        assert (sender, to) == (SENDER, list(TO))
        assert message["Subject"] == "[Apex] Error: The sync fails"
        assert message.get_content_type() == "multipart/alternative"
        assert (served.encrypted, served.users) == ([True], [USER])

        assert "TLS, signed in" in way.reach(5.0)
        assert len(served.envelopes) == 1

        wrong = channel(
            served.port,
            Encryption.REQUIRED,
            authority.ca_bundle,
            user=USER,
            password=f"{PASSWORD}-no",
        )
        assert "refuses user and password: 535" in refused(wrong)


def test_a_message_over_tls_from_the_start(authority):
    with mail_server(authority, "tls", accounts=True) as served:
        channel(
            served.port,
            Encryption.FROM_START,
            authority.ca_bundle,
            user=USER,
            password=PASSWORD,
        ).send(notice())
        assert (served.encrypted, served.users) == ([True], [USER])


def test_a_relay_without_accounts_is_used_with_tls_where_it_offers_it(authority):
    with mail_server(authority, "plain") as served:
        way = channel(served.port, Encryption.OFFERED)
        way.send(notice())
        assert served.encrypted == [False]
        assert "not encrypted" in way.reach(5.0)
    with mail_server(authority, "starttls") as served:
        channel(served.port, Encryption.OFFERED, authority.ca_bundle).send(notice())
        assert served.encrypted == [True]


def test_no_password_travels_without_tls(authority):
    with mail_server(authority, "plain") as served:
        way = channel(served.port, Encryption.REQUIRED, user=USER, password=PASSWORD)
        assert "offers no STARTTLS" in refused(way)
        assert (served.users, served.envelopes) == ([], [])


@pytest.mark.parametrize(
    ("kind", "encryption"),
    [
        ("starttls", Encryption.REQUIRED),
        ("starttls", Encryption.OFFERED),
        ("tls", Encryption.FROM_START),
    ],
)
def test_a_certificate_that_nobody_vouches_for(authority, kind, encryption):
    with mail_server(authority, kind) as served:
        assert "APEX_CA_BUNDLE" in refused(channel(served.port, encryption))
        assert served.envelopes == []


def test_tls_where_the_server_speaks_none_from_the_start(authority):
    with mail_server(authority, "plain") as served:
        way = channel(served.port, Encryption.FROM_START)
        assert "does not speak TLS on this port" in refused(way)


def test_a_message_that_the_server_refuses(authority):
    with mail_server(authority, "plain") as served:
        served.refuses["DATA"] = "550 looks like spam"
        way = channel(served.port, Encryption.OFFERED)
        assert "refuses: 550 looks like spam" in refused(way)
        served.refuses |= dict.fromkeys(TO, "550 nobody here")
        assert "any recipient: 550 nobody here" in refused(way)


def test_a_message_is_taken_however_the_goodbye_ends(authority):
    with mail_server(authority, "plain") as served:
        served.refuses["QUIT"] = "hangs up"
        channel(served.port, Encryption.OFFERED).send(notice())
        assert len(served.envelopes) == 1


def test_who_of_several_recipients_is_left_out_is_logged(authority, caplog):
    """Sent again for that one, the message would reach the others twice."""
    with mail_server(authority, "plain") as served:
        served.refuses[TO[0]] = "550 nobody here"
        channel(served.port, Encryption.OFFERED).send(notice())
        ((_, to, _),) = served.envelopes
    assert to == [TO[1]]
    assert "1 of 2 recipients: 550 nobody here" in caplog.text


@pytest.mark.parametrize("challenge", ["334 abc", "334 a", "334 not+base=64", "334 =a"])
def test_a_challenge_that_is_not_base64_is_no_servers_of_mail(authority, challenge):
    with challenging_mail_server(authority, challenge) as port:
        way = channel(
            port,
            Encryption.FROM_START,
            authority.ca_bundle,
            user=USER,
            password=PASSWORD,
        )
        told = refused(way)
        with pytest.raises(DeliveryError):
            way.reach(5.0)
    assert f"localhost:{port}: its challenge for signing in is not base64" in told
    assert "APEX_SMTP_URL" in told


def test_a_server_that_is_dead_or_hangs_up():
    assert "localhost:9: no answer" in refused(channel(9, Encryption.OFFERED))
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up():
            listening.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        port = listening.getsockname()[1]
        assert "closed the connection" in refused(channel(port, Encryption.OFFERED))
        thread.join()


def test_a_server_that_keeps_silent_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        way = channel(listening.getsockname()[1], Encryption.OFFERED)
        with pytest.raises(DeliveryError, match="silent for too long"):
            way.reach(0.2)
