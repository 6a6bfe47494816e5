"""The protocol side of Dataverse; knows nothing of Dagster or of Postgres."""
