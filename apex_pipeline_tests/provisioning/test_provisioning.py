"""Dataverse made ready, from whatever state it is found in."""

import asyncio
import dataclasses

import pytest

from apex_pipeline.dataverse.client import DataverseClient
from apex_pipeline.dataverse.environment import connect
from apex_pipeline.dataverse.throttling import Deadline
from apex_pipeline.errors import (
    AuthError,
    ConfigError,
    RejectedError,
    SchemaDriftError,
    TransientError,
)
from apex_pipeline.metrics import COLUMNS, TABLE
from apex_pipeline.provisioning import access_verification
from apex_pipeline.provisioning.administrator import load_administrator
from apex_pipeline.provisioning.dataverse import provision
from apex_pipeline.provisioning.desired_state import ChangeKind
from apex_pipeline.provisioning.existing_state import ROLE, SOLUTION
from apex_pipeline.provisioning.inspection import inspect
from apex_pipeline.settings import Credential
from apex_pipeline.sync.run import run_sync
from apex_pipeline.sync.run_options import SyncOptions
from apex_pipeline_tests.support.empty_environment import (
    APPLICATION,
    CRM,
    PATH,
    PATIENCE,
    SECRET,
    all_writes,
    api,
    application,
    column,
    empty_emulator,
    emulator,
    everything,
    held,
    made,
    made_once,
    make,
    replace_column,
    role_of,
    writes,
)
from apex_pipeline_tests.support.emulator_server import token, web_api
from apex_pipeline_tests.support.ends import (
    delivered,
    differences,
    emulator_settings,
    insert_many,
    marked,
)

__all__ = [
    "api",
    "application",
    "empty_emulator",
    "emulator",
    "made",
    "made_once",
    "make",
]
HASTE = dataclasses.replace(PATIENCE, effect=0.0, lost=0.0, attempts=1)


def test_from_nothing_to_a_sync_with_no_more_rights_than_it_needs(
    make, application, api, emulator, store, database_url, tmp_path
):
    outcome = make()
    assert [change.kind for change in outcome.plan.changes] == [
        ChangeKind.PUBLISHER,
        ChangeKind.SOLUTION,
        ChangeKind.TABLE,
        ChangeKind.ROLE,
        ChangeKind.PRIVILEGES,
        ChangeKind.USER,
        ChangeKind.ASSIGNMENT,
    ]
    assert len(outcome.applied) == 7
    assert emulator.records(TABLE) == []

    insert_many(database_url, 50)
    report = run_sync(store, application, tmp_path / "tokens.json", SyncOptions())
    assert (report.failure, report.delivered) == (None, 50)
    assert delivered(emulator) == marked(database_url)
    assert differences(emulator, database_url) == []


def test_the_table_is_what_the_column_map_says(made, api):
    table = api.get(f"{PATH}?$expand=Attributes").json()
    assert table["OwnershipType"] == "OrganizationOwned"
    assert table["PrimaryNameAttribute"] == "apex_runid"
    assert table["ChangeTrackingEnabled"] is True
    assert table["IsAuditEnabled"]["Value"] is True
    found = {each["LogicalName"]: each for each in table["Attributes"]}
    assert {column.dataverse for column in COLUMNS} <= found.keys()
    assert found["apex_phase"]["MaxLength"] == 16
    assert found["apex_costusd"]["Precision"] == 5
    assert found["apex_successrate"]["Precision"] == 2
    assert found["apex_successrate"]["MinValue"] == -100_000_000_000
    assert found["apex_tokensin"]["MaxValue"] == 2**31 - 1
    assert found["apex_createdat"]["Format"] == "DateAndTime"


def test_the_table_is_filed_in_the_solution_of_a_publisher_with_our_prefix(made, api):
    solution = api.get(
        f"solutions?$filter=uniquename eq '{SOLUTION}'&$select=_publisherid_value"
    ).json()["value"][0]
    publisher = api.get(f"publishers({solution['_publisherid_value']})").json()
    assert publisher["customizationprefix"] == "apex"
    components = api.get(
        f"solutioncomponents?$filter=_solutionid_value eq {solution['solutionid']}"
    ).json()["value"]
    assert sorted(each["componenttype"] for each in components) == [1, 20]


def test_the_role_cannot_delete(made, api, emulator):
    own = {name: depth for name, depth in held(api).items() if "SharePoint" not in name}
    assert own == dict.fromkeys(
        [
            "prvCreateapex_CampaignMetrics",
            "prvReadapex_CampaignMetrics",
            "prvWriteapex_CampaignMetrics",
            "prvReadEntity",
            "prvReadAttribute",
        ],
        "Global",
    )
    bearer = token(emulator, credential=SECRET, client_id=APPLICATION)
    key = "a9e00000-0000-4000-8000-000000000001"
    with web_api(emulator, bearer) as client:
        record = f"apex_campaignmetricses({key})"
        assert client.patch(record, json={"apex_runid": "r"}).status_code == 204
        refused = client.delete(record)
    assert refused.status_code == 403
    assert "prvDelete" in refused.text


def test_a_second_run_changes_nothing(made, make, emulator, api):
    before = everything(api)
    emulator.clear_requests()
    outcome = make()
    assert (outcome.plan.changes, outcome.applied) == ((), ())
    assert writes(emulator) == []
    assert everything(api) == before
    assert emulator.records(TABLE) == []


def test_a_plan_changes_nothing(make, emulator, api):
    before = everything(api)
    emulator.clear_requests()
    outcome = make(plan_only=True)
    assert len(outcome.plan.changes) == 7
    assert (outcome.applied, outcome.checks) == ((), ())
    assert all_writes(emulator) == []
    assert everything(api) == before


def test_missing_columns_are_added_to_a_table_that_is_there(made, make, api, emulator):
    names = ["apex_phase", "apex_costusd", "apex_createdat"]
    for name in names:
        api.delete(f"{PATH}/Attributes(LogicalName='{name}')").raise_for_status()
    emulator.clear_requests()
    outcome = make()
    assert [change.subject for change in outcome.plan.changes] == names
    assert len(writes(emulator)) == 3
    assert make().plan.changes == ()


def test_an_existing_tables_ownership_and_primary_name_are_accepted(make, api):
    label = {"LocalizedLabels": [{"Label": "Metrics", "LanguageCode": 1033}]}
    api.post(
        "EntityDefinitions",
        json={
            "@odata.type": f"{CRM}EntityMetadata",
            "SchemaName": "apex_CampaignMetrics",
            "DisplayName": label,
            "DisplayCollectionName": label,
            "OwnershipType": "UserOwned",
            "HasActivities": False,
            "HasNotes": False,
            "Attributes": [
                column("String", "apex_Name", IsPrimaryName=True, MaxLength=50),
                column("BigInt", "apex_TokensIn"),
                column("Memo", "apex_CampaignId", MaxLength=500),
            ],
        },
    ).raise_for_status()
    outcome = make()
    kinds = [change.kind for change in outcome.plan.changes]
    assert kinds.count(ChangeKind.COLUMN) == 11
    assert ChangeKind.SETTINGS in kinds
    assert kinds.count(ChangeKind.FILING) == 1
    table = api.get(PATH).json()
    assert table["OwnershipType"] == "UserOwned"
    assert table["PrimaryNameAttribute"] == "apex_name"
    assert table["ChangeTrackingEnabled"] is True
    assert table["IsAuditEnabled"]["Value"] is True
    assert make().plan.changes == ()


def components(api):
    """Kinds and ids of what is in our solution."""
    (solution,) = api.get(f"solutions?$filter=uniquename eq '{SOLUTION}'").json()[
        "value"
    ]
    return sorted(
        (each["componenttype"], each["objectid"])
        for each in api.get(
            f"solutioncomponents?$filter=_solutionid_value eq {solution['solutionid']}"
        ).json()["value"]
    )


@pytest.mark.parametrize("fault", [None, "drop_before", "drop_after"])
def test_a_table_and_a_role_made_elsewhere_are_moved_into_the_solution(
    made, make, api, emulator, fault
):
    before = components(api)
    for each in api.get("solutioncomponents").json()["value"]:
        path = f"solutioncomponents({each['solutioncomponentid']})"
        api.delete(path).raise_for_status()
    assert components(api) == []
    if fault:
        emulator.fault(fault, path="AddSolutionComponent")
    outcome = make()
    assert [c.kind for c in outcome.plan.changes] == [
        ChangeKind.FILING,
        ChangeKind.FILING,
    ]
    assert components(api) == before
    assert make().plan.changes == ()


@pytest.mark.parametrize(
    ("kind", "name", "facets", "text"),
    [
        ("String", "apex_tokensin", {}, "is String, not BigInt or Integer"),
        ("String", "apex_phase", {"MaxLength": 8}, "holds 8 characters, not 16"),
        (
            "Decimal",
            "apex_costusd",
            {"Precision": 4, "MinValue": -1e11, "MaxValue": 1e11},
            "keeps 4 decimal places, not 5",
        ),
        (
            "Decimal",
            "apex_costusd",
            {"Precision": 5, "MinValue": 0, "MaxValue": 1e11},
            "holds 0 to 100000000000",
        ),
        ("Integer", "apex_tokensout", {"MaxValue": 10**6}, "to 1000000, not"),
        ("DateTime", "apex_createdat", {"Format": "DateOnly"}, "has the format"),
    ],
)
def test_a_column_that_cannot_be_changed_is_reported_and_nothing_touched(
    made, make, api, emulator, kind, name, facets, text
):
    replace_column(api, kind, name, **facets)
    api.delete(f"{PATH}/Attributes(LogicalName='apex_tokensin')")
    if name == "apex_tokensin":
        api.post(f"{PATH}/Attributes", json=column(kind, name))
    assert_nothing_touched(make, api, emulator, name, text)


def assert_nothing_touched(make, api, emulator, *texts):
    before = everything(api)
    emulator.clear_requests()
    with pytest.raises(SchemaDriftError) as raised:
        make()
    for text in texts:
        assert text in str(raised.value)
    assert len(make(plan_only=True).plan.drifts) == len(str(raised.value).splitlines())
    assert all_writes(emulator) == []
    assert everything(api) == before


def test_every_drift_is_named_at_once(made, make, api, emulator):
    replace_column(api, "Integer", "apex_phase")
    replace_column(api, "String", "apex_campaignid", MaxLength=10)
    assert_nothing_touched(make, api, emulator, "apex_phase is", "apex_campaignid")


def test_a_role_that_may_delete_is_reported(made, make, api, emulator):
    listed = api.get(f"{PATH}?$select=Privileges").json()["Privileges"]
    delete = next(p["PrivilegeId"] for p in listed if p["PrivilegeType"] == "Delete")
    api.post(
        f"roles({role_of(api)})/{CRM}AddPrivilegesRole",
        json={"Privileges": [{"PrivilegeId": delete, "Depth": "Basic"}]},
    ).raise_for_status()
    assert_nothing_touched(make, api, emulator, "may delete records")


def test_a_disabled_application_user_is_reported(made, make, api, emulator):
    emulator.register(APPLICATION, client_secret=SECRET, disabled=True, roles=[ROLE])
    assert_nothing_touched(make, api, emulator, "is disabled")


def test_a_solution_of_another_publisher_is_reported(make, api, emulator):
    other = api.get("publishers?$select=publisherid").json()["value"][0]
    api.post(
        "solutions",
        json={
            "uniquename": SOLUTION,
            "friendlyname": "Theirs",
            "version": "1.0",
            "publisherid@odata.bind": f"/publishers({other['publisherid']})",
        },
    ).raise_for_status()
    assert_nothing_touched(make, api, emulator, "without the prefix")


def test_a_publisher_of_another_name_with_our_prefix_will_do(make, api):
    api.post(
        "publishers",
        json={
            "uniquename": "apexsales",
            "friendlyname": "Apex Sales",
            "customizationprefix": "apex",
        },
    ).raise_for_status()
    kinds = {change.kind for change in make().plan.changes}
    assert ChangeKind.PUBLISHER not in kinds
    assert ChangeKind.SOLUTION in kinds


class Interruption(BaseException):
    """Somebody pressed Ctrl-C."""


def test_interrupted_after_any_step_the_next_run_finishes(make, api):
    for left in range(6, 0, -1):

        def interrupt(_):
            raise Interruption

        with pytest.raises(Interruption):
            make(tell=interrupt)
        assert len(make(plan_only=True).plan.changes) == left
    assert len(make().applied) == 1
    assert make().plan.changes == ()


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "deadlock"])
def test_a_write_whose_answer_is_lost_is_made_once(make, emulator, kind):
    is_made = kind == "drop_after"
    for write in range(7):
        # The write before was sent a second time if its first request made nothing.
        emulator.fault(kind, method="POST", skip=0 if is_made else write)
    outcome = make()
    assert len(outcome.applied) == 7
    assert make().plan.changes == ()
    assert len(writes(emulator)) == (7 if is_made else 14)


def test_cut_off_in_any_write_the_next_run_finishes(make, emulator):
    for left in range(7, 0, -1):
        emulator.fault("drop_before", method="POST", skip=0 if left == 7 else 1)
        with pytest.raises(TransientError):
            make(patience=HASTE)
        assert len(make(plan_only=True).plan.changes) == left
    assert len(make().applied) == 1
    assert make().plan.changes == ()


@pytest.mark.parametrize("skip", [0, 1])
def test_cut_off_between_settings_and_publishing_the_next_run_finishes(
    made, make, emulator, api, skip
):
    definition = api.get(PATH).json()
    definition["IsAuditEnabled"]["Value"] = False
    api.put(PATH, json=definition).raise_for_status()
    emulator.fault(
        "drop_before", path="Entity|Publish", method="POST" if skip else "PUT"
    )
    outcome = make()
    assert [change.kind for change in outcome.plan.changes] == [ChangeKind.SETTINGS]
    assert api.get(PATH).json()["IsAuditEnabled"]["Value"] is True


def test_what_is_refused_is_not_tried_again(make, emulator):
    emulator.fault(status=400, code="0x80040203", message="no", count=99, method="POST")
    with pytest.raises(RejectedError, match="no"):
        make()
    assert len(writes(emulator)) == 1


def test_the_test_record_is_removed_although_its_answer_was_lost(made, make, emulator):
    emulator.fault("drop_after", method="PATCH", count=99)
    with pytest.raises(TransientError):
        make()
    assert any(r["method"] == "DELETE" for r in emulator.requests())
    assert emulator.records(TABLE) == []


def test_without_an_administrator_there_is_no_test_record(make, emulator):
    emulator.register(APPLICATION, client_secret=SECRET)
    outcome = make(administrator=None)
    assert ChangeKind.USER not in {change.kind for change in outcome.plan.changes}
    assert any("no test record" in check for check in outcome.checks)
    assert not any(r["method"] == "PATCH" for r in emulator.requests())
    again = make(administrator=None)
    assert again.plan.changes == ()
    assert "System Administrator" in again.plan.notes[0]


def test_a_write_that_is_denied_fails_verification(made, make, emulator):
    emulator.register(
        APPLICATION,
        client_secret=SECRET,
        roles=[ROLE],
        denied=["prvCreateapex_CampaignMetrics"],
    )
    with pytest.raises(AuthError, match="prvCreateapex_CampaignMetrics"):
        make(patience=HASTE)
    assert emulator.records(TABLE) == []


def test_privileges_that_the_service_does_not_show_fail_verification(
    made, emulator, tmp_path
):
    other = "dddddddd-0000-4000-8000-00000000a9e1"
    emulator.register(other, client_secret=SECRET, roles=[])

    async def verify_other():
        async with connect(emulator_settings(emulator), tmp_path / "t.json") as opened:
            client, deadline = opened.client, Deadline(60)
            found = await inspect(client, other, deadline)
            return await access_verification.verify(
                client, client, found, deadline, 0.0
            )

    with pytest.raises(AuthError, match=r"lacks .*Create, Read, Write"):
        asyncio.run(verify_other())
    assert all_writes(emulator) == []


def test_a_request_that_arrives_twice_is_no_failure(make, api, monkeypatch):
    """The service refuses the second one because of what the first has made."""
    once = DataverseClient.write

    async def twice(self, method, path, *rest, **more):
        await once(self, method, path, *rest, **more)
        if not path.startswith("roles"):
            await once(self, method, path, *rest, **more)

    monkeypatch.setattr(DataverseClient, "write", twice)
    assert len(make().applied) == 7
    assert make().plan.changes == ()


@pytest.mark.usefixtures("emulator")
def test_whoever_may_not_customize_is_told_what_is_needed(make, emulator):
    with pytest.raises(AuthError, match="APEX_ADMIN_"):
        make(administrator=None)


def test_the_organizations_switch_for_auditing_is_spoken_of(make, api):
    organization = api.get("organizations").json()["value"][0]["organizationid"]
    assert make(plan_only=True).plan.notes == ()
    api.patch(
        f"organizations({organization})", json={"isauditenabled": False}
    ).raise_for_status()
    (note,) = make(plan_only=True).plan.notes
    assert "it is off" in note


def test_half_an_administrator_is_a_mistake(emulator, application):
    variables = {"DATABASE_URL": "x", "DATAVERSE_RESOURCE": emulator.url}
    assert load_administrator(variables, application) is None
    with pytest.raises(ConfigError, match="APEX_ADMIN_CLIENT_SECRET must be set"):
        load_administrator(
            variables | {"APEX_ADMIN_TENANT_ID": "t", "APEX_ADMIN_CLIENT_ID": "c"},
            application,
        )


def test_a_client_id_that_is_none_is_a_mistake(application, tmp_path):
    wrong = dataclasses.replace(application, client_id="' or 1 eq 1")
    with pytest.raises(ConfigError, match="AZURE_CLIENT_ID"):
        provision(wrong, None, tmp_path / "tokens.json")


def test_every_application_user_is_made_and_verified(
    make, application, emulator, store, database_url, tmp_path
):
    second = "0d2f7c0a-3f0b-4a53-8a2e-7f3f0b1c9a22"
    emulator.register(second, client_secret=SECRET, user=False)
    users = dataclasses.replace(application, others=(Credential(second, SECRET),))

    def provision_both():
        return provision(
            users, emulator_settings(emulator), tmp_path / "t.json", patience=PATIENCE
        )

    outcome = provision_both()
    kinds = [change.kind for change in outcome.plan.changes]
    assert kinds.count(ChangeKind.USER) == kinds.count(ChangeKind.ASSIGNMENT) == 2
    assert kinds.count(ChangeKind.TABLE) == kinds.count(ChangeKind.ROLE) == 1
    assert len(outcome.applied) == len(kinds)
    assert [check.partition(":")[0] for check in outcome.checks].count(second) == 3
    assert provision_both().applied == ()

    insert_many(database_url, 50)
    report = run_sync(store, users, tmp_path / "tokens.json", SyncOptions())
    assert (report.failure, report.delivered, report.refused) == (None, 50, ())


def test_a_disabled_further_user_is_listed_and_nothing_is_changed(
    made, application, emulator, tmp_path
):
    second = "0d2f7c0a-3f0b-4a53-8a2e-7f3f0b1c9a22"
    emulator.register(second, client_secret=SECRET, disabled=True, roles=[ROLE])
    users = dataclasses.replace(application, others=(Credential(second, SECRET),))
    emulator.clear_requests()
    with pytest.raises(SchemaDriftError, match=f"user of {second} is disabled"):
        provision(users, emulator_settings(emulator), tmp_path / "t", patience=PATIENCE)
    assert writes(emulator) == []
