"""Ask the Dagster web server by GraphQL which daemon heartbeats it sees."""

from datetime import UTC, datetime

import httpx

from apex_pipeline.microsoft.http_transport import trust
from apex_pipeline.microsoft.proxy_routes import Routes

_SECONDS = 5.0
_QUERY = """
{ instance { daemonHealth { allDaemonStatuses { daemonType lastHeartbeatTime } } } }
"""


def heartbeats_seen_by(page: str) -> dict[str, datetime] | None:
    """Return the last heartbeat (UTC) of each kind of daemon that the web server sees.

    None if it cannot be queried: no answer, another server, or a sign-in page.

    Args:
        page: Address of the web server, without a path.

    Raises:
        ConfigError: The proxy on the way to it cannot be used.
    """
    try:
        with httpx.Client(
            transport=Routes(trust(None)), timeout=_SECONDS, trust_env=False
        ) as http:
            answer = http.post(f"{page}/graphql", json={"query": _QUERY})
        health = answer.raise_for_status().json()["data"]["instance"]["daemonHealth"]
        return {
            each["daemonType"]: datetime.fromtimestamp(each["lastHeartbeatTime"], UTC)
            for each in health["allDaemonStatuses"]
            if each["lastHeartbeatTime"]
        }
    except (
        httpx.HTTPError,
        httpx.InvalidURL,
        # From here on, what another server's JSON leads to.
        ValueError,
        OverflowError,
        LookupError,
        TypeError,
    ):
        return None
