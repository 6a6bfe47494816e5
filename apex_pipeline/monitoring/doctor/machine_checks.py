"""The checks of this machine and of Dagster on it."""

import threading
from collections.abc import Iterator

from apex_pipeline.monitoring.doctor import dagster_health, machine
from apex_pipeline.monitoring.doctor.check_results import Check, Measurement
from apex_pipeline.monitoring.doctor.configuration import Configuration
from apex_pipeline.monitoring.doctor.dagster_health import InstanceHealth
from apex_pipeline.monitoring.doctor.postgres_state import Postgres
from apex_pipeline.monitoring.doctor.surroundings import Surroundings
from apex_pipeline.monitoring.doctor.web_server import heartbeats_seen_by
from apex_pipeline.settings import read_variable

_STORAGE_LINE = "Dagster storage"
_CODE_LINE = "code location"
_STORAGE_VARIABLE = "DAGSTER_POSTGRES_URL"
_PAGE_VARIABLE = "APEX_DAGSTER_URL"


def machine_checks(
    configuration: Configuration, around: Surroundings
) -> Iterator[Check]:
    """The checks of Dagster's storage, instance, daemon and pages, and of the disk."""
    storage = read_variable(configuration.environment, _STORAGE_VARIABLE)
    if storage:
        yield Check(
            _STORAGE_LINE,
            "answers",
            f"Check {_STORAGE_VARIABLE}, and that its Postgres is running and reachable "
            "from here. If it does not answer, check its log and disk.",
            lambda: Postgres(storage, variable=_STORAGE_VARIABLE).reachable(),
        )
    seen: list[InstanceHealth | None] = []

    # The lines run side by side; loading Dagster once is slow enough.
    one_at_a_time = threading.Lock()

    def found() -> InstanceHealth | None:
        with one_at_a_time:
            if not seen:
                seen.append(around.dagster(configuration.environment))
            return seen[0]

    def daemon() -> Measurement:
        return dagster_health.daemon(found(), around.now())

    def instance() -> Measurement:
        return dagster_health.settings(found())

    yield Check(
        "Dagster instance",
        "Postgres, queued runs, limits, monitoring, retention",
        "Copy this project's dagster.yaml into the DAGSTER_HOME of the web server, the "
        "daemon and this machine, set the same DAGSTER_POSTGRES_URL for all of them, and "
        "restart them.",
        instance,
        (_STORAGE_LINE,) if storage else (),
    )
    yield Check(
        "Dagster daemon",
        "heartbeats within 90 s",
        "Start it: `apex up`, `dagster dev`, or `dagster-daemon run` as a service.",
        daemon,
        (_STORAGE_LINE,) if storage else (),
    )
    page = read_variable(configuration.environment, _PAGE_VARIABLE)
    if page:
        yield Check(
            "Dagster web server",
            "sees the daemon's heartbeats",
            "Give the web server the DAGSTER_HOME and DAGSTER_POSTGRES_URL of the daemon, "
            f"and check {_PAGE_VARIABLE}.",
            lambda: dagster_health.web_server(found(), heartbeats_seen_by(page)),
            ("Dagster daemon",),
        )
    servers = dagster_health.code_servers(configuration.environment)
    if servers:
        yield Check(
            _CODE_LINE,
            "loads",
            "Restart the Dagster code server; its log shows the reason. `apex up` "
            "restarts it automatically. The daemon and the web server need no restart.",
            lambda: dagster_health.code_location(servers),
        )
    yield Check(
        "schedule",
        "on, ticks every five minutes",
        f"Switch {dagster_health.SCHEDULE} on in the Dagster UI, under Automation.",
        lambda: dagster_health.schedule(found(), around.now()),
        ("Dagster daemon", *([_CODE_LINE] if servers else [])),
    )
    yield Check(
        "disk",
        f"{around.min_free_bytes / 1024**2:,.0f} MiB free for the state, writable",
        "Free some space, or set APEX_STATE_DIR to another folder.",
        lambda: machine.disk(configuration.state, min_free_bytes=around.min_free_bytes),
    )
