"""Measurements of the pipeline, and of others beside it."""
