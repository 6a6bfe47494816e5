"""CSV files: single downloads and the export folder."""
