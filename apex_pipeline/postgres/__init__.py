"""Postgres: connections, migrations, locks, and the tables of the sync."""
