"""What Dagster itself records of a failure holds no secret."""

import sys

import dagster as dg
import pytest
from dagster._utils.error import serializable_error_info_from_exc_info

from apex_pipeline.defs.redacted_errors import redact_recorded_errors
from apex_pipeline.texts import redaction

SECRET = "s3cret/of~the+application"


@pytest.fixture(autouse=True)
def _redacting():
    redaction.OURS.remember(SECRET)
    redaction.install()
    redact_recorded_errors()
    yield
    redaction.OURS.forget()


def _connect() -> None:
    raise ConnectionError(f"proxy http://me:{SECRET}@proxy refused")


@dg.op
def fails(context: dg.OpExecutionContext) -> None:
    context.log.error("sending %s", SECRET)
    try:
        _connect()
    except ConnectionError as error:
        raise ValueError({"client_secret": SECRET}) from error


@dg.job
def failing() -> None:
    fails()


def test_no_event_of_a_run_holds_a_secret():
    with dg.DagsterInstance.ephemeral() as instance:
        result = failing.execute_in_process(instance=instance, raise_on_error=False)
        told = [str(each) for each in result.all_events]
        told += [str(each) for each in instance.all_logs(result.run_id)]
        told += [dg.serialize_value(each) for each in instance.all_logs(result.run_id)]
    assert not result.success
    assert any("ConnectionError: proxy http://me:***@proxy" in each for each in told)
    assert any("sending ***" in each for each in told)
    assert not [each for each in told if SECRET in each]


def test_the_error_of_a_schedule_or_sensor_holds_no_secret():
    @dg.sensor(job=failing)
    def looks() -> None:
        raise RuntimeError(f"asked with {SECRET}")

    try:
        looks(dg.build_sensor_context())
    except RuntimeError:
        info = serializable_error_info_from_exc_info(sys.exc_info())
    assert info.message == "RuntimeError: asked with ***\n"
    assert SECRET not in dg.serialize_value(info)


def test_to_ask_for_it_twice_changes_nothing():
    redact_recorded_errors()
    test_no_event_of_a_run_holds_a_secret()
