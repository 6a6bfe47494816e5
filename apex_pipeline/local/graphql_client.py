"""Query the Dagster web server over GraphQL, and probe other servers over HTTP."""

import ssl
from pathlib import Path
from typing import Any

import httpx

_DAEMONS = """
{ instance { daemonHealth { allDaemonStatuses {
    required lastHeartbeatTime
} } } }
"""
# An error of psycopg2, passed on by Dagster's storage.
_NO_TABLE = "UndefinedTable"
_START_SYNC = """
mutation($location: String!) { launchRun(executionParams: { selector: {
    repositoryLocationName: $location
    repositoryName: "__repository__"
    jobName: "sync_campaign_metrics"
} }) { __typename } }
"""
_UNFINISHED_RUNS = """
query($before: Float!) { runsOrError(
    filter: {statuses: [STARTING, STARTED, CANCELING], createdBefore: $before}
) { ... on Runs { results { runId } } } }
"""
_END_RUN = """
mutation($run: String!) { terminateRun(
    runId: $run, terminatePolicy: MARK_AS_CANCELED_IMMEDIATELY
) { __typename } }
"""


def answers(url: str, secret: str) -> bool:
    """Whether the web server of Dagster answers there."""
    try:
        with _client(url, secret) as client:
            return "dagster_version" in client.get("/server_info").json()
    except (httpx.HTTPError, ValueError):
        return False


def is_well(url: str) -> bool:
    """Whether the panel answers at this URL."""
    try:
        with _client(url) as client:
            return client.get("/healthz").is_success
    except httpx.HTTPError:
        return False


def responds(url: str, authority: Path) -> bool:
    """Whether an HTTPS server answers at this URL, with any status."""
    trusted = ssl.create_default_context(cafile=authority)
    try:
        with httpx.Client(timeout=5.0, trust_env=False, verify=trusted) as client:
            client.get(url)
    except httpx.HTTPError:
        return False
    return True


def daemons_beat_since(url: str, secret: str, instant: float) -> bool | None:
    """Whether every required daemon has sent a heartbeat since an instant.

    Args:
        url: The Dagster web server.
        secret: The server's secret.
        instant: In seconds since the epoch.

    Returns:
        None if the web server cannot tell. False if Dagster's storage was emptied: a
        daemon creates its tables only when it starts.
    """
    answer = _answer(url, secret, _DAEMONS)
    if _NO_TABLE in str(answer.get("errors")):
        return False
    data = answer.get("data")
    if data is None:
        return None
    return all(
        (status["lastHeartbeatTime"] or 0) >= instant
        for status in data["instance"]["daemonHealth"]["allDaemonStatuses"]
        if status["required"]
    )


def start_sync(url: str, secret: str, location: str) -> bool:
    """Ask for a run of the sync of a code location.

    Returns:
        Whether it was started.
    """
    data = _ask(url, secret, _START_SYNC, location=location)
    return data is not None and data["launchRun"]["__typename"] == "LaunchRunSuccess"


def end_lost_runs(url: str, secret: str, before: float) -> int:
    """Cancel the runs created before an instant whose process is gone.

    Returns:
        How many were canceled.
    """
    data = _ask(url, secret, _UNFINISHED_RUNS, before=before)
    runs = data["runsOrError"]["results"] if data else []
    for run in runs:
        _ask(url, secret, _END_RUN, run=run["runId"])
    return len(runs)


def _ask(
    url: str, secret: str, query: str, **variables: object
) -> dict[str, Any] | None:
    data: dict[str, Any] | None = _answer(url, secret, query, **variables).get("data")
    return data


def _answer(url: str, secret: str, query: str, **variables: object) -> dict[str, Any]:
    """Data and errors; neither where the web server does not answer."""
    try:
        with _client(url, secret) as client:
            answer = client.post(
                "/graphql", json={"query": query, "variables": variables}
            )
        found: dict[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError):
        return {}
    return found


def _client(url: str, secret: str = "") -> httpx.Client:
    # Proxies of the environment are for the world outside this machine. What is asked is
    # plain HTTP, and loading all authorities each time would cost more than asking.
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    return httpx.Client(
        base_url=url,
        headers=headers,
        timeout=5.0,
        trust_env=False,
        verify=False,  # noqa: S501  nothing to verify
    )
