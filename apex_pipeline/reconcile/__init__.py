"""Holding rows against their Dataverse records, and mending where they do not agree."""
