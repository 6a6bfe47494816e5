"""The code location: wiring only."""

import dagster as dg

from apex_pipeline.defs import maintenance, schedules, sensors, sync_assets
from apex_pipeline.defs.jobs import sync_campaign_metrics
from apex_pipeline.defs.services import Services


@dg.definitions
def defs() -> dg.Definitions:
    """All that the code location offers."""
    return dg.Definitions(
        assets=[sync_assets.campaign_metrics, sync_assets.synced_campaign_metrics],
        jobs=[sync_campaign_metrics, maintenance.purge_event_log],
        schedules=[schedules.sync_every_five_minutes, schedules.weekly_purge],
        sensors=[sensors.drain_backlog],
        resources={"services": Services()},
    )
