"""Asks Dagster's code server whether it serves definitions.

The server's own health check says only that its port is open. `ListRepositories` is
answered from the loaded definitions, and through a proxying server by the process
behind it. Messages: dagster 1.13, `dagster/_grpc/protos/dagster_api.proto`.

`python -m apex_pipeline.monitoring.code_server HOST:PORT` is the same as a health check:
exit 0, or 1 and the reason. For a Unix socket, write `unix:PATH`.
"""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import grpc
import yaml

_LIST_REPOSITORIES = "/api.DagsterApi/ListRepositories"
_LOADED = "ListRepositoriesResponse"
_UNSET = re.compile(r"\{env: (.*?)\}")


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


def addresses(
    workspace: Path, location: str, environment: Mapping[str, str]
) -> list[str]:
    """`host:port` or `unix:path` of our code server, if a workspace file names it.

    Servers of other code locations are left out; so is what Dagster itself refuses.

    Args:
        workspace: The file.
        location: Name of our code location. An entry without a name is ours if there is
            no other.
        environment: Variables, which an entry may name in place of a value. One that is
            not set stays in the address; see `unset_variables`.
    """
    try:
        loaded = yaml.safe_load(workspace.read_text())
    except (OSError, yaml.YAMLError):
        return []
    entries = loaded.get("load_from") if isinstance(loaded, dict) else None
    if not isinstance(entries, list):
        return []
    listed = [each.get("grpc_server") for each in entries if isinstance(each, dict)]
    servers = [
        {key: _value(set_to, environment) for key, set_to in each.items() if set_to}
        for each in listed
        if isinstance(each, dict)
    ]
    unnamed = location if len(entries) == 1 else None
    ours = [each for each in servers if each.get("location_name", unnamed) == location]
    return [
        f"unix:{each['socket']}"
        if "socket" in each
        else f"{each.get('host', 'localhost')}:{each['port']}"
        for each in ours
        if "socket" in each or "port" in each
    ]


def unset_variables(address: str) -> list[str]:
    """Names of the variables in an address that are not set here."""
    found: list[str] = _UNSET.findall(address)
    return found


def _value(value: object, environment: Mapping[str, str]) -> str:
    """A value of an entry, resolved as Dagster does."""
    if not isinstance(value, dict):
        return str(value)
    name = str(value.get("env"))
    return environment.get(name) or f"{{env: {name}}}"


def _reason(error: grpc.RpcError) -> str:
    code = error.code() if isinstance(error, grpc.Call) else None
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "it took too long"
    details = error.details() if isinstance(error, grpc.Call) else ""
    return (details or str(code or error)).strip().splitlines()[0]


if __name__ == "__main__":
    sys.exit(load_error(sys.argv[1]))
