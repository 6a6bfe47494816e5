"""All environment variables that the pipeline reads: name, meaning and default."""

from apex_pipeline.settings.declared_variable import Variable

VARIABLES = (
    Variable(
        "DATABASE_URL",
        "Postgres",
        "the Postgres that holds `campaign_metrics`: "
        "`postgresql://user:password@host/database`, direct or through a transaction "
        "pooler; or `embedded`. [Other forms](../configuration.md#forms-of-database_url) "
        "work too",
        "with `DATAVERSE_RESOURCE` also unset: `embedded`",
        is_secret=True,
    ),
    Variable(
        "DATAVERSE_RESOURCE",
        "Dataverse",
        "the environment, `https://ORG.crm.dynamics.com`, without a path; or `emulator`",
        "with `DATABASE_URL` also unset: `emulator`",
    ),
    Variable(
        "AZURE_TENANT_ID",
        "Dataverse",
        "the directory (tenant) id or its domain, not `common`",
    ),
    Variable(
        "AZURE_CLIENT_ID",
        "Dataverse",
        "the application (client) id; the application must be an application user of "
        "the environment",
    ),
    Variable(
        "AZURE_CLIENT_SECRET", "Dataverse", "the application's secret", is_secret=True
    ),
    Variable(
        "AZURE_CLIENT_CERTIFICATE_PATH",
        "Dataverse",
        "instead of the secret: a PEM file with an unencrypted RSA private key and its "
        "certificate, in any order",
    ),
    Variable(
        "AZURE_FEDERATED_TOKEN_FILE",
        "Dataverse",
        "instead of the secret: the file with the token of a "
        "[workload identity](../dataverse-and-entra.md#sign-in-without-a-secret)",
    ),
    Variable(
        "APEX_MANAGED_IDENTITY",
        "Dataverse",
        "instead of the secret: `user` or `system`, as the "
        "[managed identity](../dataverse-and-entra.md#sign-in-without-a-secret) of this "
        "Azure machine is assigned",
    ),
    Variable(
        "AZURE_CLIENTS_FILE",
        "Dataverse",
        "instead of the id and its proof: a TOML file of "
        "[several application users](../configuration.md#several-application-users)",
    ),
    Variable(
        "AZURE_AUTHORITY_HOST",
        "Dataverse",
        "the service that issues tokens; set it for sovereign clouds",
        "`https://login.microsoftonline.com`",
    ),
    Variable(
        "APEX_CA_BUNDLE",
        "Dataverse",
        "a PEM file of certificates to trust besides the system's, for Dataverse, the "
        "authority and all alert channels. `apex` finds the emulator's authority by "
        "itself; give other programs `tls/authority.pem` in `APEX_STATE_DIR`",
    ),
    Variable(
        "APEX_CLIENT_SECRET_EXPIRES_ON",
        "Dataverse",
        "the date on which the secret expires, such as `2027-11-23`; alerts follow 30, "
        "14, 7 and 1 days ahead",
        "read from Entra, if the application is allowed to",
    ),
    Variable(
        "APEX_ADMIN_TENANT_ID",
        "Provisioning",
        "with the next two: an administrator of the environment, for `apex provision` "
        "and `apex doctor` only",
    ),
    Variable("APEX_ADMIN_CLIENT_ID", "Provisioning", "the administrator's application"),
    Variable(
        "APEX_ADMIN_CLIENT_SECRET",
        "Provisioning",
        "the administrator's secret",
        is_secret=True,
    ),
    Variable(
        "APEX_TEAMS_WEBHOOK_URL",
        "Alerts",
        "the complete URL of a Teams workflow",
        is_secret=True,
    ),
    Variable(
        "APEX_ALERT_EMAIL_TO", "Alerts", "recipients of alerts, separated by commas"
    ),
    Variable("APEX_ALERT_EMAIL_FROM", "Alerts", "the sender's address"),
    Variable(
        "APEX_SMTP_URL",
        "Alerts",
        "`smtp://user:password@host:587` (STARTTLS), `smtps://…` (TLS from the start, "
        "465), `smtp://host:25` (a relay without user), or `graph:`",
        is_secret=True,
    ),
    Variable(
        "APEX_HEARTBEAT_URL",
        "Alerts",
        "the URL of an external dead man's switch, pinged while the pipeline is healthy",
        is_secret=True,
    ),
    Variable(
        "APEX_TENANT",
        "Dagster",
        "the [tenant](../tenants.md) that this process works for: 1 to 40 lower-case "
        "letters, digits and hyphens",
        "none",
    ),
    Variable(
        "APEX_TENANTS_FILE",
        "Dagster",
        "the file that lists all [tenants](../tenants.md), for `apex --tenant`, `apex "
        "tenants` and `apex up --tenants`",
        "`tenants.toml` in the current folder",
    ),
    Variable(
        "DAGSTER_HOME",
        "Dagster",
        "Dagster's home folder",
        "under `apex up`: its own folder",
    ),
    Variable(
        "DAGSTER_POSTGRES_URL",
        "Dagster",
        "the Postgres that holds Dagster's storage and the alert journal. Not Neon: "
        "Dagster opens a connection for each query",
        "under `apex up`: a database in the embedded Postgres",
        is_secret=True,
    ),
    Variable(
        "DAGSTER_LOCATION_NAME",
        "Dagster",
        "name of the code location, if `workspace.yaml` gives it another name",
        "`apex_pipeline`; of a tenant, `apex_pipeline-TENANT`",
    ),
    Variable(
        "APEX_SYNC_ON_ARRIVAL",
        "Dagster",
        "start a run as soon as rows wait and none has begun for this long, such as "
        "`15s`; see [what it costs](../dagster.md#rows-visible-in-seconds)",
        "off: every five minutes",
    ),
    Variable(
        "APEX_DAGSTER_URL",
        "Dagster",
        "address of the Dagster UI, for links in notices",
        "under `apex up`: its own UI",
    ),
    Variable(
        "OPENLINEAGE_URL",
        "Analysis",
        "a receiver of [OpenLineage](../deploy-observability.md#openlineage) events; "
        "needs the extra `lineage`",
        "no lineage is sent",
    ),
    Variable(
        "OPENLINEAGE_API_KEY",
        "Analysis",
        "the key that the receiver asks for",
        is_secret=True,
    ),
    Variable(
        "APEX_EXPORT_DIR",
        "Analysis",
        "folder of the CSV files, or of an [object store](../csv.md#object-stores) such as "
        "`s3://bucket/folder`; those of a tenant are in `tenants/TENANT` below it",
        "`exports` in `APEX_STATE_DIR`",
    ),
    Variable(
        "APEX_EXPORT_FORMATS",
        "Analysis",
        "`csv,parquet`: rollups also as Parquet, one typed file a month",
        "`csv`",
    ),
    Variable(
        "APEX_TIME_ZONE",
        "Analysis",
        "the business time zone, such as `Europe/Berlin`; analysts' tables are in UTC "
        "and in this zone",
        "UTC only",
    ),
    Variable(
        "APEX_HISTORY_START",
        "Analysis",
        "first day of the rollups. Set it: Dagster cannot read it from the database, and "
        "shows earlier days as missing partitions",
        "two years before the database was provisioned",
    ),
    Variable(
        "APEX_SLO_P95_MS",
        "Analysis",
        "latency objective in milliseconds; rollups show the share of runs above it",
    ),
    Variable("APEX_PANEL_HOST", "Panel", "the panel's address", "`127.0.0.1`"),
    Variable("APEX_PANEL_PORT", "Panel", "the panel's port", "3100"),
    Variable(
        "APEX_PANEL_TOKEN",
        "Panel",
        "bearer token for the panel, at least 16 characters; required to listen beyond "
        "this machine",
        is_secret=True,
    ),
    Variable(
        "APEX_PANEL_CORS",
        "Panel",
        "origins whose pages may read the API in a browser, separated by commas",
    ),
    Variable(
        "APEX_PANEL_ROOT_PATH",
        "Panel",
        "the path under which a [reverse proxy](../panel-and-api.md#behind-a-reverse-proxy) "
        "publishes the panel, such as `/apex`",
        "none",
    ),
    Variable(
        "APEX_PANEL_FRAME_ANCESTORS",
        "Panel",
        "origins whose pages may show the panel [in a frame]"
        "(../panel-and-api.md#in-a-frame), separated by commas",
        "none",
    ),
    Variable(
        "APEX_ACTOR",
        "Audit trail",
        "who acts, as the audit trail names them, such as an e-mail address",
        "the operating system's user and host, such as `ada@build-7`",
    ),
    Variable(
        "APEX_AUDIT_KEEP",
        "Audit trail",
        "how long events are kept, at least 30 days: `400d`, `104w` or `7y`",
        "for ever",
    ),
    Variable(
        "APEX_AUDIT_NOTICE",
        "Audit trail",
        "whether the trail's head is sent through the alert channels once a day: `on` or "
        "`off`",
        "`on`",
    ),
    Variable(
        "APEX_TSA_URL",
        "Audit trail",
        "a time-stamp authority (RFC 3161) that signs the trail's head once a day",
    ),
    Variable(
        "APEX_TSA_CERTIFICATES",
        "Audit trail",
        "with `APEX_TSA_URL`: a PEM file with that authority's certificates, its root "
        "included",
    ),
    Variable(
        "APEX_RECORD_DIR",
        "Machine",
        "the folder below which the job `record_campaign_metrics` may read and write "
        "files; that of a tenant is `tenants/TENANT` below it",
        "`inbox` in `APEX_STATE_DIR`",
    ),
    Variable(
        "APEX_LOG_FORMAT",
        "Machine",
        "`json` for one JSON object a line; `text` for people",
        "`text`",
    ),
    Variable(
        "APEX_STATE_DIR",
        "Machine",
        "local state: embedded Postgres, emulator, token cache; that of a tenant is in "
        "`tenants/TENANT` below it",
        "`.apex` in the project",
    ),
)
"""All variables, in the order of the documentation and the report."""
