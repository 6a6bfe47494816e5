"""Whether a code server serves definitions, in Dagster's own messages."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from dagster._grpc.__generated__ import dagster_api_pb2
from dagster._grpc.types import ListRepositoriesResponse, LoadableRepositorySymbol
from dagster_shared.error import SerializableErrorInfo
from dagster_shared.serdes import serialize_value

from apex_pipeline.monitoring.code_server import addresses, load_error
from apex_pipeline.monitoring.doctor import dagster_health
from apex_pipeline.monitoring.doctor.check_results import CheckState
from apex_pipeline.monitoring.rules.health_summary import reasons
from apex_pipeline_tests.support.ends import environment
from apex_pipeline_tests.support.waiting import SECONDS

LOADED = ListRepositoriesResponse(
    [
        LoadableRepositorySymbol(
            repository_name="__repository__", attribute="definitions"
        )
    ]
)
OURS = "{grpc_server: {host: ours, port: 4000, location_name: apex_pipeline}}"
THEIRS = "{grpc_server: {host: theirs, port: 1, location_name: marketing}}"
EMPTY = ListRepositoriesResponse([])
BROKEN = SerializableErrorInfo(
    "ImportError: no module named 'apex'\n", ["line 1"], "ImportError"
)


@contextmanager
def serving(outcome: Any, socket_path: str | None = None) -> Iterator[str]:
    """A server that answers `ListRepositories` so; its address."""

    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        if isinstance(outcome, threading.Event):
            outcome.wait(SECONDS)
            return b""
        if isinstance(outcome, str):
            context.abort(grpc.StatusCode.UNKNOWN, outcome)
        reply = dagster_api_pb2.ListRepositoriesReply(
            serialized_list_repositories_response_or_error=serialize_value(outcome)
        )
        return bytes(reply.SerializeToString())

    handler = grpc.method_handlers_generic_handler(
        "api.DagsterApi",
        {"ListRepositories": grpc.unary_unary_rpc_method_handler(answer)},
    )
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, handlers=[handler])
        port = server.add_insecure_port(
            f"unix:{socket_path}" if socket_path else "127.0.0.1:0"
        )
        server.start()
        try:
            yield f"unix:{socket_path}" if socket_path else f"127.0.0.1:{port}"
        finally:
            if isinstance(outcome, threading.Event):
                outcome.set()
            server.stop(0).wait()


def test_a_server_with_definitions_is_well():
    with serving(LOADED) as address:
        assert load_error(address) is None
        assert dagster_health.code_location([address]).state is CheckState.OK


def test_a_server_on_a_unix_socket_is_asked_there(tmp_path):
    with serving(LOADED, str(tmp_path / "code.sock")) as address:
        assert load_error(address) is None
    assert "does not answer" in (load_error(address) or "")


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (BROKEN, "The definitions do not load: ImportError: no module named 'apex'"),
        (EMPTY, "has no definitions"),
        # What the proxy of `dagster code-server start` says when the process behind it
        # has ended.
        ("Exception calling application: UNAVAILABLE", "does not answer: Exception"),
    ],
)
def test_a_server_without_definitions_is_not(outcome, reason):
    with serving(outcome) as address:
        assert reason in (load_error(address) or "")
        assert dagster_health.code_location([address]).state is CheckState.FAILED


def test_a_server_that_hangs_is_given_up():
    with serving(threading.Event()) as address:
        assert "it took too long" in (load_error(address, seconds=0.2) or "")


def test_nothing_that_listens_is_named_by_its_address():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        found = load_error(address)
    assert found is not None
    assert f"{address} does not answer" in found
    assert "\n" not in found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            (
                "load_from: [{grpc_server: {host: code, port: 4000, "
                "location_name: apex_pipeline}}]"
            ),
            ["code:4000"],
        ),
        ("load_from: [{grpc_server: {port: 4000}}]", ["localhost:4000"]),
        ("load_from: [{grpc_server: {socket: /tmp/s}}]", ["unix:/tmp/s"]),
        ("load_from: [{python_module: {module_name: a}}]", []),
        # Only one of them can be ours, and nothing says which.
        ("load_from: [{grpc_server: {port: 1}}, {grpc_server: {port: 2}}]", []),
        (f"load_from: [{THEIRS}]", []),
        (f"load_from: [{THEIRS}, {OURS}, {{grpc_server: {{port: 3}}}}]", ["ours:4000"]),
        (
            (
                "load_from: [{grpc_server: {host: {env: CODE_HOST}, "
                "port: {env: CODE_PORT}, location_name: {env: CODE_NAME}}}]"
            ),
            ["code.example:4266"],
        ),
        (
            "load_from: [{grpc_server: {socket: {env: CODE_HOST}}}]",
            ["unix:code.example"],
        ),
        # Dagster refuses these.
        ("load_from: {grpc_server: {port: 4000}}", []),
        ("load_from: [{grpc_server: }, null, grpc_server, {grpc_server: [4000]}]", []),
        ("load_from: grpc_server", []),
        ("load_from:", []),
        ("", []),
        ("a: [", []),
        ("- a", []),
    ],
)
def test_servers_are_those_that_the_workspace_names_as_ours(tmp_path, text, found):
    (tmp_path / "workspace.yaml").write_text(text)
    environment = {
        "DAGSTER_HOME": str(tmp_path),
        "CODE_HOST": "code.example",
        "CODE_PORT": "4266",
        "CODE_NAME": "apex_pipeline",
    }
    assert dagster_health.code_servers(environment) == found


def test_a_location_of_another_name_is_ours_where_it_is_given(tmp_path):
    (tmp_path / "workspace.yaml").write_text(f"load_from: [{THEIRS}, {OURS}]")
    environment = {
        "DAGSTER_HOME": str(tmp_path),
        "DAGSTER_LOCATION_NAME": "marketing",
    }
    assert dagster_health.code_servers(environment) == ["theirs:1"]


def test_the_workspace_is_found_in_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "workspace.yaml").write_text(f"load_from: [{OURS}]")
    home = {"DAGSTER_HOME": "~/dagster"}
    assert dagster_health.code_servers(home) == dagster_health.code_servers(
        {"DAGSTER_HOME": str(tmp_path / "dagster")}
    )
    assert dagster_health.code_servers(home)


def test_an_address_that_this_process_cannot_know_is_no_fault_of_the_server(
    emulator, database_url, tmp_path
):
    (tmp_path / "workspace.yaml").write_text(
        "load_from: [{grpc_server: {port: {env: CODE_PORT}}}]"
    )
    home = {"DAGSTER_HOME": str(tmp_path)}
    found = dagster_health.code_location(dagster_health.code_servers(home))
    assert found.state is CheckState.WARNING
    assert "CODE_PORT" in found.remedy
    variables = environment(emulator, database_url, tmp_path / "state") | home
    assert not any(map(says_so, reasons(variables, datetime.now(UTC))))


def test_without_a_workspace_there_are_no_servers(tmp_path):
    assert addresses(tmp_path / "workspace.yaml", "apex_pipeline", {}) == []
    assert dagster_health.code_servers({}) == []


def test_the_server_of_another_team_says_nothing_of_ours(
    emulator, database_url, tmp_path
):
    with serving(LOADED) as address:
        host, _, port = address.partition(":")
        (tmp_path / "workspace.yaml").write_text(
            "load_from:\n"
            f"- grpc_server: {{host: {host}, port: {port}, location_name: apex_pipeline}}\n"
            "- grpc_server: {host: 127.0.0.1, port: 1, location_name: marketing}\n"
        )
        variables = environment(emulator, database_url, tmp_path / "state")
        variables |= {"DAGSTER_HOME": str(tmp_path)}
        assert not any(map(says_so, reasons(variables, datetime.now(UTC))))
        servers = dagster_health.code_servers(variables)
        assert dagster_health.code_location(servers).state is CheckState.OK


def says_so(reason: str) -> bool:
    return "The code location does not load" in reason


@pytest.mark.parametrize(("outcome", "count"), [(LOADED, 0), (BROKEN, 1)])
def test_the_status_from_outside_says_that_the_code_location_does_not_load(
    emulator, database_url, tmp_path, outcome, count
):
    variables = environment(emulator, database_url, tmp_path / "state")
    with serving(outcome) as address:
        host, _, port = address.partition(":")
        (tmp_path / "workspace.yaml").write_text(
            f"load_from: [{{grpc_server: {{host: {host}, port: {port}}}}}]"
        )
        found = reasons(variables | {"DAGSTER_HOME": str(tmp_path)}, datetime.now(UTC))
    assert len([*filter(says_so, found)]) == count
