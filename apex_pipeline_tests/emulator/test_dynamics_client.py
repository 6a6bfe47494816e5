"""dynamics-client and authlib, which know nothing of the emulator, against it."""

from collections.abc import Iterator

import pytest
from authlib.integrations.requests_client import OAuth2Session
from dynamics import DynamicsClient, apl, ftr
from dynamics.exceptions import DynamicsException, NotFound, ParseError

from apex_pipeline.emulator import ServedEmulator
from apex_pipeline_tests.support.emulator_server import campaign_metric

SET = "apex_campaignmetricses"


@pytest.fixture
def client(
    emulator: ServedEmulator, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DynamicsClient]:
    monkeypatch.setenv("SSL_CERT_FILE", str(emulator.ca_bundle))
    client = DynamicsClient(
        f"{emulator.api}",
        f"{emulator.authority}/oauth2/v2.0/token",
        emulator.client_id,
        emulator.client_secret,
        scope=f"{emulator.url}/.default",
        cache_token=False,
    )
    yield client
    client._oauth_client.close()  # noqa: SLF001 # it has no way to be closed


def make(client, **overrides):
    row = campaign_metric(**overrides)
    del row["@odata.type"], row["apex_campaignmetricsid"]
    client.reset_query()
    client.table = SET
    return client.post(row).data


def runs(client, condition):
    client.reset_query()
    client.table, client.select = SET, ["apex_runid"]
    client.filter = [condition]
    return sorted(row["apex_runid"] for row in client.get(not_found_ok=True).data)


def test_records_come_and_go(client):
    made = make(client, apex_runid="a")
    client.reset_query()
    client.table, client.row_id = SET, made["apex_campaignmetricsid"]
    assert client.patch({"apex_phase": "new"}).data["apex_phase"] == "new"
    assert client.get().data[0]["apex_phase"] == "new"
    client.delete()
    with pytest.raises(NotFound):
        client.get()
    assert client.functions.whoami().data[0]["UserId"]


def test_query_functions(client):
    make(client, apex_runid="now", apex_createdat="2025-10-30T13:00:00Z")
    make(client, apex_runid="other", apex_createdat="1999-01-01T00:00:00Z")
    whoami = client.functions.whoami().data[0]["UserId"]
    for condition, expected in (
        (ftr.today("createdon"), ["now", "other"]),
        (ftr.last_x_hours("createdon", 1), ["now", "other"]),
        (ftr.last_x_days("apex_createdat", 1), []),
        (ftr.older_than_x_years("apex_createdat", 20), ["other"]),
        (ftr.on("apex_createdat", "2025-10-30"), ["now"]),
        (ftr.between("apex_tokensin", (1, 1500)), ["now", "other"]),
        (ftr.in_("apex_runid", ["now"]), ["now"]),
        (ftr.not_in("apex_runid", ["now"]), ["other"]),
        (ftr.equal_user_id("createdby"), ["now", "other"]),
        (ftr.eq("_createdby_value", whoami), ["now", "other"]),
        (ftr.eq("createdby/systemuserid", whoami), ["now", "other"]),
        (ftr.contains("apex_runid", "o_h"), ["other"]),
    ):
        assert runs(client, condition) == expected, condition
    with pytest.raises(ParseError, match="Custom Named Condition"):
        runs(client, ftr.not_(ftr.in_("apex_runid", ["now"])))
    with pytest.raises(DynamicsException, match="Above"):
        runs(client, ftr.above("apex_campaignmetricsid", whoami))


def test_aggregates_and_expansions(client):
    for run in ("a", "b", "b"):
        make(client, apex_runid=run)
    client.reset_query()
    client.table = SET
    client.apply = apl.groupby(
        ["apex_runid"], apl.aggregate(col_="apex_tokensin", with_="sum", as_="total")
    )
    totals = {row["apex_runid"]: row["total"] for row in client.get().data}
    assert totals == {"a": 1500, "b": 3000}
    client.reset_query()
    client.table, client.expand = SET, {"createdby": {"select": ["fullname"]}}
    client.show_annotations = True
    row = client.get().data[0]
    assert row["createdby"]["fullname"].startswith("#")
    assert row["statecode@OData.Community.Display.V1.FormattedValue"] == "Active"


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
@pytest.mark.parametrize("version", ["", "v2.0/"])
def test_authlib_gets_a_token(emulator, monkeypatch, method, version):
    """Basic is its default; `resource` is how version 1 names what the token is for."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(emulator.ca_bundle))
    named = {"resource": emulator.url} if not version else {}
    with OAuth2Session(
        emulator.client_id,
        emulator.client_secret,
        scope=f"{emulator.url}/.default" if version else None,
        token_endpoint_auth_method=method,
    ) as session:
        url = f"{emulator.authority}/oauth2/{version}token"
        session.fetch_token(url, grant_type="client_credentials", **named)
        assert session.get(f"{emulator.api}/WhoAmI").status_code == 200
