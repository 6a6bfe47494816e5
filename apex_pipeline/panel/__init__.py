"""The KPI panel and its JSON API."""
