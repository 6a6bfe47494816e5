"""The doctor: break one thing, see its lines and no others, do as it says, all is well."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial

import psycopg
import pytest

from apex_pipeline.errors import ConfigError
from apex_pipeline.metrics import TABLE
from apex_pipeline.microsoft.http_transport import token_http
from apex_pipeline.microsoft.token_cache import TokenCacheFile
from apex_pipeline.microsoft.tokens import TokenSource
from apex_pipeline.monitoring.doctor import dagster_health
from apex_pipeline.monitoring.doctor.check_results import CheckLine, CheckState
from apex_pipeline.monitoring.doctor.checklist import look
from apex_pipeline.monitoring.doctor.dagster_health import InstanceHealth, Setup
from apex_pipeline.monitoring.doctor.surroundings import Surroundings
from apex_pipeline.postgres import migrations
from apex_pipeline.postgres.database import Database
from apex_pipeline.provisioning.existing_state import ROLE
from apex_pipeline.provisioning.table_definition import table_definition
from apex_pipeline_tests.support.aged_trail import daily
from apex_pipeline_tests.support.empty_environment import (
    APPLICATION,
    CRM,
    PATH,
    SECRET,
    all_writes,
    api,
    empty_emulator,
    made_once,
    make_everything,
    replace_column,
    role_of,
)
from apex_pipeline_tests.support.emulator_server import campaign_metric
from apex_pipeline_tests.support.ends import (
    campaign_row,
    emulator_settings,
    environment,
    insert,
)
from apex_pipeline_tests.support.identities import Cluster, served_machine
from apex_pipeline_tests.support.receivers import mail_server, workflow

__all__ = ["api", "empty_emulator", "made_once"]

USER = "application user"
SECRET_NAME = "AZURE_CLIENT_SECRET"
MAILBOX = "apex@example.com"
BY_MAIL = "alerts by email"
BY_TEAMS = "alerts by teams"
TABLE_LINE = f"table {TABLE}"


@pytest.fixture
def provisioned(emulator, tmp_path):
    """Provisions again."""
    return partial(make_everything, emulator, tmp_path / "tokens.json")


@pytest.fixture
def emulator(empty_emulator, made_once):
    empty_emulator.restore(made_once)
    empty_emulator.clear_faults()
    empty_emulator.clear_requests()
    return empty_emulator


@pytest.fixture(scope="module")
def relay(authority):
    with mail_server(authority, "plain") as served:
        yield served


@pytest.fixture
def variables(emulator, database_url, tmp_path, relay):
    relay.envelopes.clear()
    return environment(emulator, database_url, tmp_path) | {
        "AZURE_CLIENT_ID": APPLICATION,
        "AZURE_CLIENT_SECRET": SECRET,
        "APEX_CLIENT_SECRET_EXPIRES_ON": str(date.today() + timedelta(days=90)),  # noqa: DTZ011  a person's calendar
        "APEX_ADMIN_TENANT_ID": emulator.tenant_id,
        "APEX_ADMIN_CLIENT_ID": emulator.client_id,
        "APEX_ADMIN_CLIENT_SECRET": emulator.client_secret,
        "APEX_ALERT_EMAIL_TO": "ops@example.com",
        "APEX_ALERT_EMAIL_FROM": MAILBOX,
        "APEX_SMTP_URL": f"smtp://localhost:{relay.port}",
    }


def now():
    return datetime.now(UTC)


def alive(_: Mapping[str, str]) -> InstanceHealth:
    return InstanceHealth(
        {"SCHEDULER": now(), "SENSOR": now()}, False, True, now(), None, GOOD
    )


GOOD = Setup(
    storage="Postgres",
    is_shared=True,
    places=4,
    counts_runs=True,
    pools={"apex_pipeline/writer": 1},
    is_monitored=True,
    max_runtime_seconds=7200,
    keeps_ticks=False,
)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"storage": "SqliteRunStorage"}, "SqliteRunStorage, not in Postgres"),
        ({"is_shared": False}, "not the one in DAGSTER_POSTGRES_URL"),
        ({"places": None}, "not queued"),
        ({"counts_runs": False}, "granularity run"),
        ({"pools": {"apex_pipeline/writer": None}}, "writer has no limit"),
        ({"is_monitored": False}, "monitoring is off"),
        ({"max_runtime_seconds": 0}, "no max_runtime_seconds"),
        ({"keeps_ticks": True}, "kept for ever"),
    ],
)
def test_an_instance_that_lacks_one_of_our_settings_is_red(change, told):
    instance = InstanceHealth({}, False, True, None, None, replace(GOOD, **change))
    found = dagster_health.settings(instance)
    assert found.state is CheckState.FAILED
    assert told in found.measured


def test_a_web_server_on_another_storage_is_red():
    instance = alive({})
    there = {kind: at for kind, at in instance.heartbeats.items() if at}
    assert dagster_health.web_server(instance, there).state is CheckState.OK
    elsewhere = {kind: at - timedelta(hours=1) for kind, at in there.items()}
    assert dagster_health.web_server(instance, None).state is CheckState.WARNING
    nothing: dict[str, datetime] = {}
    for seen in (nothing, elsewhere):
        found = dagster_health.web_server(instance, seen)
        assert found.state is CheckState.FAILED
        assert "SCHEDULER, SENSOR" in found.measured


def verify(url):
    """Verify and anchor the audit trail, as its daily job does."""
    with Database(url, application_name="tests") as database:
        daily(database)


@pytest.fixture
def doctor(variables, database_url):
    """Look at everything, after the daily jobs; lines by name."""
    verify(database_url)

    def examine(*, dagster=alive, seconds=60.0, without=(), more=(), **changes):
        changed = {k: v for k, v in variables.items() if k not in without} | changes
        around = Surroundings(dagster, seconds=seconds, **dict(more))
        return {line.name: line for line in look(changed, around)}

    return examine


def red(lines: Mapping[str, CheckLine]) -> set[str]:
    return {line.name for line in lines.values() if line.state is CheckState.FAILED}


def well(lines: Mapping[str, CheckLine]) -> bool:
    return {line.state for line in lines.values()} == {CheckState.OK}


def causes(lines: Mapping[str, CheckLine]) -> set[str]:
    return {x.measured for x in lines.values() if x.state is CheckState.NOT_CHECKED}


def test_after_provisioning_all_is_well_and_nothing_was_changed(
    doctor, emulator, relay
):
    lines = doctor()
    assert well(lines), [line for line in lines.values() if line.state != CheckState.OK]
    assert len(lines) == 35
    assert all(line.measured and line.target for line in lines.values())
    assert all_writes(emulator) == []
    assert relay.envelopes == []


def test_an_audit_trail_that_was_never_verified_is_not_ok(doctor, database_url):
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM audit_verification")
    lines = doctor()
    assert lines["audit trail"].state is CheckState.NOT_CHECKED
    assert "not verified and anchored yet" in lines["audit trail"].measured


def test_it_names_what_proves_the_identity(doctor):
    assert doctor()["token"].measured.endswith("by client secret")


def test_a_managed_identity_is_named_and_has_nothing_to_renew(
    doctor, emulator, monkeypatch
):
    with served_machine() as machine:
        settings = emulator_settings(
            emulator, client_id=APPLICATION, client_secret=SECRET
        )
        with token_http(settings.ca_bundle) as http:
            cache = TokenCacheFile(emulator.ca_bundle.parent / "machine.json")
            machine.token = TokenSource(settings, cache, http).acquire
            monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", machine.url)
            lines = doctor(without=[SECRET_NAME], APEX_MANAGED_IDENTITY="user")
    assert well(lines), red(lines)
    assert "user-assigned managed identity" in lines["token"].measured
    assert "nothing to renew" in lines["secret or certificate"].measured
    assert machine.asked


def test_a_workload_identity_is_named_and_has_nothing_to_renew(
    doctor, emulator, tmp_path
):
    cluster = Cluster(emulator, APPLICATION, tmp_path / "token")
    cluster.register()
    cluster.issue()
    lines = doctor(without=[SECRET_NAME], AZURE_FEDERATED_TOKEN_FILE=str(cluster.file))
    assert well(lines), red(lines)
    assert f"workload identity, token from {cluster.file}" in lines["token"].measured
    assert "nothing to renew" in lines["secret or certificate"].measured
    cluster.issue(seconds=-3600)
    lines = doctor(without=[SECRET_NAME], AZURE_FEDERATED_TOKEN_FILE=str(cluster.file))
    assert red(lines) == {"token"}


def test_without_an_administrator_little_remains_unseen(doctor):
    lines = doctor(
        without=[f"APEX_ADMIN_{n}" for n in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET")]
    )
    unseen = {line.name for line in lines.values() if line.state is not CheckState.OK}
    assert unseen == {"auditing of the environment"}
    assert "APEX_ADMIN_" in lines["auditing of the environment"].remedy


def test_writing_is_tried_on_a_record_and_leaves_it_as_it_was(doctor, emulator, api):
    record = campaign_metric(apex_phase="7-8")
    del record["@odata.type"]
    api.post("apex_campaignmetricses", json=record).raise_for_status()
    (before,) = emulator.records(TABLE)
    emulator.clear_requests()
    lines = doctor()
    assert well(lines)
    assert record["apex_campaignmetricsid"] in lines["create and write"].measured
    assert len(all_writes(emulator)) == 1
    (after,) = emulator.records(TABLE)
    ours = {name for name in before if name.startswith("apex_")}
    assert {n: after[n] for n in ours} == {n: before[n] for n in ours}

    emulator.register(
        APPLICATION,
        client_secret=SECRET,
        roles=[ROLE],
        denied=["prvWriteapex_CampaignMetrics"],
    )
    lines = doctor()
    assert red(lines) == {"create and write"}
    assert "prvWrite" in lines["create and write"].measured


def test_what_somebody_writes_meanwhile_stays(doctor, emulator, api):
    record = campaign_metric(apex_phase="7-8")
    del record["@odata.type"]
    api.post("apex_campaignmetricses", json=record).raise_for_status()
    emulator.fault("slow", method="PATCH", delay=1.5)
    with ThreadPoolExecutor() as pool:
        looking = pool.submit(doctor)
        while not any(r["fault"] == "slow" for r in emulator.requests()):
            assert not looking.done(), looking.result()
            time.sleep(0.01)
        path = f"apex_campaignmetricses({record['apex_campaignmetricsid']})"
        api.patch(path, json={"apex_phase": "9-9"}).raise_for_status()
        lines = looking.result()
    assert well(lines)
    assert "by someone else" in lines["create and write"].measured
    (after,) = emulator.records(TABLE)
    assert after["apex_phase"] == "9-9"


def delete_column(api, emulator):
    api.delete(f"{PATH}/Attributes(LogicalName='apex_phase')").raise_for_status()


def audit_no_more(api, emulator):
    definition = api.get(PATH).json()
    definition["IsAuditEnabled"]["Value"] = False
    api.put(PATH, json=definition).raise_for_status()


def track_no_changes(api, emulator):
    """What is switched on stays on, so this is a table that was made without."""
    api.delete(PATH).raise_for_status()
    posted = table_definition(1033) | {"ChangeTrackingEnabled": False}
    api.post("EntityDefinitions", json=posted).raise_for_status()
    grant(api, "Create", "Read", "Write")


def grant(api, *operations):
    listed = api.get(f"{PATH}?$select=Privileges").json()["Privileges"]
    api.post(
        f"roles({role_of(api)})/{CRM}AddPrivilegesRole",
        json={
            "Privileges": [
                {"PrivilegeId": p["PrivilegeId"], "Depth": "Global"}
                for p in listed
                if p["PrivilegeType"] in operations
            ]
        },
    ).raise_for_status()


def take_the_role_away(api, emulator):
    emulator.register(APPLICATION, client_secret=SECRET, roles=[])


def delete_the_role(api, emulator):
    api.delete(f"roles({role_of(api)})").raise_for_status()


def delete_the_user(api, emulator):
    emulator.register(APPLICATION, client_secret=SECRET, user=False)


@pytest.mark.parametrize(
    ("harm", "lines_of_it", "cause"),
    [
        (delete_column, {"columns"}, "because of: columns"),
        (audit_no_more, {"auditing"}, None),
        (track_no_changes, {"change tracking"}, None),
        (take_the_role_away, {"privileges", "role"}, "because of: privileges"),
        (delete_the_role, {"privileges", "role"}, "because of: privileges"),
        (delete_the_user, {USER}, f"because of: {USER}"),
    ],
)
def test_what_provisioning_mends(
    doctor, emulator, api, provisioned, harm, lines_of_it, cause
):
    harm(api, emulator)
    lines = doctor()
    assert red(lines) == lines_of_it
    assert causes(lines) == ({cause} if cause else set())
    for name in lines_of_it:
        assert "apex provision dataverse" in lines[name].remedy
    provisioned()
    assert well(doctor())


def test_a_table_that_is_gone_has_lost_its_privileges_too(doctor, api, provisioned):
    api.delete(PATH).raise_for_status()
    lines = doctor()
    assert red(lines) == {TABLE_LINE}
    assert causes(lines) == {f"because of: {TABLE_LINE}"}
    provisioned()
    assert well(doctor())


def test_a_column_that_only_a_person_can_mend_is_named_with_what_to_do(doctor, api):
    replace_column(api, "String", "apex_phase", MaxLength=8)
    lines = doctor()
    assert red(lines) == {"columns"}
    assert "holds 8 characters, not 16. Raise" in lines["columns"].measured
    replace_column(api, "String", "apex_phase", MaxLength=16)
    assert well(doctor())


def test_a_role_that_may_delete(doctor, api, emulator, made_once):
    grant(api, "Delete")
    lines = doctor()
    assert red(lines) == {"role"}
    assert "remove that privilege" in lines["role"].remedy
    alone = doctor(
        without=[f"APEX_ADMIN_{n}" for n in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET")]
    )
    assert red(alone) == {"role"}
    emulator.restore(made_once)
    assert well(doctor())


def test_an_application_that_may_do_everything_is_a_warning(doctor, emulator):
    emulator.register(
        APPLICATION, client_secret=SECRET, roles=[ROLE, "System Administrator"]
    )
    lines = doctor()
    assert red(lines) == set()
    assert lines["role"].state is CheckState.WARNING
    assert "System Administrator" in lines["role"].measured


def test_a_disabled_application_user(doctor, emulator):
    emulator.register(APPLICATION, client_secret=SECRET, disabled=True, roles=[ROLE])
    lines = doctor()
    assert red(lines) == {USER}
    assert "enable it in the Power Platform" in lines[USER].remedy
    emulator.register(APPLICATION, client_secret=SECRET, roles=[ROLE])
    assert well(doctor())


def test_a_wrong_and_an_expired_secret(doctor, emulator):
    lines = doctor(AZURE_CLIENT_SECRET="wrong")
    assert red(lines) == {"token"}
    assert causes(lines) == {"because of: token"}
    assert "AZURE_CLIENT_SECRET is wrong" in lines["token"].measured
    emulator.register(APPLICATION, client_secret=SECRET, expired=True, roles=[ROLE])
    lines = doctor()
    assert red(lines) == {"token"}
    assert "create a new one and set it" in lines["token"].measured
    emulator.register(APPLICATION, client_secret="new", roles=[ROLE])
    assert well(doctor(AZURE_CLIENT_SECRET="new"))


def test_when_the_secret_expires_is_noted_by_a_person(doctor):
    name = "secret or certificate"
    (line,) = [
        x for x in doctor(APEX_CLIENT_SECRET_EXPIRES_ON="").values() if x.name == name
    ]
    assert line.state is CheckState.WARNING
    assert "APEX_CLIENT_SECRET_EXPIRES_ON" in line.remedy
    today = now().date()
    soon = doctor(APEX_CLIENT_SECRET_EXPIRES_ON=str(today + timedelta(days=5)))
    assert (soon[name].state, red(soon)) == (CheckState.WARNING, set())
    over = doctor(APEX_CLIENT_SECRET_EXPIRES_ON=str(today - timedelta(days=1)))
    assert red(over) == {name}
    malformed = doctor(APEX_CLIENT_SECRET_EXPIRES_ON="soon")
    assert red(malformed) == {"configuration"}
    assert malformed[name].measured == "because of: configuration"


def test_when_the_secret_expires_is_read_from_the_directory_where_that_is_allowed(
    doctor, emulator
):
    def granted(end, **more):
        grants = {"permissions": ["Application.Read.All"], "secret_ends": end}
        emulator.register(
            APPLICATION, client_secret=SECRET, roles=[ROLE], graph=grants, **more
        )
        return doctor(APEX_CLIENT_SECRET_EXPIRES_ON="")

    name = "secret or certificate"
    lines = granted(str(now() + timedelta(days=90)))
    assert well(lines)
    assert "by Microsoft Graph" in lines[name].measured
    lines = granted(str(now() + timedelta(days=5)))
    assert (lines[name].state, red(lines)) == (CheckState.WARNING, set())


def test_no_alert_channel_is_a_warning_with_what_to_set(doctor):
    lines = doctor(
        without=["APEX_SMTP_URL", "APEX_ALERT_EMAIL_TO", "APEX_ALERT_EMAIL_FROM"]
    )
    unwell = [line for line in lines.values() if line.state is not CheckState.OK]
    assert [(line.name, line.state) for line in unwell] == [
        ("alert channels", CheckState.WARNING)
    ]
    assert "APEX_TEAMS_WEBHOOK_URL" in unwell[0].remedy


def test_an_alert_channel_that_is_malformed(doctor):
    lines = doctor(APEX_SMTP_URL="nonsense", APEX_TEAMS_WEBHOOK_URL="http://x")
    assert red(lines) == {"configuration"}
    assert causes(lines) == {"because of: configuration"}
    assert "APEX_SMTP_URL" in lines["configuration"].measured
    assert "APEX_TEAMS_WEBHOOK_URL" in lines["configuration"].measured
    lines = doctor(APEX_CA_BUNDLE="/no/ca.pem")
    assert red(lines) == {"configuration"}
    assert causes(lines) == {"because of: configuration"}


def test_a_mail_server_that_is_dead(doctor):
    lines = doctor(APEX_SMTP_URL="smtp://localhost:9")
    assert red(lines) == {BY_MAIL}
    assert "localhost:9: no answer" in lines[BY_MAIL].measured
    assert "docs/alerts.md" in lines[BY_MAIL].remedy


def bundle_of(path, *files):
    path.write_text("".join(file.read_text() for file in files))
    return str(path)


def test_teams_and_heartbeat_are_connected_to_and_sent_nothing(
    doctor, authority, emulator, tmp_path
):
    both = bundle_of(tmp_path / "both.pem", emulator.ca_bundle, authority.ca_bundle)
    with workflow(authority) as teams:
        urls = {"APEX_TEAMS_WEBHOOK_URL": teams.url, "APEX_HEARTBEAT_URL": teams.url}
        lines = doctor(APEX_CA_BUNDLE=both, **urls)
        assert well(lines), lines
        assert "not pinged" in lines["heartbeat"].measured
        assert (teams.connections, teams.paths) == (2, [])
        lines = doctor(**urls)
        assert red(lines) == {BY_TEAMS, "heartbeat"}
        assert "APEX_CA_BUNDLE" in lines[BY_TEAMS].measured
        assert not any("sentinel" in str(line) for line in lines.values())


def test_a_test_message_is_sent_when_asked_for_and_each_line_says_who_took_it(
    doctor, authority, emulator, relay, tmp_path
):
    both = bundle_of(tmp_path / "both.pem", emulator.ca_bundle, authority.ca_bundle)
    asked = {"send_test": True}.items()
    with workflow(authority) as teams:
        url = {"APEX_TEAMS_WEBHOOK_URL": teams.url, "APEX_CA_BUNDLE": both}
        lines = doctor(more=asked, **url)
        assert well(lines)
        assert lines[BY_TEAMS].measured == "accepted a test message"
        assert (len(teams.cards), len(relay.envelopes)) == (1, 1)
        teams.answers.append((404, {}))
        lines = doctor(more=asked, **url)
    assert red(lines) == {BY_TEAMS}
    assert lines[BY_MAIL].measured == "accepted a test message"


def test_mail_by_graph_needs_a_token_and_then_the_mailbox(doctor, emulator):
    by_graph = {"APEX_SMTP_URL": "graph:"}
    asked = {"send_test": True}.items()
    assert well(doctor(**by_graph))
    lines = doctor(more=asked, **by_graph)
    assert red(lines) == {BY_MAIL}
    assert "Mail.Send" in lines[BY_MAIL].measured
    emulator.register(
        APPLICATION,
        client_secret=SECRET,
        roles=[ROLE],
        graph={"mailboxes": [MAILBOX]},
    )
    assert well(doctor(more=asked, **by_graph))
    assert len(emulator.mail()) == 1

    lines = doctor(AZURE_CLIENT_SECRET="wrong", **by_graph)
    assert red(lines) == {"token"}
    assert causes(lines) == {"because of: token"}
    assert lines[BY_MAIL].state is CheckState.NOT_CHECKED
    lines = doctor(AZURE_TENANT_ID="", **by_graph)
    assert red(lines) == {"configuration"}
    assert lines[BY_MAIL].state is CheckState.NOT_CHECKED


def test_a_clock_that_is_wrong(doctor):
    lines = doctor(more={"now": lambda: now() + timedelta(seconds=75)}.items())
    assert red(lines) == {"clock of Postgres", "clock of Dataverse"}
    assert "s ahead" in lines["clock of Postgres"].measured
    assert "NTP" in lines["clock of Dataverse"].remedy


def test_a_certificate_that_nobody_vouches_for(doctor):
    lines = doctor(APEX_CA_BUNDLE="")
    assert red(lines) == {"TLS", "token"}
    assert "APEX_CA_BUNDLE" in lines["TLS"].remedy


def test_dataverse_down(doctor, emulator):
    emulator.fault("status", status=503, count=None)
    lines = doctor()
    assert red(lines) == {"Dataverse"}
    assert causes(lines) == {"because of: Dataverse"}
    emulator.clear_faults()
    assert well(doctor())


def test_an_address_that_is_no_environment(doctor, emulator):
    emulator.fault("html", status=404, count=None)
    lines = doctor()
    assert red(lines) == {"Dataverse"}
    assert "DATAVERSE_RESOURCE" in lines["Dataverse"].remedy


def test_a_full_disk(doctor):
    lines = doctor(more={"min_free_bytes": 2**62}.items())
    assert red(lines) == {"disk"}
    assert "APEX_STATE_DIR" in lines["disk"].remedy


def test_a_configuration_that_is_half_wrong_is_a_line_and_else_an_error(doctor):
    lines = doctor(AZURE_TENANT_ID="")
    assert red(lines) == {"configuration"}
    assert "AZURE_TENANT_ID" in lines["configuration"].measured
    assert lines["database"].state is CheckState.OK
    assert "token" not in lines
    lines = doctor(DATABASE_URL="mysql://u@h/d")
    assert red(lines) == {"configuration"}
    assert lines["token"].state is CheckState.OK
    assert red(doctor(APEX_ADMIN_CLIENT_ID="")) == {"configuration"}
    wrong = {"APEX_TIME_ZONE": "Mars/X", "APEX_PANEL_PORT": "99999"}
    lines = doctor(**wrong)
    assert red(lines) == {"configuration"}
    assert all(name in lines["configuration"].measured for name in wrong)
    with pytest.raises(ConfigError, match=r"mysql(.|\n)*AZURE_TENANT_ID"):
        doctor(DATABASE_URL="mysql://u@h/d", AZURE_TENANT_ID="")


def execute(url, statement):
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


@pytest.mark.parametrize(
    ("line", "numbers", "statement"),
    [
        (
            "migrations",
            ["0006"],
            "DELETE FROM _yoyo_migration WHERE migration_id = '0006_ledger'",
        ),
        ("indexes", ["0004"], "DROP INDEX campaign_metrics_pending_idx"),
        (
            "indexes",
            ["0004"],
            """
            UPDATE pg_index SET indisvalid = false
            WHERE indexrelid = 'campaign_metrics_pending_idx'::regclass
            """,
        ),
        ("tables and views", ["0005"], "DROP VIEW campaign_metrics_pending"),
        # With what later migrations have added, and the guards that build on those.
        ("tables and views", ["0006", "0012"], "DROP TABLE dataverse_pacing"),
        (
            "tables and views",
            ["0006", "0012", "0023", "0024", "0025"],
            "DROP TABLE sync_run",
        ),
    ],
)
def test_what_provisioning_the_database_mends(
    doctor, database_url, line, numbers, statement
):
    execute(database_url, statement)
    lines = doctor()
    assert red(lines) == {line}
    assert causes(lines) == {f"because of: {line}"}
    assert "apex provision database" in lines[line].remedy
    lost = migrations.pending(database_url)
    assert [name[:4] for name in lost] == numbers
    assert migrations.apply(database_url) == lost
    assert migrations.pending(database_url) == []
    assert well(doctor())


def test_an_empty_database(doctor, empty_database_url):
    assert red(doctor(DATABASE_URL=empty_database_url)) == {"migrations"}
    migrations.apply(empty_database_url)
    verify(empty_database_url)
    assert well(doctor(DATABASE_URL=empty_database_url))


def test_a_table_that_holds_what_it_never_should_costs_its_own_line(
    doctor, database_url
):
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "ALTER TABLE sync_run DROP CONSTRAINT sync_run_status_check;"
            "INSERT INTO sync_run (started_at, finished_at, status, host)"
            " VALUES (now(), now(), 'odd', 'h')"
        )
    lines = doctor()
    assert red(lines) == {"tables and views"}
    assert causes(lines) == {"because of: tables and views"}
    assert "ValueError" in lines["tables and views"].measured


def test_a_column_that_is_gone_is_named(doctor, database_url):
    execute(database_url, "ALTER TABLE sync_run DROP COLUMN error")
    lines = doctor()
    assert red(lines) == {"tables and views"}
    assert "error" in lines["tables and views"].measured


@pytest.mark.slow
def test_an_adopted_table_is_well_except_for_a_key_that_it_never_had(
    doctor, migrated_adopted_url
):
    verify(migrated_adopted_url)
    with psycopg.connect(migrated_adopted_url) as connection:
        connection.execute("UPDATE campaign_metrics SET exported_at = now()")
    assert well(doctor(DATABASE_URL=migrated_adopted_url))
    with psycopg.connect(migrated_adopted_url) as connection:
        found = connection.execute(
            "SELECT conname FROM pg_constraint WHERE contype IN ('p', 'u')"
            " AND conrelid = 'campaign_metrics'::regclass"
        ).fetchall()
        for (name,) in found:
            connection.execute(
                f'ALTER TABLE campaign_metrics DROP CONSTRAINT "{name}" CASCADE'
            )
        connection.execute("CREATE INDEX ON campaign_metrics (id)")
    lines = doctor(DATABASE_URL=migrated_adopted_url)
    assert red(lines) == set()
    assert lines["key of campaign_metrics"].state is CheckState.WARNING
    execute(migrated_adopted_url, "ALTER TABLE campaign_metrics ADD UNIQUE (id)")
    assert well(doctor(DATABASE_URL=migrated_adopted_url))


def test_the_plan_is_that_of_a_large_table_too(doctor, database_url):
    """With an index that leads elsewhere the pending rows would have to be sorted."""
    execute(
        database_url,
        "DROP INDEX campaign_metrics_pending_idx;"
        "CREATE INDEX campaign_metrics_pending_idx ON campaign_metrics (phase)",
    )
    lines = doctor()
    assert red(lines) == {"pending query"}
    assert "no index" in lines["pending query"].measured or (
        "campaign_metrics_created_at_idx" in lines["pending query"].measured
    )


def test_postgres_down(doctor):
    lines = doctor(DATABASE_URL="postgresql://u:p@127.0.0.1:9/d")
    assert red(lines) == {"database"}
    assert causes(lines) == {"because of: database"}
    assert "DATABASE_URL" in lines["database"].remedy


def test_rows_that_wait_while_no_run_succeeds(doctor, database_url, store):
    insert(database_url, [campaign_row(created_at=now())])
    assert well(doctor())
    insert(database_url, [campaign_row()])
    lines = doctor()
    assert red(lines) == {"last success"}
    assert "never, 2 rows pending" in lines["last success"].measured
    assert "apex sync" in lines["last success"].remedy
    execute(
        database_url,
        "INSERT INTO sync_run (started_at, finished_at, status, host)"
        " VALUES (now(), now(), 'success', 'here')",
    )
    assert well(doctor())
    execute(
        database_url,
        "UPDATE sync_run SET finished_at = now() - interval '1 hour';"
        "INSERT INTO sync_run (started_at, finished_at, status, host, error)"
        " VALUES (now(), now(), 'failure', 'here', 'it was the moon')",
    )
    lines = doctor()
    assert red(lines) == {"last success"}
    assert "the moon" in lines["last success"].remedy
