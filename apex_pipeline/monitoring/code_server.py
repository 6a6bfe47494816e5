"""Asks Dagster's code server whether it serves definitions.

The server's own health check says only that its port is open. `ListRepositories` is
answered from the loaded definitions, and through a proxying server by the process
behind it. Messages: dagster 1.13, `dagster/_grpc/protos/dagster_api.proto`.

`python -m apex_pipeline.monitoring.code_server HOST:PORT` is the same as a health check:
exit 0, or 1 and the reason. For a Unix socket, write `unix:PATH`.
"""

import json
import sys
from pathlib import Path

import grpc
import yaml

_LIST_REPOSITORIES = "/api.DagsterApi/ListRepositories"
_LOADED = "ListRepositoriesResponse"


def load_error(address: str, *, seconds: float = 5.0) -> str | None:
    """Why a code server does not serve definitions; None if it does.

    Args:
        address: `host:port`, or `unix:path`.
        seconds: How long it may take to answer.
    """
    options = [("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(address, options=options) as channel:
        # No serializers: the request has no fields, the answer has one string.
        ask = channel.unary_unary(_LIST_REPOSITORIES)
        try:
            answer: bytes = ask(b"", timeout=seconds)
        except grpc.RpcError as error:
            return f"The code server at {address} does not answer: {_reason(error)}"
    # The field's number and length precede the string.
    found = json.loads(answer[answer.index(b"{") :])
    if found["__class__"] != _LOADED:
        cause = str(found.get("message", "")).strip().splitlines()
        return (
            f"The definitions do not load: {cause[0] if cause else 'no reason given'}"
        )
    if not found["repository_symbols"]:
        return f"The code server at {address} has no definitions."
    return None


def addresses(workspace: Path) -> list[str]:
    """`host:port` or `unix:path` of each code server that a workspace file names."""
    try:
        loaded = yaml.safe_load(workspace.read_text())
    except (OSError, yaml.YAMLError):
        return []
    entries = loaded.get("load_from") or [] if isinstance(loaded, dict) else []
    servers = [entry["grpc_server"] for entry in entries if "grpc_server" in entry]
    return [
        f"unix:{server['socket']}"
        if "socket" in server
        else f"{server.get('host', 'localhost')}:{server['port']}"
        for server in servers
        if "socket" in server or "port" in server
    ]


def _reason(error: grpc.RpcError) -> str:
    code = error.code() if isinstance(error, grpc.Call) else None
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "it took too long"
    details = error.details() if isinstance(error, grpc.Call) else ""
    return (details or str(code or error)).strip().splitlines()[0]


if __name__ == "__main__":
    sys.exit(load_error(sys.argv[1]))
