"""Find all mistakes in the variables, whichever part reads them."""

from collections.abc import Callable, Mapping

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings.alerting import (
    load_alert_settings,
    load_dagster_url,
    load_noted_end,
)
from apex_pipeline.settings.analytics import load_analysis_settings
from apex_pipeline.settings.arrival import load_arrival_interval
from apex_pipeline.settings.auditing import load_audit_settings
from apex_pipeline.settings.endpoints import load_settings, load_storage_parameters
from apex_pipeline.settings.folders import dagster_home, record_dir
from apex_pipeline.settings.lineage import load_lineage_settings
from apex_pipeline.settings.panel_access import load_panel_settings
from apex_pipeline.settings.tenant import load_tenant

_LOADERS: tuple[Callable[[Mapping[str, str]], object], ...] = (
    load_tenant,
    load_settings,
    load_storage_parameters,
    load_arrival_interval,
    load_noted_end,
    load_alert_settings,
    load_dagster_url,
    load_analysis_settings,
    load_audit_settings,
    load_panel_settings,
    load_lineage_settings,
    record_dir,
    dagster_home,
)


def find_mistakes(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return each mistake once; empty if there are none."""
    found: dict[str, None] = {}
    for load in _LOADERS:
        try:
            load(environment)
        except ConfigError as error:
            found |= dict.fromkeys(error.problems)
    return tuple(found)


def check_settings(environment: Mapping[str, str]) -> None:
    """Validate every part, also those that the caller does not need.

    Raises:
        ConfigError: A variable is missing, malformed or contradicts another. Lists all
            problems.
    """
    mistakes = find_mistakes(environment)
    if mistakes:
        raise ConfigError(*mistakes)
