"""The configured ways to people, and a test message through each."""

from datetime import UTC, datetime

import pytest

from apex_pipeline.errors import ConfigError
from apex_pipeline.monitoring.alerts.channels import (
    channels,
    of_tenant,
    send_test_notice,
)
from apex_pipeline.monitoring.alerts.notice import Notice, heading
from apex_pipeline.settings import NO_TENANT, Tenant, load_alert_settings
from apex_pipeline_tests.support.receivers import mail_server, workflow
from apex_pipeline_tests.support.recording_channel import Broken

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def no_application():
    raise ConfigError("AZURE_CLIENT_ID must be the application (client) id.")


@pytest.fixture
def configured(tmp_path):
    def run(**variables):
        settings = load_alert_settings(variables)
        return channels(settings, no_application, tmp_path / "tokens.json")

    return run


def mail(port, **changes):
    return {
        "APEX_ALERT_EMAIL_TO": "ops@example.com",
        "APEX_ALERT_EMAIL_FROM": "apex@example.com",
        "APEX_SMTP_URL": f"smtp://localhost:{port}",
    } | changes


def test_nothing_configured_is_no_channel(configured):
    assert configured() == []
    assert send_test_notice([], NOW) == []


def test_a_test_message_goes_through_each_and_a_dead_one_holds_up_none(
    configured, authority
):
    bundle = {"APEX_CA_BUNDLE": str(authority.ca_bundle)}
    with mail_server(authority, "plain") as served, workflow(authority) as teams:
        url = {"APEX_TEAMS_WEBHOOK_URL": teams.url}
        ways = configured(**url, **bundle, **mail(served.port))
        outcomes = send_test_notice(ways, NOW)
        assert [(o.channel, o.error) for o in outcomes] == [
            ("teams", None),
            ("email", None),
        ]
        assert len(teams.cards) == 1
        ((_, _, message),) = served.envelopes
        assert message["Subject"] == "[Apex] Test: this channel works"

        ways = configured(**url, **bundle, **mail(9))
        teams_outcome, mail_outcome = send_test_notice(ways, NOW)
        assert teams_outcome.error is None
        assert "localhost:9: no answer" in (mail_outcome.error or "")


def test_a_test_message_through_a_channel_whose_code_fails_is_a_failure(
    configured, authority
):
    with mail_server(authority, "plain") as served:
        broken, mailed = send_test_notice(
            [Broken(), *configured(**mail(served.port))], NOW
        )
        assert len(served.envelopes) == 1
    assert "ZeroDivisionError" in (broken.error or "")
    assert mailed.error is None


def test_two_test_messages_are_two(configured, authority):
    with mail_server(authority, "plain") as served:
        ways = configured(**mail(served.port))
        for _ in range(2):
            send_test_notice(ways, NOW)
        first, second = (message["Message-ID"] for _, _, message in served.envelopes)
    assert first != second


def test_an_application_that_cannot_be_read_is_the_fault_of_graph_alone(
    configured, authority
):
    with workflow(authority) as teams:
        ways = configured(
            APEX_TEAMS_WEBHOOK_URL=teams.url,
            APEX_CA_BUNDLE=str(authority.ca_bundle),
            **mail(0, APEX_SMTP_URL="graph:"),
        )
        of_teams, of_mail = send_test_notice(ways, NOW)
    assert of_teams.error is None
    assert "AZURE_CLIENT_ID" in (of_mail.error or "")


class Taking:
    """A channel that keeps what it is given."""

    name = "taking"

    def __init__(self) -> None:
        self.taken: list[Notice] = []

    def send(self, notice: Notice) -> None:
        self.taken.append(notice)

    def reach(self, seconds: float) -> str:
        return "reached"


def test_a_tenants_notices_say_whose_they_are():
    taking = Taking()
    (named,) = of_tenant([taking], Tenant("acme"))
    send_test_notice([named], NOW)
    (notice,) = taking.taken
    assert heading(notice) == "Test: acme: this channel works"
    assert notice.facts[0] == ("Tenant", "acme")
    assert (named.name, named.reach(1)) == ("taking", "reached")


def test_without_a_tenant_the_channels_stay_what_they_are():
    taking = Taking()
    assert of_tenant([taking], NO_TENANT) == [taking]
