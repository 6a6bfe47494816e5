"""What the ticks of schedules and sensors say, as a Dagster instance keeps them."""

import socket
import sys
import time

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.errors import DagsterUserCodeUnreachableError
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
from dagster._grpc.client import DagsterGrpcClient
from dagster._utils.error import serializable_error_info_from_exc_info

from apex_pipeline.definitions import defs
from apex_pipeline.defs.alerts.instigator_states import read_instigators
from apex_pipeline_tests.support.ends import free_port

SENSOR = "alert_on_failure"


@pytest.fixture
def instance(tmp_path):
    with dg.instance_for_test(temp_dir=str(tmp_path)) as found:
        yield found


@pytest.fixture
def sensor(instance):
    target = LoadableTargetOrigin(module_name="apex_pipeline.definitions")
    location = ManagedGrpcPythonEnvCodeLocationOrigin(target, "apex_pipeline")
    repository = RemoteRepositoryOrigin(location, "__repository__")
    return instance.add_instigator_state(
        InstigatorState(
            RemoteInstigatorOrigin(repository, SENSOR),
            InstigatorType.SENSOR,
            InstigatorStatus.DECLARED_IN_CODE,
        )
    )


def error_at(port):
    """What the daemon keeps of a tick that a code server at this port does not run."""
    try:
        try:
            DagsterGrpcClient(port=port, host="127.0.0.1").get_server_id(timeout=1)
        except DagsterUserCodeUnreachableError as error:
            raise DagsterUserCodeUnreachableError("Unable to reach it.") from error
    except DagsterUserCodeUnreachableError:
        return serializable_error_info_from_exc_info(sys.exc_info())


def ticks(instance, sensor, error):
    for failures in (1, 2):
        instance.create_tick(
            TickData(
                sensor.instigator_origin_id,
                SENSOR,
                InstigatorType.SENSOR,
                TickStatus.FAILURE,
                time.time() + failures,
                error=error,
                selector_id=sensor.selector_id,
                consecutive_failure_count=failures,
            )
        )
    repository = defs().get_repository_def()
    (found,) = read_instigators(instance, repository, lambda _: None)
    return found.ticks


def test_ticks_that_no_code_server_took_are_counted_as_such(instance, sensor):
    found = ticks(instance, sensor, error_at(free_port()))
    assert [tick.unreached for tick in found] == [2, 1]
    assert all(tick.error for tick in found)


def test_ticks_that_a_code_server_took_and_did_not_end_are_failures(instance, sensor):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = error_at(silent.getsockname()[1])
    assert "timed out" in error.cause.message
    assert [tick.unreached for tick in ticks(instance, sensor, error)] == [0, 0]
