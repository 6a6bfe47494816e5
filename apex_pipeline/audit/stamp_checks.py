"""How an anchor's time stamp is checked, by what the settings say."""

from typing import TYPE_CHECKING

from apex_pipeline.audit.verification import CheckStamp
from apex_pipeline.errors import ConfigError, install_extra
from apex_pipeline.settings import AuditSettings

if TYPE_CHECKING:
    from apex_pipeline.audit.time_stamps import Authority

_UNKNOWN = (
    "its time stamp cannot be checked: set APEX_TSA_CERTIFICATES to a PEM file with the "
    "certificates of the authority"
)


def stamp_check(settings: AuditSettings) -> CheckStamp:
    """The check of time stamps; without certificates, none can be trusted.

    Raises:
        ConfigError: As `load_authority`.
    """
    authority = load_authority(settings)
    return authority.check if authority is not None else lambda _: _UNKNOWN


def load_authority(settings: AuditSettings) -> "Authority | None":
    """The authority by its certificates; None without any.

    Raises:
        ConfigError: The file has none, or the library is not installed.
    """
    if settings.certificates is None:
        return None
    try:
        from apex_pipeline.audit.time_stamps import Authority  # noqa: PLC0415  an extra
    except ImportError:
        raise ConfigError(
            "Time stamps need rfc3161-client. " + install_extra("time-stamps")
        ) from None
    return Authority.read(settings.certificates)
