"""The doctor: an operator's checklist, run against the live systems."""
