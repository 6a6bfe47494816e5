"""The code location: wiring only."""

import dagster as dg

from apex_pipeline.defs import (
    maintenance,
    provisioning,
    schedules,
    sensors,
    sync_assets,
)
from apex_pipeline.defs.jobs import sync_campaign_metrics
from apex_pipeline.defs.services import Services
from apex_pipeline.defs.sync_specs import CAMPAIGN_METRICS


@dg.definitions
def defs() -> dg.Definitions:
    """All that the code location offers."""
    return dg.Definitions(
        assets=[CAMPAIGN_METRICS, sync_assets.synced_campaign_metrics],
        jobs=[
            sync_campaign_metrics,
            maintenance.purge_event_log,
            provisioning.provision_dataverse,
        ],
        schedules=[schedules.sync_every_five_minutes, schedules.weekly_purge],
        sensors=[sensors.drain_backlog],
        resources={"services": Services()},
    )
