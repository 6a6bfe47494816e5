"""Text that tries to steer what shows it."""

from typing import Any

import dagster as dg

SPITEFUL = ["'; DROP TABLE campaign_metrics--", "' OR '1'='1", "%s %(id)s %%", "\\"]


def shown_in_dagster(instance) -> tuple[Any, Any]:
    """The last evaluation of the quarantine's check, and the asset's metadata."""
    asset = dg.AssetKey("quarantined_campaign_metrics")
    key = dg.AssetCheckKey(asset, "no_rows_quarantined")
    storage = instance.event_log_storage
    (record,) = storage.get_asset_check_execution_history(key, limit=1)
    event = instance.get_latest_materialization_event(asset)
    return (
        record.event.dagster_event.asset_check_evaluation_data,
        event.asset_materialization.metadata,
    )
