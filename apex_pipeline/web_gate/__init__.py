"""The gate in front of every page: access control and limits.

The panel and the Dagster UI share these checks, for HTTP and WebSocket alike. The host
name must be ours. A page of another site cannot change anything. If a token is set,
every request needs it, or a session that was opened with it.
"""
