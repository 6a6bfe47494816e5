"""Incidents: what is wrong is told once, reminded of, and called off when it is well."""
