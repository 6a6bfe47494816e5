"""The checklist: every check with its target, remedy and dependencies.

To add a line, add a `Check` to `database_checks`, `dataverse_checks` or
`machine_checks`: a probe that returns a finding, and the names of the checks it depends on.
"""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from apex_pipeline.monitoring.doctor import (
    alert_channels,
)
from apex_pipeline.monitoring.doctor.check_results import (
    Check,
    CheckLine,
)
from apex_pipeline.monitoring.doctor.configuration import (
    read_configuration,
)
from apex_pipeline.monitoring.doctor.database_checks import (
    database_checks,
    time_zone_check,
)
from apex_pipeline.monitoring.doctor.dataverse_checks import dataverse_checks
from apex_pipeline.monitoring.doctor.machine_checks import machine_checks
from apex_pipeline.monitoring.doctor.runner import examine
from apex_pipeline.monitoring.doctor.surroundings import GRAPH_TOKENS, Surroundings


def look(environment: Mapping[str, str], around: Surroundings) -> list[CheckLine]:
    """Run the whole checklist.

    Raises:
        ConfigError: The configuration is too broken to check anything.
    """
    configuration = read_configuration(environment)
    # A new, empty token cache forces a request for a token.
    with TemporaryDirectory(prefix="apex-doctor-") as folder:
        checks = [
            Check(
                "configuration",
                "complete and consistent",
                "Set the variables as the message says; the documentation lists them.",
                configuration.finding,
            )
        ]
        if configuration.database_url is not None:
            checks += database_checks(configuration.database_url, around)
            checks.append(
                time_zone_check(configuration, configuration.database_url, around)
            )
        if configuration.dataverse is not None:
            checks += dataverse_checks(configuration, around, Path(folder))
        checks += machine_checks(configuration, around)
        checks += alert_channels.checks(
            configuration,
            Path(folder) / GRAPH_TOKENS,
            around.now,
            send_test=around.send_test,
        )
        return examine([*checks, *around.further], seconds=around.seconds)
