import json
import os
import shutil
import socket
import stat
import tempfile
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import yaml
from psycopg.conninfo import conninfo_to_dict

from apex_pipeline.errors import ApexError, ConfigError
from apex_pipeline.local import child_commands
from apex_pipeline.local.code_socket import code_socket
from apex_pipeline.local.embedded_roles import PANEL_LOGIN, SYNC_LOGIN
from apex_pipeline.local.local_services import LocalServices
from apex_pipeline.local.ports import HeldPorts
from apex_pipeline.local.preparing import (
    prepare_dagster_home,
    prepare_services,
    prepare_tenants,
)
from apex_pipeline.monitoring import code_server
from apex_pipeline.settings import load_settings, panel_access, state_dir
from apex_pipeline_tests.support.ends import free_port

REAL = {
    "DATABASE_URL": "postgresql://neon:pa55@db.example/campaigns?sslmode=require",
    "DATAVERSE_RESOURCE": "https://org.crm.dynamics.com",
    "AZURE_TENANT_ID": "contoso.example",
    "AZURE_CLIENT_ID": "client",
    "AZURE_CLIENT_SECRET": "s3cret",
}
START = "APEX_HISTORY_START"
OWN_STORAGE = {
    "DAGSTER_POSTGRES_URL": "postgresql://dagster:d4g@storage.example/dagster"
}


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded Postgres as a first start leaves it, never started."""
    folder = tmp_path_factory.mktemp("state")
    prepare(folder)
    return folder / "postgres"


@pytest.fixture(autouse=True)
def made_before(made_once: Path, tmp_path: Path) -> None:
    """Spares each test initdb, which takes a third of a second.

    No test here starts the server, so all may have the same files.
    """
    if (made_once / "data").is_dir():
        shutil.copytree(made_once, tmp_path / "postgres", copy_function=os.link)


def prepare(folder: Path, **environment: str) -> LocalServices:
    with HeldPorts() as ports:
        return hold(ports, folder, **environment)


def hold(ports: HeldPorts, folder: Path, **environment: str) -> LocalServices:
    given = {"APEX_STATE_DIR": str(folder), **environment}
    return prepare_services(given, ports, ui_port=free_port())


def command_lines(services: LocalServices) -> str:
    made = [
        child_commands.code_server(services),
        child_commands.web_server(services.instance),
        child_commands.daemon(services.instance),
        child_commands.demo_writer(services),
        child_commands.panel(services),
    ]
    if services.postgres:
        made.append(child_commands.database(services.postgres, services.ports))
    if services.certificates:
        made.append(child_commands.emulator(services, services.certificates))
    return "\n".join(" ".join(child.command()) for child in made)


def test_with_nothing_set_everything_is_local_and_the_settings_are_whole(tmp_path):
    services = prepare(tmp_path)

    assert child_commands.names(services) == [
        "database",
        "emulator",
        "panel",
        "Dagster code server",
    ]
    assert child_commands.shared_names(services.instance) == [
        "Dagster UI",
        "Dagster daemon",
    ]
    settings = load_settings(services.environment)
    assert settings.dataverse.resource.startswith("https://localhost:")
    assert settings.dataverse.authority.startswith(settings.dataverse.resource)
    assert settings.state_dir == tmp_path
    assert services.environment["DAGSTER_HOME"] == str(tmp_path / "dagster")
    assert (
        services.environment["DAGSTER_POSTGRES_URL"]
        .partition("?")[0]
        .endswith("/dagster")
    )


def test_with_everything_real_nothing_of_it_is_started(tmp_path):
    services = prepare(tmp_path, **REAL, **OWN_STORAGE)

    assert child_commands.names(services) == ["panel", "Dagster code server"]
    shared = child_commands.shared_names(services.instance)
    assert shared == ["Dagster UI", "Dagster daemon"]
    assert not services.instance.owns_storage
    for name, value in (REAL | OWN_STORAGE).items():
        assert services.environment[name] == value


def test_dagster_gets_a_storage_of_its_own_beside_real_services(tmp_path):
    services = prepare(tmp_path, **REAL)

    assert [each.name for each in services.databases] == ["dagster"]
    assert services.certificates is None
    assert services.environment["DATABASE_URL"] == REAL["DATABASE_URL"]
    assert services.url_file is None


def test_local_and_real_are_mixed_when_named(tmp_path):
    services = prepare(
        tmp_path,
        **REAL
        | {
            "DATAVERSE_RESOURCE": "emulator",
            "AZURE_CLIENT_CERTIFICATE_PATH": "/real/certificate.pem",
        },
    )

    settings = load_settings(services.environment)
    assert "db.example" in settings.database_url
    assert settings.dataverse.resource.startswith("https://localhost:")
    assert settings.dataverse.client_secret != REAL["AZURE_CLIENT_SECRET"]
    assert settings.dataverse.certificate_path is None


@pytest.fixture
def usual_port(monkeypatch: pytest.MonkeyPatch) -> int:
    """The panel's port if none is set; another `apex up` may have the real one."""
    port = free_port()
    monkeypatch.setattr(panel_access, "DEFAULT_PANEL_PORT", port)
    return port


def test_the_panel_gets_out_of_the_way_of_what_has_its_usual_port(tmp_path, usual_port):
    with socket.create_server(("127.0.0.1", usual_port)):
        services = prepare(tmp_path)
        assert services.panel.port != usual_port
    assert services.environment["APEX_PANEL_PORT"] == str(services.panel.port)
    assert prepare(tmp_path).panel.port == usual_port


def test_a_panels_port_that_you_have_chosen_is_not_replaced(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ApexError, match=rf"Port {port} is in use.*APEX_PANEL_PORT"):
            prepare(tmp_path, APEX_PANEL_PORT=str(port))
    assert prepare(tmp_path, APEX_PANEL_PORT=str(port)).panel.port == port


def test_who_starts_second_chooses_other_ports_before_anything_runs(
    tmp_path, usual_port
):
    """Seconds pass between the choice of a port and the moment a child listens."""
    with HeldPorts() as ports, HeldPorts() as others:
        first = hold(ports, tmp_path / "first")
        shutil.copytree(tmp_path / "first", tmp_path / "second")
        second = hold(others, tmp_path / "second")
        for each in (first, second):
            assert each.postgres
        assert first.panel.port == usual_port
        numbers = [
            port
            for each in (first, second)
            for port in (
                each.panel.port,
                each.instance.ui.port,
                each.emulator_port,
                each.postgres.port if each.postgres else 0,
            )
        ]
        assert len(set(numbers)) == 8


def test_a_child_inherits_the_port_that_is_held_for_it_and_no_other_gets_it():
    """Between two children too: whoever listened there would be shown the token."""
    with HeldPorts() as ports:
        port = ports.hold_any("127.0.0.1")
        with ports.hand_over(port) as inherited:
            assert inherited.getsockname() == ("127.0.0.1", port)
        # It has ended.
        with HeldPorts() as others:
            assert not others.hold("127.0.0.1", port)
        with pytest.raises(OSError, match="in use"):
            socket.create_server(("127.0.0.1", port))
        with ports.hand_over(port) as again:
            assert again.getsockname() == ("127.0.0.1", port)
    socket.create_server(("127.0.0.1", port)).close()


def test_a_client_that_comes_between_two_children_is_served_by_the_next():
    with HeldPorts() as ports:
        port = ports.hold_any("127.0.0.1")
        with socket.create_connection(("127.0.0.1", port), 30) as client:
            with ports.hand_over(port) as listener, listener.accept()[0] as visitor:
                visitor.sendall(b"served")
            assert client.recv(6) == b"served"


def test_our_processes_believe_the_embedded_server_alone(tmp_path):
    """Other tools may have a libpq that does not know the parameter."""
    services = prepare(tmp_path)
    urls = [
        services.environment["DATABASE_URL"],
        services.environment["DAGSTER_POSTGRES_URL"],
        services.announcement["DATABASE_URL"],
        *(
            services.as_login(each)["DATABASE_URL"]
            for each in (SYNC_LOGIN, PANEL_LOGIN)
        ),
    ]
    for url in urls:
        assert conninfo_to_dict(url)["require_auth"] == "scram-sha-256"
    plain = (tmp_path / "database.url").read_text()
    assert "require_auth" not in plain
    assert plain == urls[0].partition("?")[0]


def test_a_port_below_1024_or_a_foreign_address_is_named(tmp_path):
    with HeldPorts() as ports, pytest.raises(ApexError, match=r"192\.0\.2\.1, port 9"):
        ports.hold("192.0.2.1", 9)


def test_the_panel_is_told_what_it_needs_and_no_more(tmp_path):
    secrets = {
        "APEX_ADMIN_CLIENT_SECRET": "adm1n",
        "APEX_SMTP_URL": "smtp://user:m4il@host",
        "APEX_TEAMS_WEBHOOK_URL": "https://teams.example/?sig=t34ms",
    }
    services = prepare(
        tmp_path, **REAL, **OWN_STORAGE, **secrets, APEX_PANEL_TOKEN="p4nel" * 4
    )
    told = child_commands.panel(services).environment
    assert told.items() >= REAL.items()
    assert told["APEX_PANEL_TOKEN"] == "p4nel" * 4
    everything = " ".join(told.values())
    for secret in ("adm1n", "m4il", "t34ms", "d4g"):
        assert secret not in everything


def test_a_panel_for_other_machines_needs_a_token_before_anything_runs(tmp_path):
    with pytest.raises(ConfigError, match="set APEX_PANEL_TOKEN"):
        prepare(tmp_path, APEX_PANEL_HOST="0.0.0.0")  # noqa: S104  refused


def test_one_end_without_the_other_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="DATAVERSE_RESOURCE is not"):
        prepare(tmp_path, DATABASE_URL=REAL["DATABASE_URL"])


def test_addresses_and_secrets_stay_the_same_from_start_to_start(tmp_path):
    # Another `apex up` on this machine may take the usual one, or leave it.
    panel = {"APEX_PANEL_PORT": str(free_port())}
    first, second = (dict(prepare(tmp_path, **panel).environment) for _ in range(2))
    # The UI's port is an option of the command.
    for each in (first, second):
        del each["APEX_DAGSTER_URL"]
    assert first == second


def test_a_panel_that_had_to_move_stays_where_it_is_until_its_place_is_free(
    tmp_path, usual_port
):
    with socket.create_server(("127.0.0.1", usual_port)):
        first, second = (prepare(tmp_path).panel.port for _ in range(2))
    assert first == second != usual_port
    assert prepare(tmp_path).panel.port == usual_port


def test_the_history_of_a_local_database_begins_where_dagsters_partitions_do(tmp_path):
    start = date.fromisoformat(prepare(tmp_path).environment["APEX_HISTORY_START"])
    assert 730 <= (datetime.now(UTC).date() - start).days <= 734
    (tmp_path / "history-start").write_text("2020-05-04")
    for given, expected in ({}, "2020-05-04"), ({START: "2021-01-01"}, "2021-01-01"):
        assert prepare(tmp_path, **given).environment[START] == expected
    assert START not in prepare(tmp_path, **REAL).environment


def test_a_port_that_somebody_has_taken_is_replaced(tmp_path):
    before = prepare(tmp_path)

    with socket.create_server(("127.0.0.1", before.emulator_port)):
        after = prepare(tmp_path)

    assert after.emulator_port != before.emulator_port


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - that is the case
def test_a_port_is_not_free_while_somebody_listens(address):
    with socket.create_server((address, 0)) as server:
        port = server.getsockname()[1]
        with HeldPorts() as ports:
            assert not ports.hold("127.0.0.1", port)
    with HeldPorts() as ports:
        assert ports.hold("127.0.0.1", port)


def test_no_secret_is_on_a_command_line(tmp_path):
    services = prepare(tmp_path)
    lines = command_lines(services)

    password = services.environment["DATABASE_URL"].split(":")[2].split("@")[0]
    assert password not in lines
    assert services.environment["AZURE_CLIENT_SECRET"] not in lines


def test_the_emulator_learns_its_secret_and_nothing_of_the_pipeline(tmp_path):
    services = prepare(tmp_path)
    assert services.certificates
    environment = child_commands.emulator(services, services.certificates).environment

    secret = services.environment["AZURE_CLIENT_SECRET"]
    assert environment["EMULATOR_CLIENT_SECRET"] == secret
    assert not {"DATABASE_URL", "DAGSTER_POSTGRES_URL", "AZURE_CLIENT_SECRET"} & set(
        environment
    )


def test_a_real_applications_secret_is_not_announced(tmp_path):
    real, local = prepare(tmp_path / "real", **REAL), prepare(tmp_path / "local")

    assert REAL["AZURE_CLIENT_SECRET"] not in json.dumps(real.announcement)
    secret = local.environment["AZURE_CLIENT_SECRET"]
    assert local.announcement["AZURE_CLIENT_SECRET"] == secret
    # Where people look is, also where another port had to be taken.
    assert local.announcement["APEX_PANEL_PORT"] == str(local.panel.port)
    assert local.announcement["APEX_DAGSTER_URL"] == local.ui_url


@pytest.mark.parametrize(
    "name", ["application.json", "database.url", "webserver.secret"]
)
def test_files_with_secrets_are_for_their_owner_alone(tmp_path, name):
    prepare(tmp_path)

    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "url",
    [
        REAL["DATABASE_URL"],
        "psql 'postgresql://u:hidden@db.example/campaigns'",
        "host=db.example dbname=campaigns password=hidden",
    ],
)
def test_the_databases_place_is_shown_without_the_password(tmp_path, url):
    services = prepare(tmp_path, **REAL | {"DATABASE_URL": url}, **OWN_STORAGE)

    assert services.database_place == "postgresql://db.example:5432/campaigns"


def test_a_proxy_is_not_asked_for_this_machine(tmp_path):
    services = prepare(tmp_path, HTTPS_PROXY="http://proxy:3128", NO_PROXY="intranet")

    for name in ("NO_PROXY", "no_proxy"):
        listed = services.environment[name].split(",")
        assert {"localhost", "127.0.0.1"} <= set(listed)
    assert "intranet" in services.environment["NO_PROXY"]
    assert services.environment["HTTPS_PROXY"] == "http://proxy:3128"


def test_relative_paths_hold_in_the_childrens_folder_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    services = prepare(tmp_path, **REAL, **OWN_STORAGE, APEX_CA_BUNDLE="our/ca.pem")

    assert services.environment["APEX_CA_BUNDLE"] == str(tmp_path / "our" / "ca.pem")


def test_dagsters_home_holds_the_instance_and_the_workspace(tmp_path):
    services = prepare(tmp_path, **REAL, **OWN_STORAGE)
    prepare_dagster_home(services)

    checkout = Path(__file__).parents[2] / "dagster.yaml"
    home = services.instance.home
    assert (home / "dagster.yaml").read_bytes() == checkout.read_bytes()
    # Read as Dagster reads it, whatever characters the path has.
    workspace = yaml.safe_load((home / "workspace.yaml").read_text())
    [server] = [each["grpc_server"] for each in workspace["load_from"]]
    assert server["socket"] == str(services.code_socket)
    found = code_server.addresses(home / "workspace.yaml", server["location_name"], {})
    assert found == [f"unix:{services.code_socket}"]


@pytest.mark.parametrize("length", [10, 200])
def test_the_code_servers_socket_can_be_bound_and_reached_by_its_owner_alone(
    tmp_path, length
):
    """A path of more than 107 bytes cannot be bound."""
    path = code_socket(made(tmp_path / ("ü" * (length // 2))))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
    path.unlink()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_the_socket_of_a_long_state_folder_stays_and_is_its_own(tmp_path):
    first, second = (made(tmp_path / (letter * 120)) for letter in "ab")
    assert code_socket(first) == code_socket(first) != code_socket(second)


def test_a_sockets_folder_that_somebody_else_has_made_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    state = made(tmp_path / ("a" * 120))
    folder = code_socket(state).parent
    folder.rmdir()
    folder.symlink_to(made(tmp_path / "theirs"))
    with pytest.raises(ConfigError, match="needs a folder of your own"):
        code_socket(state)


def test_an_open_sockets_folder_is_closed_again(tmp_path):
    (tmp_path / "sockets").mkdir(mode=0o777)
    folder = code_socket(tmp_path).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_ui_listens_beyond_this_machine_with_a_token_alone(tmp_path):
    everywhere = "0.0.0.0"  # noqa: S104  that is the case
    given = {"APEX_STATE_DIR": str(tmp_path)}
    port = free_port()
    with HeldPorts() as ports:
        with pytest.raises(ConfigError, match="set APEX_PANEL_TOKEN"):
            prepare_services(given, ports, ui_port=port, ui_host=everywhere)
        given["APEX_PANEL_TOKEN"] = "p4nel" * 4
        services = prepare_services(given, ports, ui_port=port, ui_host=everywhere)
    line = child_commands.web_server(services.instance).command()
    assert line[line.index("--host") + 1] == everywhere
    assert services.ui_url == f"http://127.0.0.1:{port}"


def test_each_start_has_a_secret_of_its_own_in_a_file_and_on_no_command_line(tmp_path):
    first, second = prepare(tmp_path), prepare(tmp_path)
    assert first.instance.own_secret != second.instance.own_secret
    assert second.instance.secret_file.read_text() == second.instance.own_secret
    assert second.instance.own_secret not in command_lines(second)
    assert second.instance.own_secret not in repr(second)
    assert second.instance.own_secret not in " ".join(second.environment.values())


def test_whom_a_person_trusts_is_trusted_besides_the_emulator(tmp_path):
    """A mail server in your own network is not the emulator's."""
    ours = tmp_path / "ours.pem"
    ours.write_text("-----ours-----\n")
    services = prepare(tmp_path / "state", APEX_CA_BUNDLE=str(ours))
    assert services.certificates is not None
    both = Path(services.environment["APEX_CA_BUNDLE"]).read_text()
    assert "-----ours-----" in both
    assert services.certificates.authority.read_text() in both
    with pytest.raises(ConfigError, match="not a file"):
        prepare(tmp_path / "state", APEX_CA_BUNDLE="/no/ca.pem")


def tenants(folder: Path, ports: HeldPorts) -> tuple[LocalServices, ...]:
    given = {"APEX_STATE_DIR": str(folder)}
    each = [
        given | {"APEX_TENANT": name, "APEX_PANEL_TOKEN": f"sentinel-token-of-{name}"}
        for name in ("acme", "globex")
    ]
    return prepare_tenants(given, each, ports, ui_port=free_port())


def test_tenants_share_the_instance_and_nothing_of_their_own(tmp_path):
    with HeldPorts() as ports:
        acme, globex = tenants(tmp_path, ports)
        prepare_dagster_home(acme, globex)
    assert acme.instance is globex.instance
    assert acme.instance.home == tmp_path / "dagster"
    for variable in ("DATABASE_URL", "DATAVERSE_RESOURCE", "AZURE_CLIENT_SECRET"):
        assert acme.environment[variable] != globex.environment[variable]
    for each in (acme, globex):
        assert each.environment["DAGSTER_HOME"] == str(tmp_path / "dagster")
        assert state_dir(each.environment) == each.state
    assert (
        len({each.environment["DAGSTER_POSTGRES_URL"] for each in (acme, globex)}) == 1
    )
    assert len({acme.code_socket, globex.code_socket}) == 2
    assert len({each.panel.port for each in (acme, globex)}) == 2


def test_the_workspace_of_tenants_lists_a_location_for_each_and_four_places(tmp_path):
    with HeldPorts() as ports:
        both = tenants(tmp_path, ports)
        prepare_dagster_home(*both)
    home = both[0].instance.home
    servers = [
        entry["grpc_server"]
        for entry in yaml.safe_load((home / "workspace.yaml").read_text())["load_from"]
    ]
    assert [(each["location_name"], each["socket"]) for each in servers] == [
        (f"apex_pipeline-{each.tenant.name}", str(each.code_socket)) for each in both
    ]
    runs = yaml.safe_load((home / "dagster.yaml").read_text())["concurrency"]["runs"]
    assert runs["max_concurrent_runs"] == 8


def test_no_child_is_told_a_secret_of_a_tenant_that_is_not_its_own(tmp_path):
    with HeldPorts() as ports:
        acme, globex = tenants(tmp_path, ports)
    children = [
        child_commands.web_server(acme.instance),
        child_commands.daemon(acme.instance),
        child_commands.code_server(globex),
        child_commands.panel(globex),
    ]
    secrets = {acme.environment[name] for name in ("DATABASE_URL", "APEX_PANEL_TOKEN")}
    secrets.add(acme.environment["AZURE_CLIENT_SECRET"])
    for child in children:
        assert not secrets & set(child.environment.values()), child.name


def test_a_child_of_a_tenant_is_named_after_it_and_waits_for_its_own_database(tmp_path):
    with HeldPorts() as ports:
        acme, _ = tenants(tmp_path, ports)
    server = child_commands.code_server(acme)
    assert server.name == "Dagster code server of acme"
    assert list(server.after) == ["database", "database of acme"]
    assert child_commands.kind(server.name) == child_commands.CODE_SERVER
    assert list(child_commands.daemon(acme.instance).after) == [
        "Dagster code server of acme",
        "Dagster code server of globex",
    ]
