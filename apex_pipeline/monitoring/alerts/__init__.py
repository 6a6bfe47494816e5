"""Incidents: alert once, remind, then resolve."""
