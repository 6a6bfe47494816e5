"""The tags of our jobs, and the states in which a run is active."""

import dagster as dg

from apex_pipeline.defs.code_location import OURS, TENANT

SCHEDULED_TAGS = OURS | TENANT.run_tags | {"kind": "scheduled"}
"""For a job that runs by itself; you start it by hand to repeat or extend it."""

OPERATOR_TAGS = OURS | TENANT.run_tags | {"kind": "operator command"}
"""For a job that runs only when you start it, like the `apex` command of its kind."""

# A run whose process was lost starts once more (dagster.yaml, run_retries).
RETRY_LOST_TAGS = {"dagster/max_retries": "1"}

# A backfill of ten years takes minutes; what takes longer has lost its host.
ANALYSIS_TAGS = RETRY_LOST_TAGS | {"dagster/max_runtime": "7200"}

ACTIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
