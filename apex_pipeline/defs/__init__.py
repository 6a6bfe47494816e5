"""All that Dagster sees: assets, checks, jobs, schedules, sensors, resources."""
