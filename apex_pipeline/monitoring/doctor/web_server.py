"""What the Dagster web server knows of the daemons: its answer to one GraphQL query."""

from datetime import UTC, datetime

import httpx

_SECONDS = 5.0
_QUERY = """
{ instance { daemonHealth { allDaemonStatuses { daemonType lastHeartbeatTime } } } }
"""


def heartbeats_seen_by(page: str) -> dict[str, datetime] | None:
    """The last heartbeat of each kind of daemon (aware, UTC), as the web server has it.

    None where something else answers, or nothing: a sign-in may stand before it.

    Args:
        page: Where the web server is, without a path after it.
    """
    try:
        answer = httpx.post(f"{page}/graphql", json={"query": _QUERY}, timeout=_SECONDS)
        health = answer.raise_for_status().json()["data"]["instance"]["daemonHealth"]
        return {
            each["daemonType"]: datetime.fromtimestamp(each["lastHeartbeatTime"], UTC)
            for each in health["allDaemonStatuses"]
            if each["lastHeartbeatTime"]
        }
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
        return None
