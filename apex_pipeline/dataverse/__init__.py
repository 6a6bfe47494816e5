"""The Dataverse protocol; independent of Dagster and Postgres."""
