"""The file of tenants, and the variables that each gets from it."""

import pytest

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings import (
    SHARED,
    VARIABLES,
    find_tenant,
    read_tenants,
    tenant_environment,
    tenants_file,
)
from apex_pipeline.settings.tenant_ends import read_ends
from apex_pipeline_tests.support.complete_settings import REAL
from apex_pipeline_tests.support.tenants_files import folder, write

__all__ = ["folder"]


def refusal(folder, text):
    with pytest.raises(ConfigError) as refused:
        read_tenants(write(folder, text))
    return str(refused.value)


def test_a_tenants_variables_come_from_a_file_or_from_a_folder(folder):
    acme, globex = read_tenants(write(folder))
    assert tenant_environment({}, acme) == REAL | {"APEX_TENANT": "acme"}
    own = tenant_environment({}, globex)
    assert own["DATABASE_URL"] == "postgresql://u:p@db.example/globex"
    assert own["DATAVERSE_RESOURCE"] == "https://other.crm.dynamics.com"
    assert own["APEX_TENANT"] == "globex"


def test_nothing_of_one_tenant_reaches_another_by_the_callers_environment(folder):
    ours = {variable.name: "of another" for variable in VARIABLES}
    ours |= {"AZURE_CLIENT_SECRET_FILE": "/run/secrets/another", "PGPASSWORD": "p"}
    given = ours | {"PATH": "/bin", "HTTPS_PROXY": "http://proxy"}
    own = tenant_environment(given, find_tenant(write(folder), "acme"))
    kept = {name for name, value in own.items() if "another" in value}
    assert kept == {*SHARED}
    assert "PGPASSWORD" not in own
    assert (own["PATH"], own["HTTPS_PROXY"]) == ("/bin", "http://proxy")


def test_a_reference_in_a_file_of_variables_is_not_replaced(folder, monkeypatch):
    monkeypatch.setenv("SECRET_OF_ANOTHER", "sentinel")
    (folder / "acme.env").write_text("AZURE_CLIENT_SECRET=${SECRET_OF_ANOTHER}")
    own = tenant_environment({}, find_tenant(write(folder), "acme"))
    assert own["AZURE_CLIENT_SECRET"] == "${SECRET_OF_ANOTHER}"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_file_of_variables_that_is_utf16_is_named(folder, encoding):
    (folder / "acme.env").write_bytes("AZURE_CLIENT_ID=x\r\n".encode(encoding))
    with pytest.raises(ConfigError, match=r"acme\.env cannot be read as UTF-8 text"):
        tenant_environment({}, find_tenant(write(folder), "acme"))


def test_an_unknown_tenant_is_told_which_there_are(folder):
    with pytest.raises(ConfigError, match=r"no tenant 'umbrella'.*: acme, globex\."):
        find_tenant(write(folder), "umbrella")


def test_every_line_that_is_wrong_is_named(folder):
    text = refusal(folder, 'acme = "gone.env"\nGlobex = "globex"\nx = "acme.env"')
    assert "acme names" in text
    assert "gone.env, which does not exist" in text
    assert "'Globex' cannot be a tenant's name" in text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('acme = "acme.env"\nacme = "globex"', "not valid TOML"),
        ('acme = "acme.env"\nother = "./acme.env"', "both name"),
        ("", r"needs a table \[tenants\]"),
        ("acme = 1", "acme is no path"),
        ('acme = "acme.env"\n[more]', r"needs a table \[tenants\]"),
    ],
)
def test_a_file_that_is_ambiguous_or_malformed_is_refused(folder, text, reason):
    with pytest.raises(ConfigError, match=reason):
        read_tenants(write(folder, text))


def test_a_missing_file_is_named_with_the_ways_to_name_another(tmp_path):
    path = tenants_file({"APEX_TENANTS_FILE": str(tmp_path / "gone.toml")})
    with pytest.raises(
        ConfigError, match=r"gone\.toml.*APEX_TENANTS_FILE or.*--tenants"
    ):
        read_tenants(path)


def test_variables_that_name_another_tenant_are_refused(folder):
    (folder / "acme.env").write_text("APEX_TENANT=globex")
    acme = find_tenant(write(folder), "acme")
    with pytest.raises(ConfigError, match=r"APEX_TENANT=globex, but .* calls it acme"):
        tenant_environment({}, acme)


def test_a_file_in_a_folder_of_secrets_has_the_name_of_a_variable(folder):
    (folder / "globex" / "databse-url").write_text("x")
    globex = find_tenant(write(folder), "globex")
    with pytest.raises(ConfigError, match="databse-url is not named after a variable"):
        tenant_environment({}, globex)


def test_two_tenants_with_one_database_or_dataverse_are_both_told(folder):
    (folder / "twin.env").write_text((folder / "acme.env").read_text())
    path = write(folder, 'acme = "acme.env"\nglobex = "globex"\ntwin = "twin.env"')
    acme, globex, twin = read_ends({}, read_tenants(path))
    assert globex.problems == ()
    for one, other in ((acme, "twin"), (twin, "acme")):
        assert [text.split(":")[0] for text in one.problems] == [
            f"It has the same database as {other}",
            f"It has the same Dataverse environment as {other}",
        ]
    assert "pass-word" not in repr((acme, globex, twin))
