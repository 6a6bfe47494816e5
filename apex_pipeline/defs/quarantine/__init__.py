"""The quarantine in Dagster: its asset and its jobs."""
