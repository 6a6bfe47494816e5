"""How people are told: what is taken, what is refused, and what is never shown."""

from datetime import date

import pytest

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings import (
    AlertSettings,
    Encryption,
    SmtpSettings,
    load_alert_settings,
    load_noted_end,
)

URL = (
    "https://0a.1.environment.api.powerplatform.com:443/x/invoke?api-version=1&sig=s3cr"
)
MAIL = {
    "APEX_ALERT_EMAIL_TO": "a@example.com, b@example.com",
    "APEX_ALERT_EMAIL_FROM": "apex@example.com",
    "APEX_SMTP_URL": "smtp://user:s3cr@mail.example.com",
}
ALL = MAIL | {
    "APEX_TEAMS_WEBHOOK_URL": URL,
    "APEX_HEARTBEAT_URL": "https://hc.example/s3cr",
}


def smtp(url):
    mail = load_alert_settings(MAIL | {"APEX_SMTP_URL": url}).mail
    assert mail is not None
    return mail.smtp


def test_nothing_configured_is_no_error():
    assert load_alert_settings({}) == AlertSettings()
    assert load_alert_settings(dict.fromkeys(ALL, " ")) == AlertSettings()


def test_all_is_read_and_no_secret_shown():
    settings = load_alert_settings(ALL | {"APEX_CA_BUNDLE": __file__})
    assert (settings.teams_url, settings.heartbeat_url) == (
        URL,
        "https://hc.example/s3cr",
    )
    assert settings.mail is not None
    assert settings.mail.to == ("a@example.com", "b@example.com")
    assert str(settings.ca_bundle) == __file__
    assert "s3cr" not in repr(settings)


@pytest.mark.parametrize(
    "url", ["https://org.logic.azure.com/workflows/1", "https://localhost:8443/hook"]
)
def test_a_workflow_may_be_on_any_host(url):
    assert load_alert_settings({"APEX_TEAMS_WEBHOOK_URL": url}).teams_url == url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "smtp://u:p@h",
            SmtpSettings("h", 587, Encryption.REQUIRED, "u", "p"),
        ),
        ("smtp://u:p@h:25", SmtpSettings("h", 25, Encryption.REQUIRED, "u", "p")),
        ("smtp://relay", SmtpSettings("relay", 25, Encryption.OFFERED)),
        ("smtps://u:p@h", SmtpSettings("h", 465, Encryption.FROM_START, "u", "p")),
        ("smtps://h:10465", SmtpSettings("h", 10465, Encryption.FROM_START)),
        (
            "smtp://a@b.example:p%2F%40%3A@h:587/",
            SmtpSettings("h", 587, Encryption.REQUIRED, "a@b.example", "p/@:"),
        ),
        ("smtp://[::1]:25", SmtpSettings("::1", 25, Encryption.OFFERED)),
        ("graph:", None),
    ],
)
def test_how_a_mail_server_is_spoken_to(url, expected):
    assert smtp(url) == expected


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("APEX_TEAMS_WEBHOOK_URL", "http://h/s3cr", "begins with https://"),
        ("APEX_TEAMS_WEBHOOK_URL", "https:///s3cr", "begins with https://"),
        ("APEX_TEAMS_WEBHOOK_URL", "https://h/s3cr x", "begins with https://"),
        ("APEX_TEAMS_WEBHOOK_URL", "https://h:port/s3cr", "begins with https://"),
        ("APEX_TEAMS_WEBHOOK_URL", "https://[h/s3cr", "begins with https://"),
        ("APEX_TEAMS_WEBHOOK_URL", "https://u:s3cr@h/", "begins with https://"),
        ("APEX_HEARTBEAT_URL", "ftp://h/s3cr", "begins with https:// or http://"),
        ("APEX_SMTP_URL", "", "APEX_SMTP_URL must be set too"),
        ("APEX_SMTP_URL", "mail.example.com", "must look like smtp://"),
        ("APEX_SMTP_URL", "smtp://u:s3cr/x@h", "%2F"),
        ("APEX_SMTP_URL", "smtp://u:s3cr#x@h", "%23"),
        ("APEX_SMTP_URL", "smtp://u:s3cr?x@h", "%3F"),
        ("APEX_SMTP_URL", "smtp://u:s3cr@h:x", "must look like smtp://"),
        ("APEX_SMTP_URL", "smtp://u@h", "both user and password, or neither"),
        ("APEX_SMTP_URL", "smtp://:s3cr@h", "both user and password, or neither"),
        ("APEX_SMTP_URL", "smtp://u:s3cr%C3%BC@h", "must be ASCII"),
        ("APEX_ALERT_EMAIL_TO", ",", "only addresses"),
        ("APEX_ALERT_EMAIL_TO", "a@example.com, nobody", "separated by commas"),
        ("APEX_ALERT_EMAIL_FROM", "Apex <a@example.com>", "only addresses"),
        ("APEX_ALERT_EMAIL_FROM", "a@b\nBcc: c@d", "only addresses"),
        ("APEX_CA_BUNDLE", "/no/ca.pem", "not a file"),
    ],
)
def test_a_mistake_is_named_and_its_value_is_not(name, value, text):
    with pytest.raises(ConfigError, match=text) as caught:
        load_alert_settings(ALL | {name: value})
    assert len(caught.value.problems) == 1
    assert "s3cr" not in str(caught.value)


def test_all_mistakes_are_named_at_once():
    with pytest.raises(ConfigError) as caught:
        load_alert_settings(
            {
                "APEX_TEAMS_WEBHOOK_URL": "x",
                "APEX_HEARTBEAT_URL": "x",
                "APEX_ALERT_EMAIL_TO": "x",
                "APEX_CA_BUNDLE": "/no/ca.pem",
            }
        )
    assert len(caught.value.problems) == 4
    assert "APEX_ALERT_EMAIL_FROM and APEX_SMTP_URL" in str(caught.value)


def test_a_mistake_in_the_noted_day_leaves_the_channels_alone():
    wrong = {"APEX_CLIENT_SECRET_EXPIRES_ON": "soon"}
    assert load_alert_settings(ALL | wrong).teams_url == URL
    with pytest.raises(ConfigError, match="must be a date"):
        load_noted_end(wrong)
    noted = load_noted_end({"APEX_CLIENT_SECRET_EXPIRES_ON": "2027-01-31"})
    assert noted == date(2027, 1, 31)
    assert load_noted_end({}) is None
