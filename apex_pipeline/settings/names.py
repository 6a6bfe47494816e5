"""Every variable that the pipeline reads, by name; the README says what each means."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of the environment.

    Attributes:
        part: What it belongs to.
        is_secret: Whether its value, or a password in it, may be shown to nobody.
    """

    name: str
    part: str
    is_secret: bool = False


def _part(part: str, *names: str) -> tuple[Variable, ...]:
    """Variables of one part; a secret's name ends with `*`."""
    return tuple(
        Variable(name.rstrip("*"), part, is_secret=name.endswith("*")) for name in names
    )


VARIABLES = (
    *_part("Postgres", "DATABASE_URL*"),
    *_part(
        "Dataverse",
        *("DATAVERSE_RESOURCE", "AZURE_TENANT_ID", "AZURE_CLIENT_ID"),
        *("AZURE_CLIENT_SECRET*", "AZURE_CLIENT_CERTIFICATE_PATH"),
        *("AZURE_AUTHORITY_HOST", "APEX_CA_BUNDLE", "APEX_CLIENT_SECRET_EXPIRES_ON"),
    ),
    *_part(
        "Provisioning",
        *("APEX_ADMIN_TENANT_ID", "APEX_ADMIN_CLIENT_ID", "APEX_ADMIN_CLIENT_SECRET*"),
    ),
    *_part(
        "Alerts",
        *("APEX_TEAMS_WEBHOOK_URL*", "APEX_ALERT_EMAIL_TO", "APEX_ALERT_EMAIL_FROM"),
        *("APEX_SMTP_URL*", "APEX_HEARTBEAT_URL*"),
    ),
    *_part(
        "Dagster",
        *("DAGSTER_HOME", "DAGSTER_POSTGRES_URL*", "DAGSTER_LOCATION_NAME"),
        "APEX_DAGSTER_URL",
    ),
    *_part(
        "Analysis",
        *("APEX_EXPORT_DIR", "APEX_TIME_ZONE", "APEX_HISTORY_START", "APEX_SLO_P95_MS"),
    ),
    *_part(
        "Panel",
        *("APEX_PANEL_HOST", "APEX_PANEL_PORT", "APEX_PANEL_TOKEN*", "APEX_PANEL_CORS"),
    ),
    *_part("Machine", "APEX_STATE_DIR"),
)
"""All of them, in the order in which a report lists them."""
