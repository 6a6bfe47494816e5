"""Reconciliation in Dagster: its asset, checks, job, and schedule."""
