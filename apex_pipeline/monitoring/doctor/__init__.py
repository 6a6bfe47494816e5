"""The checklist that an operator would go through by hand, gone through live."""
