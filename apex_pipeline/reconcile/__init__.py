"""Compare rows with their Dataverse records, and repair the differences."""
