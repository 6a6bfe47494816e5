"""The gate in front of every page: who gets in, and how much of the server they may use.

The panel and the Dagster UI stand behind the same checks, for HTTP and WebSocket alike:
the host must be ours, another site's page changes nothing, and where a token is set,
every request shows it or a session that was opened with it.
"""
