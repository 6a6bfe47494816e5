"""Secrets that must appear nowhere."""

import json
import stat
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from apex_pipeline_tests.support.ends import environment, execute

CLIENT = str(UUID(int=77))
CLIENT_SECRET = "sentinel-client~secret"
PASSWORD = "sentinel-p%40ssword"
SMTP_PASSWORD = "sentinel-smtp%40password"
WEBHOOK = "sentinel-webhook-signature"
HEARTBEAT = "sentinel-heartbeat-id"


@pytest.fixture
def sentinels():
    """Values that must be found nowhere; the access token joins them."""
    passwords = {PASSWORD, SMTP_PASSWORD}
    decoded = {password.replace("%40", "@") for password in passwords}
    return {CLIENT_SECRET, WEBHOOK, HEARTBEAT, *passwords, *decoded}


@pytest.fixture
def variables(emulator, database_url, tmp_path):
    """The environment of a run, with secrets that are told from all other text."""
    emulator.register(CLIENT, client_secret=CLIENT_SECRET)
    parts = psycopg.conninfo.conninfo_to_dict(database_url)
    owner = f"sentinel_{parts['dbname']}"
    with psycopg.connect(database_url) as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {}").format(
                sql.Identifier(owner), sql.Literal(PASSWORD.replace("%40", "@"))
            )
        )
    url = f"postgresql://{owner}:{PASSWORD}@{parts['host']}:{parts['port']}"
    yield environment(emulator, database_url, tmp_path / "state") | {
        "DATABASE_URL": f"{url}/{parts['dbname']}",
        "AZURE_CLIENT_ID": CLIENT,
        "AZURE_CLIENT_SECRET": CLIENT_SECRET,
        "APEX_TEAMS_WEBHOOK_URL": f"{emulator.url}/invoke?sig={WEBHOOK}",
        "APEX_HEARTBEAT_URL": f"https://localhost:9/{HEARTBEAT}",
        "APEX_ALERT_EMAIL_TO": "ops@example.com",
        "APEX_ALERT_EMAIL_FROM": "apex@example.com",
        "APEX_SMTP_URL": f"smtp://apex:{SMTP_PASSWORD}@localhost:9",
    }
    execute(database_url, f"DROP ROLE {owner}")


def tokens(folder) -> set[str]:
    """Access tokens in the cache, which is where they belong."""
    path = folder / "token_cache.json"
    if not path.exists():
        return set()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = json.loads(path.read_text()).get("AccessToken", {})
    return {entry["secret"] for entry in found.values()}
