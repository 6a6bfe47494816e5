"""Carries campaign metrics from Postgres into Microsoft Dataverse."""

__version__ = "0.1.0"
