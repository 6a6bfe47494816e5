"""Everything that `apex up` runs on one machine in place of, or beside, real services."""
