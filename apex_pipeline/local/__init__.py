"""Everything that `apex up` runs on one machine, instead of or next to real services."""
