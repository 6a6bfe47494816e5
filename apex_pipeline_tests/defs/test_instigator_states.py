"""What the ticks of schedules and sensors say, as a Dagster instance keeps them."""

import socket
import sys
import time

import dagster as dg
import pytest
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.scheduler.instigation import TickStatus
from dagster._grpc.client import DagsterGrpcClient
from dagster._utils.error import serializable_error_info_from_exc_info

from apex_pipeline.definitions import defs
from apex_pipeline.defs.alerts.instigator_states import read_instigators
from apex_pipeline_tests.support.ends import free_port
from apex_pipeline_tests.support.instigators import keep_tick, sensor


@pytest.fixture
def instance(tmp_path):
    with dg.instance_for_test(temp_dir=str(tmp_path)) as found:
        yield found


def error_at(port):
    """What the daemon keeps of a tick that a code server at this port does not run."""
    try:
        try:
            DagsterGrpcClient(port=port, host="127.0.0.1").get_server_id(timeout=1)
        except DagsterUserCodeUnreachableError as error:
            raise DagsterUserCodeUnreachableError("Unable to reach it.") from error
    except DagsterUserCodeUnreachableError:
        return serializable_error_info_from_exc_info(sys.exc_info())


def ticks(instance, error):
    state = instance.add_instigator_state(sensor("alert_on_failure"))
    for failures in (1, 2):
        at = time.time() + failures
        keep_tick(instance, state, at, TickStatus.FAILURE, error, failures)
    repository = defs().get_repository_def()
    (found,) = read_instigators(instance, repository, lambda _: None)
    return found.ticks


def test_ticks_that_no_code_server_took_are_counted_as_such(instance):
    found = ticks(instance, error_at(free_port()))
    assert [tick.unreached for tick in found] == [2, 1]
    assert all(tick.error for tick in found)


def test_ticks_that_a_code_server_took_and_did_not_end_are_failures(instance):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = error_at(silent.getsockname()[1])
    assert "timed out" in error.cause.message
    assert [tick.unreached for tick in ticks(instance, error)] == [0, 0]
