"""How long a run may take whose assets each bring their own limit along."""

from datetime import timedelta

import dagster as dg
import pytest

from apex_pipeline.defs.pool_limits import bound_runtime

_LIMIT = "dagster/max_runtime"


@dg.asset
def short(context: dg.AssetExecutionContext) -> None:
    bound_runtime(context, timedelta(seconds=480))


@dg.asset(deps=[short])
def long(context: dg.AssetExecutionContext) -> None:
    bound_runtime(context, timedelta(seconds=3840))


@dg.asset(deps=[long])
def last(context: dg.AssetExecutionContext) -> None:
    bound_runtime(context, timedelta(seconds=60))


@pytest.fixture
def instance(tmp_path):
    with dg.instance_for_test(temp_dir=str(tmp_path)) as found:
        yield found


def tags_of(instance, *assets, **tags):
    result = dg.materialize([*assets], instance=instance, tags=tags)
    return instance.get_run_by_id(result.run_id).tags


def limit(instance, *assets, **tags):
    return int(tags_of(instance, *assets, **tags)[_LIMIT])


def test_a_run_of_several_assets_may_take_as_long_as_the_longest_needs(instance):
    assert 480 <= limit(instance, short) < 540
    assert 3840 <= limit(instance, short, long) < 3900
    assert 3840 <= limit(instance, short, long, last) < 3900


def test_the_limit_of_a_runs_job_stays(instance):
    assert limit(instance, short, long, **{_LIMIT: "100"}) == 100


def test_a_run_that_is_executed_again_is_not_held_to_the_limit_of_its_first_asset(
    instance,
):
    parent = tags_of(instance, short)
    kept = {name: text for name, text in parent.items() if "runtime" in name}
    assert 3840 <= limit(instance, short, long, **kept) < 3900
