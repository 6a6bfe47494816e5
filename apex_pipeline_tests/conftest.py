"""A real Postgres for the tests: one server a session, one database a test."""

import gc
import os
import shutil
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from functools import cache
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import sqlparse
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline.postgres import migrations
from apex_pipeline.postgres.store import Store, connect
from apex_pipeline_tests.support.dagster_storage import (
    dagster_database,
    dagster_storage,
    emptied_instance,
    emptied_storage,
    shared_instance,
    shared_storage,
    tables_to_empty,
)
from apex_pipeline_tests.support.database_copies import (
    administer,
    create_copy,
    drop,
    stop_administering,
)
from apex_pipeline_tests.support.emulator_server import emulator, shared_emulator
from apex_pipeline_tests.support.examples import choose_few
from apex_pipeline_tests.support.forked_apex import forked_apex
from apex_pipeline_tests.support.memory_folder import memory_folder
from apex_pipeline_tests.support.other_servers import (
    POOLER_VARIABLE,
    SERVER_VARIABLE,
    InstalledPostgres,
    pooled,
    through,
)
from apex_pipeline_tests.support.process_state import unchanged_process
from apex_pipeline_tests.support.receivers import authority

__all__ = [
    "authority",
    "dagster_database",
    "dagster_storage",
    "emptied_instance",
    "emptied_storage",
    "emulator",
    "forked_apex",
    "shared_emulator",
    "shared_instance",
    "shared_storage",
    "tables_to_empty",
]

_MIGRATED = "migrated"
_OTHERS_TABLES = ("uuid_ids", "text_ids")
# No test pulls the plug on the shared server, and tests create many databases.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "256MB",
}
_SETTINGS_OF_16 = {"scram_iterations": "1"}

# Before the command line is read, which may choose otherwise.
choose_few()

_NO_AUTHORITY = Path(__file__).parent / "support" / "no_authority.pem"


def pytest_configure() -> None:
    """Let programs under test hear signals, and load nothing that none needs.

    A shell's background job ignores SIGINT, Dagster gives SIGTERM the same fate, and
    a child process inherits both. Reading the system's certificates costs each TLS
    context 30 ms, and the tests make thousands; they reach nothing beyond loopback.
    jsonschema's check of IRIs, which no schema has, costs each worker a second.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["SSL_CERT_FILE"] = str(_NO_AUTHORITY)
    os.environ["SSL_CERT_DIR"] = str(_NO_AUTHORITY.parent)
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]  # as if absent
    _keep_bytecode()


def _keep_bytecode() -> None:
    """Compile modules once where Python was told to write no bytecode beside them.

    Container images tell it so. Each of hundreds of processes would compile Dagster
    again, which takes four times as long as to load it.
    """
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
        folder = Path(__file__).parents[1] / ".pytest_cache" / "bytecode"
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(folder)
        sys.dont_write_bytecode = False


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Give each worker whole files, so that it alone sets up what their tests share.

    By default the workers take tests by turns. The one that is done first takes over
    the others' last.
    """
    # Neither option exists without xdist.
    if config.getoption("numprocesses", None) and config.option.dist == "no":
        config.option.dist = "worksteal"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage among the modules and tests, which stay to the end.

    There are millions of objects, and each search would go through them: a fifth of the
    time that it takes to load the tests, in each worker.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """Start two workers more than there are cores.

    The tests wait for servers and processes for a quarter of their time.
    """
    cores = yield
    return cores if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else cores + 2


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what was left out, and how to run it."""
    if "not slow" in config.option.markexpr:
        terminalreporter.write_line(
            "Left out: tests that take long, those that break what the pipeline stands "
            "on, those of the image, and most examples of property tests. Run them with: "
            "pytest -m 'slow or browser or hypothesis' --hypothesis-profile thorough, "
            "pytest -n 4 --dist loadfile -m chaos, and .ci/containers"
        )


@pytest.fixture(autouse=True)
def same_process() -> Iterator[None]:
    """Each test finds the process as if no other had run in it."""
    with unchanged_process():
        yield


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A running server; its data is gone after the session.

    The embedded one, unless a variable names another one's programs.
    """
    on_disk = tmp_path_factory.mktemp("postgres")
    programs = os.environ.get(SERVER_VARIABLE)
    with ExitStack() as cleanup:
        if programs:
            server: EmbeddedPostgres = InstalledPostgres(
                on_disk, Path(programs), _SETTINGS
            )
        else:
            folder = cleanup.enter_context(memory_folder(on_disk)) / "postgres"
            server = EmbeddedPostgres(folder, settings=_SETTINGS | _SETTINGS_OF_16)
        server.start()
        _hash_password_once(server)
        yield server
        stop_administering(server)
        server.stop()
        shutil.rmtree(server.home)
    shutil.rmtree(on_disk, ignore_errors=True)


def _hash_password_once(server: EmbeddedPostgres) -> None:
    """Hash the password in one round instead of 4096.

    It takes 3 ms less to check, on both sides, and the tests connect tens of thousands
    of times.
    """
    signed_in = conninfo_to_dict(server.url("postgres"))
    user, password = str(signed_in["user"]), str(signed_in["password"])
    administer(
        server,
        sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(user), password),
    )


@pytest.fixture(scope="session", autouse=True)
def migrations_split_once() -> Iterator[None]:
    """Split each file of migrations into its statements once.

    It takes two thirds of the time in which they are applied, which many tests do.
    """
    split = cache(sqlparse.split)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlparse, "split", lambda text: [*split(text)])
        yield


@pytest.fixture(scope="session")
def migrated_database(postgres: EmbeddedPostgres) -> str:
    """Name of a database with the whole schema, to copy from; never connect to it."""
    postgres.create_database(_MIGRATED)
    migrations.apply(postgres.url(_MIGRATED))
    return _MIGRATED


@pytest.fixture(scope="session")
def _numbers() -> Iterator[int]:
    return count(1)


@pytest.fixture(scope="session")
def _pooler_port(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int | None]:
    """Port of the PgBouncer before the server, if a variable names its program."""
    program = os.environ.get(POOLER_VARIABLE)
    if not program:
        yield None
        return
    folder = tmp_path_factory.mktemp("pooler")
    with pooled(postgres.url("postgres"), folder, program) as url:
        yield urlsplit(url).port


@pytest.fixture
def create_database(
    postgres: EmbeddedPostgres, _numbers: Iterator[int], _pooler_port: int | None
) -> Iterator[Callable[[str], str]]:
    """Create a database out of a template, for this test alone; returns its URL."""

    def create(template: str) -> str:
        name = f"test_{next(_numbers)}"
        create_copy(postgres, template, name)
        cleanup.callback(drop, postgres, name)
        url = postgres.url(name)
        return through(url, _pooler_port) if _pooler_port else url

    with ExitStack() as cleanup:
        yield create


@pytest.fixture
def database_url(create_database: Callable[[str], str], migrated_database: str) -> str:
    """URL of a database with the schema and no rows."""
    return create_database(migrated_database)


@pytest.fixture
def empty_database_url(create_database: Callable[[str], str]) -> str:
    """URL of a database with nothing in it."""
    return create_database("template1")


@pytest.fixture(
    params=["refuses", pytest.param("does not answer", marks=pytest.mark.slow)]
)
def unusable_url(request: pytest.FixtureRequest, postgres: EmbeddedPostgres) -> str:
    """URL of a database that refuses us, or of one that is waited for, which takes long."""
    if request.param == "refuses":
        return postgres.url("none")
    return "postgresql://u:p@127.0.0.1:1/none"


@pytest.fixture(params=_OTHERS_TABLES)
def adopted_url(request: pytest.FixtureRequest, empty_database_url: str) -> str:
    """URL of a database with a table, and rows, that other people's migration made."""
    _make_others_table(empty_database_url, request.param)
    return empty_database_url


@pytest.fixture(scope="session")
def adopted_databases(postgres: EmbeddedPostgres) -> Callable[[str], str]:
    """Names of databases like it that have our schema, too; never connect to them."""

    @cache
    def name(table: str) -> str:
        made = f"adopted_{table}"
        postgres.create_database(made)
        _make_others_table(postgres.url(made), table)
        migrations.apply(postgres.url(made))
        return made

    return name


@pytest.fixture(params=_OTHERS_TABLES)
def migrated_adopted_url(
    request: pytest.FixtureRequest,
    create_database: Callable[[str], str],
    adopted_databases: Callable[[str], str],
) -> str:
    """URL of a database with other people's table, and our schema beside it."""
    return create_database(adopted_databases(request.param))


def _make_others_table(url: str, name: str) -> None:
    script = Path(__file__).parent / "adopted" / f"{name}.sql"
    with psycopg.connect(url) as connection:
        connection.execute(script.read_bytes())


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A store on a database of its own."""
    with connect(database_url) as opened:
        yield opened
