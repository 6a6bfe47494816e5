"""Rollups, history, forecast, and CSV files in Dagster."""
