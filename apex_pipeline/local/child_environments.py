"""Which variables each child of `apex up` gets: those that it uses, and no others.

A program can be made to reveal its environment, such as Postgres by `COPY … FROM PROGRAM`.
It then reveals no secret but its own.
"""

from collections.abc import Collection, Mapping

from apex_pipeline.settings import VARIABLES, secret_variables

_SYSTEM = {
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ", "LANG", "LANGUAGE"),
    *("VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    "DYLD_FALLBACK_LIBRARY_PATH",
}
_SYSTEM_PREFIXES = ("LC_", "PYTHON")

# A proxy's address may hold a password.
_BEYOND = {
    *("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("https_proxy", "http_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),
}
# MSAL asks the endpoint of a managed identity that these name.
_IDENTITY = {
    *("AZURE_POD_IDENTITY_AUTHORITY_HOST", "IDENTITY_ENDPOINT", "IDENTITY_HEADER"),
    *("IMDS_ENDPOINT", "MSI_ENDPOINT", "MSI_SECRET"),
}
# libpq's, PGPASSWORD among them.
_POSTGRES_PREFIXES = ("PG",)
_DAGSTER_PREFIXES = ("DAGSTER_",)
# Where the adapters of object stores find accounts, keys and addresses.
_ADAPTER_PREFIXES = ("AWS_", "AZURE_STORAGE_", "GOOGLE_", "FSSPEC_")

_PANEL = {
    *("DATABASE_URL", "DATAVERSE_RESOURCE", "AZURE_TENANT_ID", "AZURE_CLIENT_ID"),
    *("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_AUTHORITY_HOST"),
    *("AZURE_FEDERATED_TOKEN_FILE", "APEX_MANAGED_IDENTITY"),
    *(
        "AZURE_CLIENTS_FILE",
        "APEX_CA_BUNDLE",
        "APEX_STATE_DIR",
        "APEX_TENANT",
        "APEX_LOG_FORMAT",
        "APEX_CLIENT_SECRET_EXPIRES_ON",
    ),
    *("APEX_PANEL_TOKEN", "APEX_PANEL_CORS", "APEX_TIME_ZONE", "APEX_HISTORY_START"),
    *("APEX_PANEL_ROOT_PATH", "APEX_PANEL_FRAME_ANCESTORS"),
    *("APEX_SLO_P95_MS", "APEX_EXPORT_DIR", "APEX_EXPORT_FORMATS", "APEX_ACTOR"),
}


def of_the_system(given: Mapping[str, str]) -> dict[str, str]:
    """What every program needs to run: paths, language, time zone."""
    return _allowed(given, (), ())


def of_the_pipeline(given: Mapping[str, str]) -> dict[str, str]:
    """What runs need: all of the pipeline's variables."""
    ours = {variable.name for variable in VARIABLES} | _BEYOND | _IDENTITY
    ours |= {*secret_variables(given)}
    prefixes: tuple[str, ...] = _DAGSTER_PREFIXES + _POSTGRES_PREFIXES
    if "://" in given.get("APEX_EXPORT_DIR", ""):
        prefixes += _ADAPTER_PREFIXES
    return _allowed(given, ours, prefixes)


def of_dagster(
    given: Mapping[str, str], *, own_storage: bool, also: Collection[str] = ()
) -> dict[str, str]:
    """What Dagster's own processes need; they ask the code server for all else.

    Args:
        given: All variables.
        own_storage: Whether the storage is the embedded one, whose URL says everything.
        also: Further names.
    """
    prefixes = (
        _DAGSTER_PREFIXES if own_storage else _DAGSTER_PREFIXES + _POSTGRES_PREFIXES
    )
    return _allowed(given, {*also, "APEX_LOG_FORMAT"}, prefixes)


def of_the_panel(given: Mapping[str, str]) -> dict[str, str]:
    """What the panel needs: nothing of alerts, administrators or Dagster."""
    ours = _PANEL | _BEYOND | _IDENTITY | {*secret_variables(given)}
    return _allowed(given, ours, _POSTGRES_PREFIXES)


def of_the_emulator(given: Mapping[str, str]) -> dict[str, str]:
    """What the emulator needs: the variables of its log."""
    return _allowed(given, {"APEX_TENANT", "APEX_LOG_FORMAT"}, ())


def of_the_demo(given: Mapping[str, str]) -> dict[str, str]:
    """What the demo writer needs to write into the embedded Postgres."""
    return _allowed(given, {"DATABASE_URL", "APEX_TENANT", "APEX_LOG_FORMAT"}, ())


def _allowed(
    given: Mapping[str, str], names: Collection[str], prefixes: tuple[str, ...]
) -> dict[str, str]:
    return {
        name: value
        for name, value in given.items()
        if name in _SYSTEM
        or name in names
        or name.startswith(_SYSTEM_PREFIXES + prefixes)
    }
