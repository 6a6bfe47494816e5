"""Configuration from environment variables; each module reads one part.

`variables` lists them all. The values `embedded` and `emulator` stand for the services
that `apex up` runs on this machine. They are replaced by addresses and credentials here,
so other code cannot tell them from the real services.
"""

from apex_pipeline.settings.alerting import (
    AlertSettings,
    Encryption,
    MailSettings,
    SmtpSettings,
    load_alert_settings,
    load_dagster_url,
    load_noted_end,
)
from apex_pipeline.settings.analytics import (
    UTC_ZONE,
    AnalysisSettings,
    load_analysis_settings,
    load_export_url,
)
from apex_pipeline.settings.application_users_file import (
    CLIENTS_FILE,
    exposure,
    secret_variables,
)
from apex_pipeline.settings.arrival import (
    ARRIVAL_VARIABLE,
    load_arrival_interval,
    parse_interval,
)
from apex_pipeline.settings.auditing import AuditSettings, load_audit_settings
from apex_pipeline.settings.code_location_name import (
    LOCATION_VARIABLE,
    load_code_location,
    load_journal_name,
)
from apex_pipeline.settings.credentials import (
    SYSTEM_ASSIGNED,
    USER_ASSIGNED,
    Credential,
    existing_file,
)
from apex_pipeline.settings.declared_variable import Variable
from apex_pipeline.settings.endpoints import (
    PUBLIC_AUTHORITY,
    DataverseSettings,
    Settings,
    load_database_url,
    load_dataverse,
    load_settings,
    load_storage_parameters,
    read_tenant,
)
from apex_pipeline.settings.folders import (
    dagster_home,
    ended_sessions_file,
    project_dir,
    record_dir,
    state_dir,
    state_root,
    token_cache_path,
)
from apex_pipeline.settings.lineage import (
    LINEAGE_VARIABLE,
    LineageSettings,
    load_lineage_settings,
)
from apex_pipeline.settings.origins import normal_origin
from apex_pipeline.settings.panel_access import (
    DEFAULT_PANEL_HOST,
    DEFAULT_PANEL_PORT,
    PanelSettings,
    is_loopback,
    load_panel_settings,
)
from apex_pipeline.settings.postgres_url import read_postgres_url, write_postgres_url
from apex_pipeline.settings.problems import check_settings, find_mistakes
from apex_pipeline.settings.secret_parts import secret_parts
from apex_pipeline.settings.served_by_up import (
    EMBEDDED,
    EMULATOR,
    PAGES,
    dagster_environment,
    local_file,
    resolve_local,
    served_pages,
    wants_local,
)
from apex_pipeline.settings.tenant import (
    DEFAULT_LOCATION,
    NO_TENANT,
    TENANT_VARIABLE,
    Tenant,
    load_tenant,
    parse_tenant,
)
from apex_pipeline.settings.tenants_file import (
    SHARED,
    TENANTS_VARIABLE,
    TenantSource,
    find_tenant,
    read_tenants,
    tenant_environment,
    tenants_file,
)
from apex_pipeline.settings.variable_reading import (
    FILE_SUFFIX,
    read_secrets,
    read_variable,
    with_secrets,
)
from apex_pipeline.settings.variables import VARIABLES

__all__ = [
    "ARRIVAL_VARIABLE",
    "CLIENTS_FILE",
    "DEFAULT_LOCATION",
    "DEFAULT_PANEL_HOST",
    "DEFAULT_PANEL_PORT",
    "EMBEDDED",
    "EMULATOR",
    "FILE_SUFFIX",
    "LINEAGE_VARIABLE",
    "LOCATION_VARIABLE",
    "NO_TENANT",
    "PAGES",
    "PUBLIC_AUTHORITY",
    "SHARED",
    "SYSTEM_ASSIGNED",
    "TENANTS_VARIABLE",
    "TENANT_VARIABLE",
    "USER_ASSIGNED",
    "UTC_ZONE",
    "VARIABLES",
    "AlertSettings",
    "AnalysisSettings",
    "AuditSettings",
    "Credential",
    "DataverseSettings",
    "Encryption",
    "LineageSettings",
    "MailSettings",
    "PanelSettings",
    "Settings",
    "SmtpSettings",
    "Tenant",
    "TenantSource",
    "Variable",
    "check_settings",
    "dagster_environment",
    "dagster_home",
    "ended_sessions_file",
    "existing_file",
    "exposure",
    "find_mistakes",
    "find_tenant",
    "is_loopback",
    "load_alert_settings",
    "load_analysis_settings",
    "load_arrival_interval",
    "load_audit_settings",
    "load_code_location",
    "load_dagster_url",
    "load_database_url",
    "load_dataverse",
    "load_export_url",
    "load_journal_name",
    "load_lineage_settings",
    "load_noted_end",
    "load_panel_settings",
    "load_settings",
    "load_storage_parameters",
    "load_tenant",
    "local_file",
    "normal_origin",
    "parse_interval",
    "parse_tenant",
    "project_dir",
    "read_postgres_url",
    "read_secrets",
    "read_tenant",
    "read_tenants",
    "read_variable",
    "record_dir",
    "resolve_local",
    "secret_parts",
    "secret_variables",
    "served_pages",
    "state_dir",
    "state_root",
    "tenant_environment",
    "tenants_file",
    "token_cache_path",
    "wants_local",
    "with_secrets",
    "write_postgres_url",
]
