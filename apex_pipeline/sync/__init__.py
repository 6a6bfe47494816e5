"""One run of the sync: read pending rows, deliver them, mark what was acknowledged."""
