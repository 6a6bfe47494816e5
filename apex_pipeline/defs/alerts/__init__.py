"""Alerts in Dagster: monitoring sensors and operator jobs."""
