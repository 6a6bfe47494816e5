"""The code location: wiring only."""

import os

import dagster as dg

from apex_pipeline import log_lines
from apex_pipeline.defs.alerts import alert_jobs, alert_sensors
from apex_pipeline.defs.analytics import (
    csv_assets,
    forecast_assets,
    rollup_assets,
    rollup_jobs,
    rollup_sensors,
)
from apex_pipeline.defs.code_location import publish_location
from apex_pipeline.defs.operations import (
    audit_asset,
    audit_listing_job,
    inspection_jobs,
    lineage_sensor,
    provisioning_jobs,
    purge_event_log,
    recording_job,
    report_asset,
)
from apex_pipeline.defs.quarantine import quarantine_job
from apex_pipeline.defs.reconcile import reconciliation
from apex_pipeline.defs.redacted_errors import redact_recorded_errors
from apex_pipeline.defs.run_logs import write_runs
from apex_pipeline.defs.services import Services
from apex_pipeline.defs.sync import arrival_sensor, schedules, sync_assets
from apex_pipeline.defs.sync.sync_job import sync_campaign_metrics
from apex_pipeline.defs.sync_specs import CAMPAIGN_METRICS
from apex_pipeline.settings import LINEAGE_VARIABLE, read_secrets, read_variable
from apex_pipeline.texts import redaction


@dg.definitions
def defs() -> dg.Definitions:
    """All that the code location offers."""
    publish_location()
    read_secrets(os.environ)
    redaction.install()
    redact_recorded_errors()
    log_lines.install(os.environ, level=None)
    write_runs(as_json=log_lines.is_json(os.environ))
    return dg.Definitions(
        assets=[
            CAMPAIGN_METRICS,
            sync_assets.synced_campaign_metrics,
            reconciliation.dataverse_reconciliation,
            rollup_assets.daily_campaign_rollup,
            rollup_assets.weekly_campaign_rollup,
            rollup_assets.campaign_history,
            forecast_assets.cost_forecast,
            csv_assets.campaign_csv_exports,
            report_asset.completion_report,
            audit_asset.audit_trail,
        ],
        jobs=[
            sync_campaign_metrics,
            purge_event_log.purge_event_log,
            provisioning_jobs.provision_database,
            provisioning_jobs.provision_dataverse,
            quarantine_job.release_quarantine,
            reconciliation.reconcile_dataverse,
            rollup_jobs.refresh_daily_rollups,
            rollup_jobs.refresh_weekly_rollups,
            recording_job.record_campaign_metrics,
            inspection_jobs.show_status,
            inspection_jobs.run_doctor,
            alert_jobs.list_alerts,
            alert_jobs.silence_alert,
            alert_jobs.send_test_alert,
            csv_assets.export_csv,
            report_asset.write_completion_report,
            audit_asset.anchor_audit_trail,
            audit_listing_job.list_audit_trail,
        ],
        schedules=[
            schedules.sync_every_five_minutes,
            purge_event_log.weekly_purge,
            reconciliation.reconcile_dataverse_daily,
            rollup_jobs.refresh_daily_rollups_nightly,
            rollup_jobs.refresh_weekly_rollups_mondays,
            audit_asset.anchor_audit_trail_daily,
        ],
        sensors=[
            arrival_sensor.sync_on_arrival,
            rollup_sensors.refresh_today,
            rollup_sensors.remake_late_days,
            alert_sensors.alert_on_failure,
            alert_sensors.watch_sync_health,
            *_lineage(),
        ],
        # Also for Dagster's implicit jobs. A step takes half a second to start instead of
        # six, and there is nothing to isolate one from another.
        executor=dg.in_process_executor,
        resources={"services": Services(), "definitions": defs},
    )


def _lineage() -> list[dg.SensorDefinition]:
    """The sensor that sends lineage, if it is to go anywhere."""
    is_wanted = read_variable(os.environ, LINEAGE_VARIABLE)
    return [lineage_sensor.send_lineage] if is_wanted else []
