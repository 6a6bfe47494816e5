"""The rules: what is looked at, and what is found to be wrong."""
