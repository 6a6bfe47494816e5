"""Schedules and sensors of our code location, as a daemon leaves them in an instance."""

from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    TickData,
    TickStatus,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin


def instigator(name, kind, data=None):
    """The state of one that is on by its definition."""
    target = LoadableTargetOrigin(module_name="apex_pipeline.definitions")
    location = ManagedGrpcPythonEnvCodeLocationOrigin(target, "apex_pipeline")
    repository = RemoteRepositoryOrigin(location, "__repository__")
    return InstigatorState(
        RemoteInstigatorOrigin(repository, name),
        kind,
        InstigatorStatus.DECLARED_IN_CODE,
        data,
    )


def sensor(name):
    return instigator(name, InstigatorType.SENSOR)


def keep_tick(instance, state, at, status=TickStatus.SKIPPED, error=None, failures=0):
    """Have the instance keep a tick; `failures` counts those in a row."""
    instance.create_tick(
        TickData(
            state.instigator_origin_id,
            state.instigator_name,
            state.instigator_type,
            status,
            at,
            error=error,
            selector_id=state.selector_id,
            consecutive_failure_count=failures,
        )
    )
