import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from apex_pipeline.errors import ConfigError, DatabaseUnavailableError
from apex_pipeline.local import child_commands
from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline.local.port_holders import holder_of
from apex_pipeline.local.ports import HeldPorts
from apex_pipeline.local.supervisor import Supervisor
from apex_pipeline_tests.support.waiting import SECONDS, wait_until

Server = Callable[..., EmbeddedPostgres]

_START_AND_DIE = """
import os, signal, sys
from pathlib import Path
from apex_pipeline.local.embedded_postgres import EmbeddedPostgres

server = EmbeddedPostgres(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""

_NOBODY = 65534

needs_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root is refused"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a name that is easy to quote wrongly, closed to everyone else."""
    home = tmp_path / "a home"
    home.mkdir(mode=0o700)
    return home / "it's data"


@pytest.fixture
def make_new_server(folder: Path) -> Iterator[Server]:
    """Make servers on the folder; they are stopped, and their files removed."""
    made = []

    def make(**options) -> EmbeddedPostgres:
        made.append(EmbeddedPostgres(folder, **options))
        return made[-1]

    yield make
    for server in made:
        server.stop()
        shutil.rmtree(server.home, ignore_errors=True)


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the first start makes, of a server that was never started."""
    folder = tmp_path_factory.mktemp("server")
    EmbeddedPostgres(folder).prepare()
    # Each test has a port of its own.
    (folder / "port").unlink()
    return folder


@pytest.fixture
def make_server(make_new_server: Server, made_once: Path, folder: Path) -> Server:
    """The same, but initdb, which takes as long as all else, has run before."""
    if (made_once / "data").is_dir():
        shutil.copytree(made_once, folder)
    return make_new_server


def _ask(server: EmbeddedPostgres, question: str, database: str = "postgres") -> object:
    with psycopg.connect(server.url(database), autocommit=True) as connection:
        cursor = connection.execute(question)
        return cursor.fetchone() if cursor.description else None


def test_server_listens_on_loopback_alone_and_wants_its_password(
    make_new_server, folder
):
    server = make_new_server()
    server.start()

    assert _ask(server, "SHOW listen_addresses") == ("127.0.0.1",)
    assert _ask(server, "SHOW unix_socket_directories") == ("",)
    assert _ask(server, "SHOW fsync") == ("on",)
    assert stat.S_IMODE((folder / "password").stat().st_mode) == 0o600
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(server.url("postgres"), password="guess")


def test_data_and_port_survive_a_restart(make_server):
    server = make_server()
    server.start()
    server.create_database("kept")
    _ask(server, "CREATE TABLE rows AS SELECT 1 AS n", "kept")
    before = server.url("kept")
    server.stop()
    assert not server.pid

    server.start()
    server.create_database("kept")

    assert server.url("kept") == before
    assert _ask(server, "SELECT n FROM rows", "kept") == (1,)


def test_another_port_is_chosen_when_the_kept_one_is_taken(make_server, folder):
    server = make_server()
    server.prepare()
    with socket.socket() as other:
        other.bind(("127.0.0.1", int((folder / "port").read_text())))
        other.listen()

        server.start()

        assert _ask(server, "SELECT 1") == (1,)


@contextmanager
def taken(*address: str | int) -> Iterator[None]:
    """Listen at an address as soon as nothing else does."""
    held: list[socket.socket] = []

    def is_taken() -> bool:
        # The children of a killed server hold its port until they notice.
        with suppress(OSError):
            held.append(socket.create_server(address))
        return bool(held)

    wait_until(is_taken)
    with held[0]:
        yield


def test_a_port_that_a_stranger_took_is_waited_for_and_the_stranger_named(
    make_server, tmp_path
):
    """All other processes know the database by its port."""
    server, reports = make_server(settings={"fsync": "off"}), list[str]()
    with (
        HeldPorts() as ports,
        Supervisor(
            logs=tmp_path / "logs",
            record=tmp_path / "processes.json",
            report=reports.append,
            pause_seconds=0.01,
        ) as supervisor,
    ):
        server.prepare()
        port = server.port
        name = child_commands.DATABASE

        def is_ready() -> bool:
            supervisor.step()
            return supervisor.is_ready(name)

        assert ports.hold("127.0.0.1", port)
        supervisor.start(child_commands.database(server, ports))
        wait_until(is_ready)
        killed = server.pid
        assert killed
        os.kill(killed, signal.SIGKILL)
        with taken("127.0.0.1", port):

            def is_told() -> bool:
                supervisor.step()
                return any("has lost port" in each for each in reports)

            wait_until(is_told)
        [told, *_] = [each for each in reports if "has lost port" in each]
        assert f"has lost port {port} to process {os.getpid()} (" in told
        wait_until(is_ready)
        assert server.port == port
        assert _ask(server, "SELECT 1") == (1,)


@pytest.mark.skipif(sys.platform != "linux", reason="told by Linux alone")
def test_the_program_at_a_port_is_named_with_its_user():
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        told = holder_of(port)
    assert told.startswith(f"process {os.getpid()} ('")
    assert told.endswith(f" of user {pwd.getpwuid(os.getuid()).pw_name}")
    assert holder_of(port) == "another program"


def test_killed_server_starts_again_with_what_was_committed(make_server):
    server = make_server()
    server.start()
    _ask(server, "CREATE TABLE rows AS SELECT 1 AS n")
    os.kill(server.pid, signal.SIGKILL)
    server.stop()

    make_server().start()

    assert _ask(server, "SELECT n FROM rows") == (1,)


def test_pid_file_that_names_another_process_is_no_obstacle(make_server):
    server = make_server()
    server.start()
    pid_file = server.home / "data" / "postmaster.pid"
    content = pid_file.read_text().splitlines()
    server.stop()
    other = subprocess.Popen(["sleep", "600"])
    pid_file.write_text("\n".join([str(other.pid), *content[1:]]))
    try:
        assert not server.pid
        server.start()
        assert server.pid
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_orphan_of_a_killed_parent_is_stopped_first(make_server, folder):
    parent = subprocess.run(
        [sys.executable, "-c", _START_AND_DIE, str(folder)],
        stdout=subprocess.PIPE,
        check=False,
    )
    assert parent.returncode == -signal.SIGKILL
    server = make_server()
    assert server.pid == int(parent.stdout)

    server.start()

    assert server.pid != int(parent.stdout)
    assert _ask(server, "SELECT 1") == (1,)


def test_initdb_that_was_killed_half_way_is_done_again(make_new_server, folder):
    folder.mkdir()
    (folder / "initdb").mkdir()
    (folder / "initdb" / "PG_VERSION").write_text("18\n")
    (folder / "password").write_text("of the first attempt")

    server = make_new_server()
    server.start()

    assert _ask(server, "SELECT 1") == (1,)


def test_data_of_another_major_version_is_refused(make_server):
    server = make_server()
    server.prepare()
    (server.home / "data" / "PG_VERSION").write_text("17\n")

    with pytest.raises(ConfigError, match="created by Postgres 17"):
        server.prepare()


def test_server_that_does_not_start_shows_the_end_of_its_log(make_server):
    server = make_server(settings={"shared_buffers": "many"})

    with pytest.raises(DatabaseUnavailableError, match='value for parameter "shared_b'):
        server.start(timeout=600)


def test_supervisor_can_run_the_server_in_the_foreground(make_server):
    server = make_server()
    server.prepare()
    assert not server.ready()

    process = subprocess.Popen(server.command(), env=server.environment())
    server.wait_ready()
    assert server.ready()
    assert server.pid == process.pid

    process.send_signal(signal.SIGINT)
    assert process.wait(SECONDS) == 0
    assert not server.pid


@needs_root
def test_root_without_user_namespaces_runs_it_as_nobody(
    make_new_server, folder, tmp_path, monkeypatch
):
    # There is no `unshare` to be found, as if the call were forbidden.
    monkeypatch.setenv("PATH", str(tmp_path))
    server = make_new_server()
    server.start()
    first = server.pid

    assert Path(f"/proc/{first}").stat().st_uid != 0
    assert server.home.parent == Path("/var/tmp")
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700

    server.stop()
    monkeypatch.undo()
    server.start()
    assert _ask(server, "SELECT 1") == (1,)
    assert server.home.parent == Path("/var/tmp"), "the data stays where it is"


@needs_root
def test_root_goes_on_with_the_data_of_an_ordinary_user():
    # The account `nobody` cannot enter pytest's own folders.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        server = EmbeddedPostgres(Path(name))
        server.prepare()
        for path in (Path(name), server.home / "data", *server.home.rglob("*")):
            os.chown(path, _NOBODY, _NOBODY)

        server.start()
        user = Path(f"/proc/{server.pid}").stat().st_uid
        server.stop()

        assert user == _NOBODY


def test_a_server_that_shuts_down_and_waits_for_its_clients_is_not_well(make_server):
    server = make_server()
    server.start()
    assert server.health() is True
    with psycopg.connect(server.url("postgres")):
        os.kill(server.pid, signal.SIGTERM)
        wait_until(lambda: server.health() is False)
        assert server.pid


def test_a_server_that_is_suspended_is_not_well_and_holds_up_no_other_thread(
    make_server,
):
    server = make_server()
    server.start()
    os.kill(server.pid, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(server.health)
            longest, before = 0.0, time.monotonic()
            while not answer.done():
                time.sleep(0.01)
                now = time.monotonic()
                longest, before = max(longest, now - before), now
        assert answer.result() is False
        # It waits for five seconds; that it took them is no matter.
        assert longest < 4
    finally:
        os.kill(server.pid, signal.SIGCONT)


def test_a_server_that_recovers_is_left_to_it(make_server, folder):
    server = make_server()
    server.start()
    # Until there is such a file, it replays, and takes no connection.
    server.stop()
    (folder / "data" / "standby.signal").touch()
    recovering = make_server(settings={"hot_standby": "off"})
    recovering.prepare()
    with subprocess.Popen(
        recovering.command(), env=recovering.environment()
    ) as process:
        wait_until(lambda: recovering.health() is None, process)
        process.send_signal(signal.SIGINT)
