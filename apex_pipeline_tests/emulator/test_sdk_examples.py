"""What the example scripts of Microsoft's Python SDK do, step by step.

The scripts ask for a browser to sign in and print what they see; here the same calls of
the SDK are made in the same order, and what comes back is held to what they print.
"""

import enum

import pandas as pd
import pytest
from PowerPlatform.Dataverse.core.errors import HttpError
from PowerPlatform.Dataverse.models import (
    CascadeConfiguration,
    Label,
    LocalizedLabel,
    LookupAttributeMetadata,
    ManyToManyRelationshipMetadata,
    OneToManyRelationshipMetadata,
    col,
)
from PowerPlatform.Dataverse.models.query_builder import ExpandOption

from apex_pipeline_tests.support.sdk_client import client

__all__ = ["client"]

SHOWN = "OData.Community.Display.V1.FormattedValue"
pytestmark = pytest.mark.slow


class Priority(enum.IntEnum):
    """Options of the walkthrough's choice column."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3


def test_walkthrough(client):
    table = "new_WalkthroughDemo"
    columns = {
        "new_Title": "string",
        "new_Quantity": "int",
        "new_Amount": "decimal",
        "new_Completed": "bool",
        "new_Notes": "memo",
        "new_Priority": Priority,
    }
    client.tables.create(table, columns, display_name="Walkthrough Demo")
    rows = [
        {"new_Title": f"item {n}", "new_Quantity": n, "new_Amount": 10.0 * n}
        | {"new_Completed": n > 20, "new_Priority": Priority.HIGH}
        for n in range(1, 24)
    ]
    one = client.records.create(table, rows[0] | {"new_Notes": "two\nlines"})
    ids = client.records.create(table, rows[1:])
    found = client.records.retrieve(table, one)
    assert (found["new_notes"], found["new_priority"]) == ("two\nlines", 3)
    client.records.update(table, one, {"new_Quantity": 100})
    client.records.update(table, ids[:2], {"new_Completed": True})
    builder = client.query.builder
    pages = builder(table).order_by("new_Quantity").page_size(5).execute_pages()
    assert [len(list(page)) for page in pages] == [5, 5, 5, 5, 3]
    open_ = col("new_Completed") == False  # noqa: E712  the SDK's own operator
    query = builder(table).select("new_Title", "new_Amount").where(open_)
    listed = list(query.order_by("new_Amount", descending=True).top(10).execute())
    assert [row["new_amount"] for row in listed[:2]] == [200.0, 190.0]
    some = builder(table).where(col("new_Priority").in_([Priority.HIGH, Priority.LOW]))
    assert len(list(some.execute())) == 23
    both = builder(table).where(open_ & (col("new_Amount").between(50, 60)))
    assert len(list(both.execute())) == 2
    frame = builder(table).select("new_title", "new_quantity").where(open_).execute()
    assert len(frame.to_dataframe()) == 18
    labelled = client.records.create(table, {"new_Title": "x", "new_Priority": "High"})
    client.records.update(table, labelled, {"new_Priority": "Low"})
    kept = client.query.builder(table).select("new_priority").include_formatted_values()
    values = list(kept.where(col("new_Title") == "x").execute())
    assert (values[0]["new_priority"], values[0][f"new_priority@{SHOWN}"]) == (1, "LOW")
    accounts = builder("account").select("name").expand("primarycontactid").top(3)
    assert list(accounts.execute()) == []
    tasks = ExpandOption("Account_Tasks").select("subject").top(3)
    with pytest.raises(HttpError, match="Account_Tasks"):
        list(builder("account").select("name").expand(tasks).execute())
    client.tables.add_columns(table, {"new_Tags": "string"})
    client.tables.remove_columns(table, ["new_Tags"])
    client.tables.delete(table)


def test_prodev_quick_start(client):
    customer, project, task = "new_DemoCustomer1", "new_DemoProject1", "new_DemoTask1"
    made = client.tables.create(customer, {f"{customer}_Revenue": "money"})
    name = made.primary_name_attribute
    client.tables.create(
        project, {f"{project}_Budget": "money", f"{project}_StartDate": "datetime"}
    )
    client.tables.create(
        task, {f"{task}_Priority": "integer", f"{task}_Hours": "decimal"}
    )
    for referencing, referenced, field in (
        (project, customer, f"{project}_CustomerId"),
        (task, project, f"{task}_ProjectId"),
    ):
        client.tables.create_lookup_field(
            referencing_table=referencing.lower(),
            lookup_field_name=field,
            referenced_table=referenced.lower(),
            display_name="x",
        )
    frame = pd.DataFrame([{name: "Contoso", f"{customer}_Revenue": 5_000_000}])
    customers = client.dataframe.create(customer, frame)
    customer_set = client.tables.get(customer).get("entity_set_name")
    budgets = pd.DataFrame(
        [
            {
                name: f"project {n}",
                f"{project}_Budget": 250_000 * n,
                f"{project}_StartDate": pd.Timestamp("2026-01-15"),
                f"{project}_CustomerId@odata.bind": f"/{customer_set}({customers.iloc[0]})",
            }
            for n in (1, 2)
        ]
    )
    budgets["id"] = client.dataframe.create(project, budgets)
    found = client.query.builder(project).select(name, f"{project}_Budget").execute()
    assert found.to_dataframe()[f"{project}_budget".lower()].sum() == 750_000
    expanded = client.records.list(
        project, select=[name], expand=[f"{project}_CustomerId"]
    )
    assert {row[f"{project}_CustomerId"][name] for row in expanded} == {"Contoso"}
    for table in (task, project, customer):
        client.tables.delete(table)


def test_relationships(client):
    department = client.tables.create("new_Department", {"new_Budget": "decimal"})
    employee = client.tables.create("new_Employee", {"new_Salary": "decimal"})
    label = Label(localized_labels=[LocalizedLabel(label="x", language_code=1033)])
    made = client.tables.create_one_to_many_relationship(
        lookup=LookupAttributeMetadata(
            schema_name="new_DepartmentId", display_name=label, required_level="None"
        ),
        relationship=OneToManyRelationshipMetadata(
            schema_name="new_Department_Employee",
            referenced_entity=department["table_logical_name"],
            referencing_entity=employee["table_logical_name"],
            referenced_attribute="new_departmentid",
            cascade_configuration=CascadeConfiguration(
                delete="RemoveLink", assign="NoCascade", merge="NoCascade"
            ),
        ),
    )
    manager = client.tables.create_lookup_field(
        referencing_table="new_employee",
        lookup_field_name="new_ManagerId",
        referenced_table="contact",
        display_name="Manager",
        description="The employee's direct manager",
        required=False,
        cascade_delete="RemoveLink",
    )
    many = ManyToManyRelationshipMetadata(
        schema_name="new_employee_department",
        entity1_logical_name="new_employee",
        entity2_logical_name="new_department",
    )
    with pytest.raises(HttpError) as caught:
        client.tables.create_many_to_many_relationship(relationship=many)
    assert caught.value.status_code == 501
    found = client.tables.get_relationship("new_Department_Employee")
    assert found.referencing_entity == "new_employee"
    for each in (made, manager):
        client.tables.delete_relationship(each.relationship_id)
    for table in ("new_Employee", "new_Department"):
        client.tables.delete(table)


def test_batches(client, emulator):
    batch = client.batch.new()
    with batch.changeset() as changes:
        contact = changes.records.create("contact", {"firstname": "Ada"})
        changes.records.create(
            "account",
            {"name": "Babbage & Co.", "primarycontactid@odata.bind": contact},
        )
        changes.records.update("contact", contact, {"lastname": "Lovelace"})
    assert len(batch.execute().entity_ids) == 3
    (account,) = client.records.list("account", expand=["primarycontactid"])
    assert account["primarycontactid"]["fullname"] == "Ada Lovelace"
    batch = client.batch.new()
    batch.tables.create("new_Product", {"new_Price": "decimal", "new_InStock": "bool"})
    batch.tables.get("new_Product")
    batch.tables.list()
    batch.query.sql("SELECT TOP 5 name FROM account")
    result = batch.execute(continue_on_error=True)
    statuses = [each.status_code for each in result.responses]
    assert statuses == [204, 200, 200, 501]
    batch = client.batch.new()
    frame = pd.DataFrame([{"name": "A", "telephone1": "1"}, {"name": "B"}])
    batch.dataframe.create("account", frame)
    (created,) = batch.execute().responses
    ids = created.data["Ids"]
    batch = client.batch.new()
    changed = pd.DataFrame({"accountid": ids, "telephone1": ["2", "3"]})
    batch.dataframe.update("account", changed, id_column="accountid")
    batch.dataframe.delete("account", pd.Series(ids), use_bulk_delete=False)
    assert not batch.execute().has_errors
    assert [each["name"] for each in emulator.records("account")] == ["Babbage & Co."]


def test_dataframe_operations(client):
    names = ["Contoso", "Fabrikam", "Northwind"]
    held = [pd.Timestamp("2024-06-15 10:30:00"), None, pd.Timestamp("2024-12-01")]
    sites = ["https://contoso.example", None, "https://northwind.example"]
    frame = pd.DataFrame({"name": names, "websiteurl": sites, "lastonholdtime": held})
    frame["accountid"] = client.dataframe.create("account", frame)

    def accounts(column):
        query = client.query.builder("account").select("name", column)
        found = query.order_by("name").execute().to_dataframe()
        return found[column].fillna("").tolist()

    assert accounts("lastonholdtime") == [
        *("2024-06-15T10:30:00Z", "", "2024-12-01T00:00:00Z"),
    ]
    first = frame[["accountid"]].head(1).assign(websiteurl=None, telephone1="555")
    client.dataframe.update("account", first, id_column="accountid")
    assert accounts("websiteurl") == [sites[0], "", sites[2]]
    assert accounts("telephone1") == ["555", "", ""]
    client.dataframe.update("account", first, id_column="accountid", clear_nulls=True)
    assert accounts("websiteurl") == ["", "", sites[2]]
    client.dataframe.delete("account", frame["accountid"], use_bulk_delete=False)
    assert list(client.records.list("account")) == []


def test_sql_examples_discover_columns_and_ways_to_expand(client):
    client.tables.create("new_Team", {"new_Code": "string", "new_Budget": "decimal"})
    client.tables.create("new_Job", {"new_Hours": "int"})
    client.tables.create_lookup_field(
        referencing_table="new_Job",
        lookup_field_name="new_TeamId",
        referenced_table="new_Team",
        display_name="Team",
    )
    columns = {
        each["name"]: each["type"] for each in client.query.sql_columns("new_Team")
    }
    assert (columns["new_code"], columns["new_budget"]) == ("String", "Decimal")
    ways = {each["nav_property"] for each in client.query.odata_expands("new_Job")}
    assert "new_TeamId" in ways
    team = client.records.create("new_Team", {"new_Code": "ALPHA"})
    bound = {"new_TeamId@odata.bind": f"/new_teams({team})"}
    client.records.create("new_Job", {"new_Hours": 8, **bound})
    (job,) = client.records.list("new_Job", expand=["new_TeamId"])
    assert job["new_TeamId"]["new_code"] == "ALPHA"
