"""The quarantine: rows that Dataverse rejects, and what you decide about them."""
