"""Limits that follow an asset, whichever job, backfill or page materializes it.

*Materialize* in the UI starts Dagster's implicit job, which has none of our jobs' tags.
A pool belongs to the asset: with the granularity `run` of dagster.yaml, the queue lets
no more runs go than the pool has places. Such a pool holds no slots, so a killed run
leaves none behind.
"""

from datetime import timedelta

import dagster as dg
from dagster._core.storage.tags import MAX_RUNTIME_SECONDS_TAG

from apex_pipeline.defs.code_location import LOCATION

WRITER_POOL = f"{LOCATION}/writer"
"""Runs that write to Dataverse."""

ANALYSIS_POOL = f"{LOCATION}/analysis"
"""Runs that make what analysts read."""

POOL_LIMITS = {WRITER_POOL: 1, ANALYSIS_POOL: 2}
"""Analysis leaves two of the four places of dagster.yaml, so a sync finds one."""


def ensure_pool_limits(instance: dg.DagsterInstance) -> None:
    """Give each pool of ours its limit, unless it has one.

    Dagster applies a default limit only from the second look at its queue on, so two
    first runs would go at once (1.13.27). A limit that an operator set stays.
    """
    storage = instance.event_log_storage
    known = {each.name for each in storage.get_pool_limits() if not each.from_default}
    for name, limit in POOL_LIMITS.items():
        if name not in known:
            storage.set_concurrency_slots(name, limit)


def bound_runtime(context: dg.AssetExecutionContext, longest: timedelta) -> None:
    """Have run monitoring end this run in time, if its job did not say when."""
    run = context.instance.get_run_by_id(context.run.run_id)
    if run is not None and MAX_RUNTIME_SECONDS_TAG not in run.tags:
        seconds = str(int(longest.total_seconds()))
        context.instance.add_run_tags(run.run_id, {MAX_RUNTIME_SECONDS_TAG: seconds})
