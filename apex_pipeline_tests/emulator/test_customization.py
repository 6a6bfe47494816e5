"""Writing definitions: tables and columns."""

import pytest

from apex_pipeline_tests.support.emulator_server import api, change_set, operation, send

__all__ = ["api"]

CRM = "Microsoft.Dynamics.CRM."
TABLE = "EntityDefinitions(LogicalName='apex_product')"


def label(text):
    return {
        "@odata.type": f"{CRM}Label",
        "LocalizedLabels": [
            {
                "@odata.type": f"{CRM}LocalizedLabel",
                "Label": text,
                "LanguageCode": 1033,
            }
        ],
    }


def column(kind, name, **more):
    return {
        "@odata.type": f"{CRM}{kind}AttributeMetadata",
        "SchemaName": name,
        "DisplayName": label(name),
        **more,
    }


def product(**more):
    return {
        "@odata.type": f"{CRM}EntityMetadata",
        "SchemaName": "apex_Product",
        "DisplayName": label("Product"),
        "DisplayCollectionName": label("Products"),
        "OwnershipType": "UserOwned",
        "IsActivity": False,
        "HasActivities": False,
        "HasNotes": False,
        "Attributes": [
            column("String", "apex_Name", IsPrimaryName=True, MaxLength=50),
            column("BigInt", "apex_Big"),
            column("Decimal", "apex_Price", Precision=3),
            column("Boolean", "apex_Active"),
        ],
        **more,
    }


@pytest.fixture
def created(api):
    answer = api.post("EntityDefinitions", json=product())
    assert answer.status_code == 204
    return answer


def test_one_post_makes_a_table_with_its_columns(emulator, api, created):
    found = api.get(f"{TABLE}?$expand=Attributes").json()
    assert created.headers["OData-EntityId"] == (
        f"{emulator.api}/EntityDefinitions({found['MetadataId']})"
    )
    assert found["EntitySetName"] == "apex_products"
    assert found["PrimaryNameAttribute"] == "apex_name"
    assert found["PrimaryIdAttribute"] == "apex_productid"
    assert found["IsOptimisticConcurrencyEnabled"] is True
    assert found["DisplayName"]["UserLocalizedLabel"]["Label"] == "Product"
    names = [each["LogicalName"] for each in found["Attributes"]]
    assert {"apex_name", "apex_big", "ownerid", "createdon"} <= set(names)


@pytest.mark.usefixtures("created")
def test_the_new_table_holds_records(emulator, api):
    record = {
        "apex_name": "a",
        "apex_big": 2**40,
        "apex_price": 1.2345,
        "apex_active": True,
    }
    assert api.post("apex_products", json=record).status_code == 204
    (found,) = emulator.records("apex_product")
    assert found["apex_big"] == 2**40
    assert str(found["apex_price"]) == "1.235"
    assert found["apex_active"] is True
    assert found["_ownerid_value"]


@pytest.mark.usefixtures("created")
def test_a_range_that_was_left_out_admits_no_negative(api):
    answer = api.post("apex_products", json={"apex_price": -0.88})
    error = answer.json()["error"]
    assert error["code"] == "0x80044330"
    assert error["message"] == (
        "A validation error occurred for apex_product.apex_price. The value -0.88 of"
        " type System.Decimal is outside the valid range(0 to 1000000000)."
    )


@pytest.mark.parametrize(
    "change",
    [
        {"SchemaName": "Product"},
        {"OwnershipType": "Nobody"},
        {"Attributes": []},
        {"Attributes": [column("Integer", "apex_Name", IsPrimaryName=True)]},
        {
            "Attributes": [
                column("String", "apex_Name", IsPrimaryName=True, MaxLength=5000)
            ]
        },
    ],
)
def test_a_table_that_cannot_be_is_refused_whole(api, change):
    assert api.post("EntityDefinitions", json=product(**change)).status_code == 400
    assert api.get(TABLE).status_code == 404


def test_required_properties_are_named(api):
    body = product()
    del body["OwnershipType"], body["DisplayName"]
    answer = api.post("EntityDefinitions", json=body)
    assert "DisplayName, OwnershipType" in answer.json()["error"]["message"]


@pytest.mark.usefixtures("created")
def test_a_table_cannot_be_made_twice(api):
    answer = api.post("EntityDefinitions", json=product())
    assert answer.status_code == 400
    assert "already exists" in answer.json()["error"]["message"]


def test_elastic_tables_and_file_columns_are_not_emulated(api):
    elastic = api.post("EntityDefinitions", json=product(TableType="Elastic"))
    assert elastic.status_code == 501
    path = "EntityDefinitions(LogicalName='apex_campaignmetrics')/Attributes"
    assert api.post(path, json=column("File", "apex_File")).status_code == 501


@pytest.mark.usefixtures("created")
def test_a_column_can_be_added_filled_and_removed(emulator, api):
    api.post("apex_products", json={"apex_name": "before"})
    added = api.post(f"{TABLE}/Attributes", json=column("Integer", "apex_Stock"))
    assert added.status_code == 204
    assert "/Attributes(" in added.headers["OData-EntityId"]
    api.post("apex_products", json={"apex_name": "after", "apex_stock": 3})
    stock = {
        record["apex_name"]: record["apex_stock"]
        for record in emulator.records("apex_product")
    }
    assert stock == {"before": None, "after": 3}
    again = api.post(f"{TABLE}/Attributes", json=column("Integer", "apex_Stock"))
    assert again.json()["error"]["code"] == "0x80047013"
    path = f"{TABLE}/Attributes(LogicalName='apex_stock')"
    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404
    assert api.get("apex_products?$select=apex_stock").status_code == 400


@pytest.mark.usefixtures("created")
def test_a_column_is_updated_whole_by_put(emulator, api):
    path = f"{TABLE}/Attributes(LogicalName='apex_name')"
    cast = f"{path}/{CRM}StringAttributeMetadata"
    body = {**api.get(cast).json(), "@odata.type": f"{CRM}StringAttributeMetadata"}
    wider = api.put(path, json=body | {"MaxLength": 80})
    assert wider.status_code == 204
    assert api.get(cast).json()["MaxLength"] == 80
    assert api.post("apex_products", json={"apex_name": "x" * 80}).status_code == 204
    assert api.put(path, json=body | {"MaxLength": 20}).status_code == 400
    assert api.patch(path, json=body).status_code == 405
    other = api.put(path, json=column("Integer", "apex_Name"))
    assert "data type" in other.json()["error"]["message"]


@pytest.mark.usefixtures("created")
def test_change_tracking_is_switched_on_and_never_off(api):
    body = {**api.get(TABLE).json(), "ChangeTrackingEnabled": True}
    assert api.put(TABLE, json=body).status_code == 204
    assert api.get(TABLE).json()["ChangeTrackingEnabled"] is True
    body["ChangeTrackingEnabled"] = False
    assert api.put(TABLE, json=body).status_code == 400


@pytest.mark.usefixtures("created")
def test_columns_that_are_needed_cannot_be_deleted(api):
    for name in ("apex_name", "createdon"):
        path = f"{TABLE}/Attributes(LogicalName='{name}')"
        assert api.delete(path).status_code == 400


@pytest.mark.usefixtures("created")
def test_a_table_is_deleted_with_its_privileges(api):
    query = "privileges?$filter=name eq 'prvReadapex_Product'"
    assert len(api.get(query).json()["value"]) == 1
    assert api.delete(TABLE).status_code == 204
    assert api.get("apex_products").status_code == 404
    assert api.get(query).json()["value"] == []
    assert api.post("EntityDefinitions", json=product()).status_code == 204


def test_the_platforms_tables_cannot_be_deleted(api):
    answer = api.delete("EntityDefinitions(LogicalName='role')")
    assert answer.status_code == 400


def test_components_are_filed_into_the_solution_that_is_named(api):
    publisher = api.post(
        "publishers",
        json={
            "uniquename": "apex",
            "friendlyname": "Apex",
            "customizationprefix": "apex",
        },
    ).headers["OData-EntityId"]
    solution = {
        "uniquename": "ApexMetrics",
        "friendlyname": "Apex Metrics",
        "version": "1.0.0.0",
        "publisherid@odata.bind": f"/publishers{publisher[publisher.rindex('(') :]}",
    }
    created = api.post("solutions", json=solution)
    assert created.status_code == 204
    header = {"MSCRM.SolutionUniqueName": "ApexMetrics"}
    api.post("EntityDefinitions", json=product(), headers=header)
    api.post(
        f"{TABLE}/Attributes", json=column("Integer", "apex_Stock"), headers=header
    )
    found = api.get(
        "solutions?$filter=uniquename eq 'ApexMetrics'"
        "&$expand=publisherid($select=customizationprefix)"
    ).json()["value"][0]
    assert found["publisherid"]["customizationprefix"] == "apex"
    components = api.get(
        f"solutioncomponents?$filter=_solutionid_value eq {found['solutionid']}"
        "&$orderby=componenttype"
    ).json()["value"]
    assert [each["componenttype"] for each in components] == [1, 2]
    assert api.post("solutions", json=solution).status_code == 412


def test_an_unknown_solution_is_refused_and_nothing_is_made(api):
    answer = api.post(
        "EntityDefinitions",
        json=product(),
        headers={"MSCRM.SolutionUniqueName": "Nowhere"},
    )
    assert answer.status_code == 400
    assert api.get(TABLE).status_code == 404


def test_publishing_is_accepted(api):
    xml = "<importexportxml><entities/></importexportxml>"
    assert api.post("PublishXml", json={"ParameterXml": xml}).status_code == 204
    assert api.post("PublishAllXml", json={}).status_code == 204


def test_a_change_set_that_fails_takes_its_table_back(api):
    response = send(
        api,
        [
            change_set(
                operation("POST", "/api/data/v9.2/EntityDefinitions", product(), 1),
                operation("POST", "/api/data/v9.2/apex_products", {"nope": 1}, 2),
            )
        ],
    )
    assert response.status_code == 400
    assert api.get(TABLE).status_code == 404
    assert api.get("apex_products").status_code == 404


def test_what_is_there_already_is_added_to_a_solution(api):
    publisher = api.get("publishers?$top=1").json()["value"][0]["publisherid"]
    solution = {
        "uniquename": "Ours",
        "friendlyname": "Ours",
        "version": "1.0",
        "publisherid@odata.bind": f"/publishers({publisher})",
    }
    table = api.get("EntityDefinitions(LogicalName='apex_campaignmetrics')").json()
    body = {
        "ComponentId": table["MetadataId"],
        "ComponentType": 1,
        "SolutionUniqueName": "Ours",
        "AddRequiredComponents": False,
    }
    assert api.post("AddSolutionComponent", json=body).status_code == 400
    api.post("solutions", json=solution).raise_for_status()
    first = api.post("AddSolutionComponent", json=body)
    assert first.status_code == 200
    again = api.post("AddSolutionComponent", json=body)
    assert again.json()["id"] == first.json()["id"]
    (found,) = api.get("solutioncomponents").json()["value"]
    assert (found["objectid"], found["componenttype"]) == (table["MetadataId"], 1)

    missing = {k: v for k, v in body.items() if k != "AddRequiredComponents"}
    assert api.post("AddSolutionComponent", json=missing).status_code == 400
    nobody = body | {"ComponentId": "00000000-0000-4000-8000-000000000001"}
    assert api.post("AddSolutionComponent", json=nobody).status_code == 404
    role = nobody | {"ComponentType": 20}
    assert api.post("AddSolutionComponent", json=role).status_code == 404
    form = body | {"ComponentType": 60}
    assert api.post("AddSolutionComponent", json=form).status_code == 501
    path = "EntityDefinitions(LogicalName='apex_campaignmetrics')"
    api.delete(path).raise_for_status()
    assert api.get("solutioncomponents").json()["value"] == []


def test_a_reset_takes_back_every_change_of_a_table(emulator, api):
    columns = "EntityDefinitions(LogicalName='apex_campaignmetrics')/Attributes"

    def names():
        found = api.get(f"{columns}?$select=LogicalName").json()["value"]
        return {each["LogicalName"] for each in found}

    before = names()
    # The second time it goes back to what it kept at the first.
    for _ in range(2):
        assert api.post("EntityDefinitions", json=product()).status_code == 204
        new = column("String", "apex_New", MaxLength=10)
        assert api.post(columns, json=new).status_code == 204
        assert names() == before | {"apex_new"}
        emulator.reset()
        assert names() == before
        assert api.get("apex_products").status_code == 404
