"""Concurrency limits that apply to an asset however it is materialized.

*Materialize* in the UI starts Dagster's implicit job, which lacks the tags of our jobs,
so tag limits miss it. A pool belongs to the asset. With granularity `run` in
dagster.yaml, the queue starts at most as many runs as the pool allows. Such a pool
holds no slots, so a killed run leaves none occupied.
"""

import math
import time
from datetime import timedelta

import dagster as dg
from dagster._core.storage.tags import MAX_RUNTIME_SECONDS_TAG

from apex_pipeline.defs.code_location import LOCATION, TENANT

WRITER_POOL = f"{LOCATION}/writer"
"""Runs that write to Dataverse."""

ANALYSIS_POOL = f"{LOCATION}/analysis"
"""Runs that build the tables and files for analysts."""

# Run tag: the maximum runtime is not of its job, so another asset may raise it.
_BOUND_TAG = "apex/runtime_limited_by"

POOL_LIMITS = {WRITER_POOL: 1, ANALYSIS_POOL: 2}
"""Analysis leaves two of the four runs that dagster.yaml allows free for a sync."""


def ensure_pool_limits(instance: dg.DagsterInstance) -> None:
    """Set the limit of each of our pools that has none.

    Dagster (1.13.27) applies a default limit only from the second pass over its queue,
    so the first two runs would start together. A limit that an operator set is kept.
    """
    storage = instance.event_log_storage
    known = {each.name for each in storage.get_pool_limits() if not each.from_default}
    for name, limit in POOL_LIMITS.items():
        if name not in known:
            storage.set_concurrency_slots(name, limit)


def bound_runtime(context: dg.AssetExecutionContext, longest: timedelta) -> None:
    """Let this run take this much longer, and name its tenant, unless its job set a limit.

    Run monitoring fails the run after that. Of several assets that call this in one run,
    each comes after those before it, and none takes time from the others.

    Args:
        context: Of the asset that begins.
        longest: How long the asset may take.
    """
    # The tags that the run was launched with; a re-execution has those of its parent.
    launched = context.run.tags
    if MAX_RUNTIME_SECONDS_TAG in launched and _BOUND_TAG not in launched:
        return
    record = context.instance.get_run_record_by_id(context.run.run_id)
    if record is None:
        return
    elapsed = time.time() - record.start_time if record.start_time else 0.0
    present = int(record.dagster_run.tags.get(MAX_RUNTIME_SECONDS_TAG, 0))
    seconds = max(present, math.ceil(elapsed + longest.total_seconds()))
    tags = {MAX_RUNTIME_SECONDS_TAG: str(seconds), _BOUND_TAG: "its assets"}
    context.instance.add_run_tags(context.run.run_id, tags | TENANT.run_tags)
