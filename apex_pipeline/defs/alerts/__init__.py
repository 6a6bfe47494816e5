"""Alerts in Dagster: the sensors that watch, and the jobs that operators run."""
