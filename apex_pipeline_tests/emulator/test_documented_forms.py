"""What the documentation says and public clients send; each test names its page."""

import json
from uuid import uuid4

import httpx
import pytest

from apex_pipeline_tests.support.emulator_server import (
    CRLF,
    SET,
    UPSERT,
    api,
    campaign_metric,
    change_set,
    dial,
    multipart,
    operation,
    send,
    timed_emulator,
    web_api,
)

__all__ = ["api", "dial", "timed_emulator"]

CRM = "Microsoft.Dynamics.CRM"
TABLE = "EntityDefinitions(LogicalName='apex_campaignmetrics')"
FORMATTED = "OData.Community.Display.V1.FormattedValue"


def error(answer):
    return answer.status_code, answer.json()["error"]["message"]


def make(api, collection, **columns):
    answer = api.post(collection, json=columns)
    assert answer.status_code == 204, answer.text
    return answer.headers["OData-EntityId"].partition(f"{collection}(")[2][:-1]


def names(answer, column="name"):
    assert answer.status_code == 200, answer.text
    return [row[column] for row in answer.json()["value"]]


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/xml"])
def test_a_body_that_is_not_declared_as_json_is_refused(api, emulator, content_type):
    """Compose HTTP requests and handle errors."""
    del api.headers["Content-Type"]
    headers = {"Content-Type": content_type} if content_type else {}
    for method, url in (("POST", "accounts"), ("PATCH", f"accounts({uuid4()})")):
        answer = api.request(method, url, content=b'{"name": "x"}', headers=headers)
        assert answer.status_code == 415
    assert emulator.records("account") == []


@pytest.mark.parametrize("encoding", ["", "Content-Transfer-Encoding: 8bit\r\n"])
def test_a_part_without_its_transfer_encoding_is_refused(api, emulator, encoding):
    """Execute batch operations using the Web API; nothing before it is done either."""
    good = operation("POST", f"/api/data/v9.2/{SET}", {"apex_phase": "1"})
    bad = good.replace(f"Content-Transfer-Encoding: binary{CRLF}", encoding)
    answer = send(api, [good, bad])
    assert (answer.status_code, emulator.records()) == (400, [])
    assert "Content-Transfer-Encoding" in answer.text


def test_a_content_id_stands_once_in_a_change_set(api, emulator):
    """OData 4.0, 11.7.2, to which the page on batches refers."""
    url = f"/api/data/v9.2/{SET}"
    parts = [operation("POST", url, {"apex_phase": "1"}, 7) for _ in range(2)]
    answer = send(api, [change_set(*parts)])
    assert (answer.status_code, emulator.records()) == (400, [])
    assert "content ID '7'" in answer.text


def test_a_patch_in_a_batch_tells_its_location(api):
    """Execute batch operations using the Web API."""
    url = f"/api/data/v9.2/accounts({uuid4()})"
    answer = send(api, [operation("PATCH", url, {"name": "x"})])
    assert f"Location: {api.base_url}accounts(" in answer.text


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        (f"not {CRM}.In(PropertyName='name',PropertyValues=['x'])", "Not operator"),
        ("name eq numberofemployees", "incompatible types"),
        ("name eq primarycontactid/fullname", "one table"),
        ('name eq "x"', "Syntax error"),
    ],
)
def test_conditions_that_are_refused(api, condition, text):
    """Use Web API functions; Filter rows using OData."""
    status, message = error(api.get("accounts", params={"$filter": condition}))
    assert (status, text in message) == (400, True)


@pytest.mark.parametrize(
    "body", [{}, {"ParameterXml": "<open>"}, {"ParameterXml": "<other/>"}]
)
def test_publishing_takes_xml(api, body):
    """PublishXml Action."""
    assert api.post("PublishXml", json=body).status_code == 400
    whole = {"ParameterXml": "<importexportxml><entities/></importexportxml>"}
    assert api.post("PublishXml", json=whole).status_code == 204


@pytest.mark.parametrize("name", ["HasNotes", "HasActivities"])
def test_a_table_says_whether_it_has_notes_and_activities(api, name):
    """Create and update table definitions using the Web API."""
    label = {"LocalizedLabels": [{"Label": "x", "LanguageCode": 1033}]}
    posted = {
        "@odata.type": f"{CRM}.EntityMetadata",
        "SchemaName": "apex_Thing",
        "DisplayName": label,
        "DisplayCollectionName": label,
        "OwnershipType": "UserOwned",
        "HasNotes": False,
        "HasActivities": False,
        "Attributes": [],
    }
    del posted[name]
    status, message = error(api.post("EntityDefinitions", json=posted))
    assert (status, name in message) == (400, True)


def test_a_navigation_property_counts_letter_by_letter(api):
    """Troubleshoot Web API client errors."""
    user = api.get("WhoAmI").json()["UserId"]
    owner = f"/systemusers({user})"
    assert api.post("accounts", json={"ownerid@odata.bind": owner}).status_code == 204
    for wrong in ("OrganizationId", "apex_nothing"):
        status, message = error(api.post(SET, json={f"{wrong}@odata.bind": owner}))
        assert (status, "only has property annotations" in message) == (400, True)


def test_a_bound_message_needs_its_namespace(api):
    """Use Web API actions."""
    body = {"Targets": [campaign_metric()]}
    status, message = error(api.post(f"{SET}/UpsertMultiple", json=body))
    assert (status, message) == (400, "Request message has unresolved parameters.")
    assert api.post(UPSERT, json=body).status_code == 204


def test_parameter_aliases_stand_in_query_functions(api):
    """Use Web API functions; values inline, quoted and not, work as well."""
    make(api, "accounts", name="x", numberofemployees=7)
    for condition, more in (
        ("LastXHours(PropertyName=@p1,PropertyValue=@p2)", "&@p1='createdon'&@p2=2"),
        ("LastXHours(PropertyName='createdon',PropertyValue='2')", ""),
        ("In(PropertyName=@p1,PropertyValues=@p2)", "&@p1='name'&@p2=['x','y']"),
        ("In(PropertyName=@p1,PropertyValues=@p2)", "&@p1='name'&@p2=[\"x\"]"),
        ("Between(PropertyName='numberofemployees',PropertyValues=['5','9'])", ""),
        ("EqualUserId(PropertyName='createdby')", ""),
        ("OnOrAfter(PropertyName='createdon',PropertyValue='2020-01-01')", ""),
    ):
        assert names(api.get(f"accounts?$filter={CRM}.{condition}{more}")) == ["x"]
    for condition in (
        "OlderThanXMinutes(PropertyName='createdon',PropertyValue=1)",
        "Yesterday(PropertyName='createdon')",
    ):
        assert names(api.get(f"accounts?$filter={CRM}.{condition}")) == []


@pytest.mark.parametrize(
    ("function", "hours"),
    [
        ("Today(PropertyName='createdon')", {0: True, 13: True, 25: False}),
        ("LastXDays(PropertyName='createdon',PropertyValue=1)", {30: True, 50: False}),
        ("LastXHours(PropertyName='createdon',PropertyValue=3)", {3: True, 4: False}),
        (
            "OlderThanXHours(PropertyName='createdon',PropertyValue=3)",
            {3: False, 4: True},
        ),
        (
            "OlderThanXMonths(PropertyName='createdon',PropertyValue=1)",
            {24 * 20: False, 24 * 40: True},
        ),
    ],
)
def test_spans_of_time(timed_emulator, dial, function, hours):
    """Web API query functions; the clock starts at eight in the morning."""
    with web_api(timed_emulator) as api:
        make(api, "accounts", name="x")
        start = dial.now
        for later, expected in hours.items():
            dial.now = start + later * 3600
            with web_api(timed_emulator) as fresh:
                found = names(fresh.get(f"accounts?$filter={CRM}.{function}"))
            assert (found == ["x"]) is expected, later


def test_columns_of_lookups_in_queries(api):
    """Filter rows, Order rows and Aggregate data using OData."""
    for first, count in (("Ada", 2), ("Bob", 1)):
        contact = make(api, "contacts", firstname=first)
        for number in range(count):
            bind = {"primarycontactid@odata.bind": f"/contacts({contact})"}
            make(api, "accounts", name=f"{first} {number}", **bind)
    make(api, "accounts", name="none")
    by = "primarycontactid/fullname"
    assert names(api.get(f"accounts?$filter={by} eq 'Bob'")) == ["Bob 0"]
    pages = names(
        api.get(
            f"accounts?$orderby={by} desc,name",
            headers={"Prefer": "odata.maxpagesize=9"},
        )
    )
    assert pages == ["Bob 0", "Ada 0", "Ada 1", "none"]
    first = api.get(
        f"accounts?$orderby={by}", headers={"Prefer": "odata.maxpagesize=3"}
    )
    following = api.get(first.json()["@odata.nextLink"])
    assert names(first)[0] == "none"
    assert names(following) == ["Bob 0"]
    grouped = api.get(f"accounts?$apply=groupby(({by}),aggregate($count as n))")
    assert {"n": 2, "contact_fullname": "Ada"} in grouped.json()["value"]
    assert {"n": 1} in grouped.json()["value"]
    some = "account_primary_contact/any(a:a/name eq 'Ada 1')"
    assert names(api.get(f"contacts?$filter={some}"), "fullname") == ["Ada"]
    every = "account_primary_contact/all(a:contains(a/name,'0'))"
    assert names(api.get(f"contacts?$filter={every}"), "fullname") == ["Bob"]


@pytest.mark.parametrize(
    "prefer",
    [
        [("Prefer", 'odata.include-annotations="*"')],
        [("Prefer", "odata.include-annotations=*")],
        [
            ("Prefer", "odata.maxpagesize=5"),
            ("Prefer", 'odata.include-annotations="*"'),
        ],
        [
            ("Prefer", 'odata.include-annotations="Microsoft.Dynamics.CRM.*"'),
            ("Prefer", f'odata.include-annotations="{FORMATTED}"'),
        ],
    ],
)
def test_annotations_of_lookups_and_choices(api, prefer):
    """Select columns using OData; several lines of Prefer are one list."""
    contact = make(api, "contacts", firstname="Ada")
    bind = {"parentcustomerid_contact@odata.bind": f"/contacts({contact})"}
    make(api, "contacts", firstname="Bob", **bind)
    url = (
        "contacts?$select=_parentcustomerid_value,statecode&$filter=firstname eq 'Bob'"
    )
    (row,) = api.get(url, headers=prefer).json()["value"]
    lookup = "_parentcustomerid_value"
    assert row[lookup] == contact
    assert row[f"{lookup}@{FORMATTED}"] == "Ada"
    assert row[f"{lookup}@{CRM}.lookuplogicalname"] == "contact"
    navigation = row[f"{lookup}@{CRM}.associatednavigationproperty"]
    assert navigation == "parentcustomerid_contact"
    assert row[f"statecode@{FORMATTED}"] == "Active"


def test_aggregates_as_documented(api):
    """Aggregate data using OData: formatted values, no nulls, no distinct counts."""
    make(api, "accounts", name="a", revenue=10)
    make(api, "accounts", revenue=2.5)
    headers = {"Prefer": f'odata.include-annotations="{FORMATTED}"'}
    total = "aggregate(revenue with sum as total,$count as n)"
    (row,) = api.get(f"accounts?$apply={total}", headers=headers).json()["value"]
    assert (row["total"], row[f"total@{FORMATTED}"]) == (12.5, "$12.5000")
    assert row[f"n@{FORMATTED}"] == "2"
    groups = api.get("accounts?$apply=groupby((statuscode,name))").json()["value"]
    assert {"statuscode": 1} in groups
    for refused in ("aggregate(name with countdistinct as n)", "groupby((createdon))"):
        assert api.get(f"accounts?$apply={refused}").status_code == 400


def test_enumerations_carry_their_namespace(api):
    """Query table definitions using the Web API."""
    url = "EntityDefinitions?$select=LogicalName&$filter=OwnershipType eq "
    listed = names(api.get(f"{url}{CRM}.OwnershipTypes'UserOwned'"), "LogicalName")
    assert listed == ["account", "contact"]
    status, message = error(api.get(f"{url}'UserOwned'"))
    assert (status, "incompatible types" in message) == (400, True)
    text = f"AttributeType eq {CRM}.AttributeTypeCode'Decimal'"
    found = api.get(f"{TABLE}?$expand=Attributes($select=LogicalName;$filter={text})")
    assert len(found.json()["Attributes"]) == 2
    plain = "AttributeType eq 'Decimal'"  # as Microsoft's Python SDK writes it
    found = api.get(f"{TABLE}/Attributes?$select=LogicalName&$filter={plain}")
    assert len(names(found, "LogicalName")) == 2
    required = f"{CRM}.AttributeRequiredLevel'ApplicationRequired'"
    url = f"{TABLE}/Attributes?$select=LogicalName&$filter=RequiredLevel/Value eq "
    assert len(names(api.get(url + required), "LogicalName")) == 13
    url = "EntityDefinitions?$select=LogicalName&$filter=CanCreateAttributes/Value eq"
    assert len(names(api.get(f"{url} true"), "LogicalName")) > 5


def test_properties_of_definitions_that_clients_select(api):
    """EntityMetadata and AttributeMetadata of the Web API reference."""
    wanted = (
        *("ObjectTypeCode", "IsCustomizable", "CanCreateAttributes", "Description"),
        *("PrimaryImageAttribute", "IsKnowledgeManagementEnabled", "IsPrivate"),
    )
    found = api.get(f"{TABLE}?$select={','.join(wanted)}").json()
    assert found.keys() >= set(wanted)
    assert found["Description"] == {"LocalizedLabels": [], "UserLocalizedLabel": None}
    columns = api.get(f"{TABLE}/Attributes?$select=IsValidForAdvancedFind,SourceType")
    assert columns.json()["value"][0]["IsValidForAdvancedFind"]["Value"] is True
    assert int(api.get("EntityDefinitions/$count").text) == len(
        api.get("EntityDefinitions?$select=LogicalName").json()["value"]
    )
    cast = f"{TABLE}/Attributes/{CRM}.StateAttributeMetadata"
    (state,) = api.get(f"{cast}?$expand=OptionSet,GlobalOptionSet").json()["value"]
    assert state["GlobalOptionSet"] is None
    assert len(state["OptionSet"]["Options"]) == 2


def test_functions_about_the_organization(api):
    """Web API reference; RetrieveTotalRecordCount as in Microsoft's own sample."""
    assert api.get("RetrieveVersion").json()["Version"].startswith("9.2.")
    assert api.get("RetrieveAvailableLanguages()").json()["LocaleIds"] == [1033]
    access = f"{CRM}.EndpointAccessType'Default'"
    url = f"RetrieveCurrentOrganization(AccessType=@p1)?@p1={access}"
    detail = api.get(url).json()["Detail"]
    assert detail["OrganizationId"] == api.get("WhoAmI").json()["OrganizationId"]
    make(api, "accounts", name="x")
    url = "RetrieveTotalRecordCount(EntityNames=@p1)?@p1=['account']"
    counts = api.get(url).json()["EntityRecordCountCollection"]
    assert (counts["Keys"], counts["Values"]) == (["account"], [1])


def test_options_are_added_to_a_choice(api):
    """InsertOptionValue Action."""
    label = {"LocalizedLabels": [{"Label": "Red", "LanguageCode": 1033}]}
    column = {
        "@odata.type": f"{CRM}.PicklistAttributeMetadata",
        "SchemaName": "apex_Color",
        "DisplayName": label,
    }
    assert api.post(f"{TABLE}/Attributes", json=column).status_code == 204
    body = {
        "EntityLogicalName": "apex_campaignmetrics",
        "AttributeLogicalName": "apex_color",
        "Label": label,
    }
    first = api.post("InsertOptionValue", json=body).json()["NewOptionValue"]
    assert api.post("InsertOptionValue", json=body | {"Value": 7}).status_code == 200
    assert api.post("InsertOptionValue", json=body | {"Value": 7}).status_code == 400
    for value, status in ((first, 204), (7, 204), (8, 400)):
        assert api.post(SET, json={"apex_color": value}).status_code == status


def test_a_state_sets_its_status(api):
    """Status reasons belong to states; the error is observed."""
    record = make(api, "accounts", name="x")
    api.patch(f"accounts({record})", json={"statecode": 1})
    row = api.get(f"accounts({record})?$select=statecode,statuscode").json()
    assert (row["statecode"], row["statuscode"]) == (1, 2)
    for body in ({"statecode": 0, "statuscode": 2}, {"statuscode": 1}):
        status, message = error(api.patch(f"accounts({record})", json=body))
        assert (status, "is not a valid status code" in message) == (400, True)
    both = {"statecode": 0, "statuscode": 1}
    assert api.patch(f"accounts({record})", json=both).status_code == 204
    assert api.post("accounts", json={"statuscode": 2}).status_code == 400


def test_unchanged_is_never_told_with_annotations_or_expansions(api):
    """Perform conditional operations using the Web API."""
    url = f"accounts({make(api, 'accounts', name='x')})"
    etag = {"If-None-Match": api.get(url).headers["ETag"]}
    prefer = {"Prefer": 'odata.include-annotations="*"'}
    assert api.get(url, headers=etag).status_code == 304
    assert api.get(url, headers=etag | prefer).status_code == 200
    expanded = f"{url}?$expand=createdby($select=fullname)"
    assert api.get(expanded, headers=etag).status_code == 200


def test_autonumber_columns(api, emulator):
    """Create autonumber columns."""
    label = {"LocalizedLabels": [{"Label": "Number", "LanguageCode": 1033}]}
    column = {
        "@odata.type": f"{CRM}.StringAttributeMetadata",
        "SchemaName": "apex_Number",
        "DisplayName": label,
        "AutoNumberFormat": "WID-{SEQNUM:5}-{RANDSTRING:6}-{DATETIMEUTC:yyyyMMdd}",
    }
    assert api.post(f"{TABLE}/Attributes", json=column).status_code == 204
    for _ in range(2):
        make(api, SET, apex_phase="1")
    make(api, SET, apex_number="mine")
    numbers = sorted(row["apex_number"] for row in emulator.records())
    parts = [number.split("-") for number in numbers]
    assert [part[1] for part in parts[:2]] == ["01000", "01001"]
    assert [len(part) for part in parts[0]] == [3, 5, 6, 8]
    assert numbers[2] == "mine"


def test_bulk_messages_say_what_is_missing_and_what_is_double(api):
    """Bulk operation messages, common errors."""
    missing = str(uuid4())
    body = {"Targets": [campaign_metric(apex_campaignmetricsid=missing)]}
    update = f"{SET}/{CRM}.UpdateMultiple"
    status, message = error(api.post(update, json=body))
    assert status == 404
    assert message == f"apex_CampaignMetrics With Ids = {missing} Do Not Exist"
    create = f"{SET}/{CRM}.CreateMultiple"
    assert api.post(create, json=body).status_code == 200
    assert error(api.post(create, json=body)) == (412, "Cannot insert duplicate key.")


def test_the_log_shows_the_code_of_every_refusal(api, emulator):
    emulator.clear_requests()
    url = f"/api/data/v9.2/{SET}"
    send(
        api,
        [
            operation("POST", url, {"apex_phase": "x" * 17}),
            operation("GET", f"{url}?fetchXml=x"),
        ],
        keep_going=True,
    )
    api.get("accounts?$skip=1")
    api.get("accounts", headers={"Authorization": "Bearer nonsense"})
    httpx.get(
        f"{emulator.url}/nobody/v2.0/.well-known/openid-configuration",
        verify=api._transport._pool._ssl_context,  # noqa: SLF001 # the client's own
    )
    assert [each["code"] for each in emulator.requests()] == [
        "0x80044331,0x80004001",
        "0x80060888",
        "0x80044302",
        "AADSTS90002",
    ]


@pytest.mark.parametrize("path", ["/api/data/v8.2/accounts", "/XRMServices/2011/x.svc"])
def test_other_addresses_of_the_service_are_501(api, path):
    answer = api.get(str(api.base_url).partition("/api/")[0] + path)
    assert (answer.status_code, path in answer.json()["error"]["message"]) == (
        501,
        True,
    )


def test_a_relationship_from_end_to_end(api, emulator):
    """Create and update table relationships using the Web API."""
    posted = {
        "@odata.type": f"{CRM}.OneToManyRelationshipMetadata",
        "SchemaName": "apex_account_metrics",
        "ReferencedEntity": "account",
        "ReferencingEntity": "apex_campaignmetrics",
        "CascadeConfiguration": {"Delete": "Restrict"},
        "Lookup": {
            "@odata.type": f"{CRM}.LookupAttributeMetadata",
            "SchemaName": "apex_AccountId",
            "DisplayName": {"LocalizedLabels": [{"Label": "x", "LanguageCode": 1033}]},
        },
    }
    answer = api.post("RelationshipDefinitions", json=posted)
    assert answer.status_code == 204
    url = answer.headers["OData-EntityId"]
    assert api.get(url).json()["SchemaName"] == "apex_account_metrics"
    cast = f"RelationshipDefinitions/{CRM}.OneToManyRelationshipMetadata"
    text = (
        f"{cast}?$select=SchemaName&$filter=ReferencingEntity eq 'apex_campaignmetrics'"
    )
    assert "apex_account_metrics" in names(api.get(text), "SchemaName")
    ends = f"{TABLE}/ManyToOneRelationships?$select=ReferencingEntityNavigationPropertyName"
    single = "ReferencingEntityNavigationPropertyName"
    assert "apex_AccountId" in names(api.get(ends), single)
    account = make(api, "accounts", name="one")
    bind = {"apex_AccountId@odata.bind": f"accounts({account})"}
    metric = make(api, SET, apex_phase="1", **bind)
    assert api.get(f"{SET}({metric})/apex_AccountId").json()["name"] == "one"
    collection = f"accounts({account})/apex_account_metrics"
    assert names(api.get(f"{collection}?$select=apex_phase"), "apex_phase") == ["1"]
    (expanded,) = api.get(
        "accounts?$select=name&$expand=apex_account_metrics($select=apex_phase;"
        "$filter=apex_phase eq '1';$orderby=apex_phase;$top=5)"
    ).json()["value"]
    assert expanded["apex_account_metrics"][0]["apex_phase"] == "1"
    link = api.get(expanded["apex_account_metrics@odata.nextLink"])
    assert names(link, "apex_phase") == ["1"]
    assert api.delete(f"accounts({account})").status_code == 405
    assert api.delete(f"{collection}({metric})/$ref").status_code == 204
    assert api.get(f"{SET}({metric})/apex_AccountId").status_code == 204
    assert api.delete(f"accounts({account})").status_code == 204
    assert api.delete(url).status_code == 204
    assert "_apex_accountid_value" not in emulator.records()[0]


def test_single_properties(api):
    """Retrieve a table row; Update and delete table rows using the Web API."""
    record = f"accounts({make(api, 'accounts', name='one')})"
    assert api.get(f"{record}/name").json()["value"] == "one"
    assert api.put(f"{record}/name", json={"value": "two"}).status_code == 204
    assert api.get(f"{record}/name").json()["value"] == "two"
    assert api.delete(f"{record}/name").status_code == 204
    assert api.get(f"{record}/name").status_code == 204
    assert api.put(f"{record}/name", json={"other": 1}).status_code == 400


def test_references_are_set_and_removed(api):
    """Associate and disassociate table rows using the Web API; Join tables."""
    contact = make(api, "contacts", firstname="Ada")
    record = f"accounts({make(api, 'accounts', name='one')})"
    lookup = f"{record}/primarycontactid"
    assert api.get(lookup).status_code == 204
    body = {"@odata.id": f"{api.base_url}contacts({contact})"}
    assert api.put(f"{lookup}/$ref", json=body).status_code == 204
    assert api.get(lookup).json()["fullname"] == "Ada"
    assert api.patch(record, json={"primarycontactid": None}).status_code == 204
    assert api.get(lookup).status_code == 204
    nested = "accounts?$expand=primarycontactid($select=fullname;$expand=createdby)"
    assert api.get(nested).json()["value"][0]["primarycontactid"] is None


def test_a_change_set_sets_references_by_content_id(api):
    """Execute batch operations, "Reference URIs in URL and request body"."""
    root = "/api/data/v9.2"
    parts = [
        operation("POST", f"{root}/accounts", {"name": "one"}, 1),
        operation("POST", f"{root}/contacts", {"firstname": "Ada"}, 2),
        operation("PUT", "$1/primarycontactid/$ref", {"@odata.id": "$2"}, 3),
        operation("PUT", "$2/lastname", {"value": "Lovelace"}, 4),
    ]
    assert send(api, [change_set(*parts)]).status_code == 200
    url = "accounts?$expand=primarycontactid($select=fullname)"
    (row,) = api.get(url).json()["value"]
    assert row["primarycontactid"]["fullname"] == "Ada Lovelace"


def test_a_thousand_and_one_operations_are_too_many(api, emulator):
    """Execute batch operations using the Web API: before anything is executed."""
    part = operation("POST", f"/api/data/v9.2/{SET}", {"apex_phase": "1"})
    body = multipart([part] * 1001).encode()
    headers = {"Content-Type": 'multipart/mixed; boundary="batch_1"'}
    answer = api.post("$batch", content=body, headers=headers)
    assert (answer.status_code, emulator.records()) == (400, [])


def test_labels_that_are_left_out_are_kept_when_merging(api):
    """Create and update table definitions: MSCRM.MergeLabels."""
    before = api.get(TABLE).json()
    body = {
        "@odata.type": f"{CRM}.EntityMetadata",
        "DisplayName": {"LocalizedLabels": []},
    }
    merging = {"MSCRM.MergeLabels": "true"}
    assert api.put(TABLE, content=json.dumps(body), headers=merging).status_code == 204
    assert api.get(TABLE).json()["DisplayName"] == before["DisplayName"]
    assert api.put(TABLE, content=json.dumps(body)).status_code == 204
    assert api.get(TABLE).json()["DisplayName"]["LocalizedLabels"] == []
    foreign = {"LocalizedLabels": [{"Label": "Zahl", "LanguageCode": 1031}]}
    assert api.put(TABLE, json=body | {"DisplayName": foreign}).status_code == 501


def test_a_lookup_in_an_alternate_key_goes_by_its_property(api, emulator):
    """Use an alternate key to reference a record."""
    key = {
        "SchemaName": "apex_ByContact",
        "DisplayName": {},
        "KeyAttributes": ["primarycontactid"],
    }
    keys = "EntityDefinitions(LogicalName='account')/Keys"
    assert api.post(keys, json=key).status_code == 204
    contact = make(api, "contacts", firstname="Ada")
    url = f"accounts(_primarycontactid_value={contact})"
    for name in ("one", "two"):
        assert api.patch(url, json={"name": name}).status_code == 204
    (row,) = emulator.records("account")
    assert (row["name"], row["_primarycontactid_value"]) == ("two", contact)
