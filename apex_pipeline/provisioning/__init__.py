"""Provisioning: what Postgres and Dataverse need, and how to create it."""
