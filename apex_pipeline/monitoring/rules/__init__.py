"""The alert rules: what is observed, and which findings follow."""
