"""The sync in Dagster: assets, job, schedules, sensor."""
