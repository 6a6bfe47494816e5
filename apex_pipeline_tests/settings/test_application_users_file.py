"""The file of several application users: what it may say, and how mistakes are named."""

import logging
from pathlib import Path

import pytest

from apex_pipeline.errors import ConfigError
from apex_pipeline.local.child_environments import of_the_panel, of_the_pipeline
from apex_pipeline.settings import load_settings
from apex_pipeline_tests.support.complete_settings import REAL

ONE = "6f0c5f1e-58f8-4e58-9d3a-0a8c3b9d7c11"
TWO = "0d2f7c0a-3f0b-4a53-8a2e-7f3f0b1c9a22"
THREE = "c1b7a5d4-90d5-4b7a-b0a6-2d9f1e6c4d33"
FIRST = f'[[client]]\nclient_id = "{ONE}"\nsecret = "first-secret"\n'


@pytest.fixture
def environment(tmp_path):
    """Variables with a file of the given text instead of the one application."""

    def write(text: str, **more: str) -> dict[str, str]:
        path = tmp_path / "clients.toml"
        path.write_text(text)
        path.chmod(0o600)
        without = {k: v for k, v in REAL.items() if not k.startswith("AZURE_CLIENT")}
        return without | {"AZURE_CLIENTS_FILE": str(path)} | more

    return write


def problems(given: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as raised:
        load_settings(given)
    return raised.value.problems


def test_each_entry_becomes_a_user_with_its_own_proof(environment, tmp_path):
    (tmp_path / "two.pem").touch()
    given = environment(
        FIRST
        + f'[[client]]\nclient_id = "{TWO.upper()}"\ncertificate = "two.pem"\n'
        + f'[[client]]\nclient_id = "{THREE}"\nsecret_variable = "THIRD"\n',
        THIRD="third-secret",
    )
    settings = load_settings(given).dataverse
    assert [
        (user.client_id, user.client_secret, user.certificate_path)
        for user in settings.users
    ] == [
        (ONE, "first-secret", None),
        (TWO, None, tmp_path / "two.pem"),
        (THREE, "third-secret", None),
    ]
    assert {user.resource for user in settings.users} == {settings.resource}
    assert "secret" not in repr(settings).replace("client_secret", "")


def test_entries_need_no_secret(environment, tmp_path):
    (tmp_path / "token").write_text("x")
    given = environment(
        f'[[client]]\nclient_id = "{ONE}"\ntoken_file = "token"\n'
        f'[[client]]\nclient_id = "{TWO}"\nmanaged_identity = "user"\n'
    )
    first, second = load_settings(given).dataverse.users
    assert first.token_file == tmp_path / "token"
    assert second.proof == "user-assigned managed identity"
    (problem,) = problems(
        environment(f'[[client]]\nclient_id = "{ONE}"\nmanaged_identity = "both"\n')
    )
    assert "managed_identity must be user or system" in problem


def test_a_file_as_windows_writes_it_is_read(environment):
    text = FIRST.replace("first-secret", r"first-secret\r").replace("\n", "\r\n")
    settings = load_settings(environment(f"\ufeff{text}")).dataverse
    assert settings.client_secret == "first-secret"


def test_without_the_file_there_is_one_user():
    settings = load_settings(REAL).dataverse
    assert settings.users == (settings,)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[client]", "is not TOML"),
        ("", "must contain one table [[client]]"),
        ('other = "x"\n' + FIRST, "must contain one table [[client]]"),
        (
            '[[client]]\nclient_id = "mine"\nsecret = "s"',
            "[[client]] 1: client_id must be the application (client) id, a GUID.",
        ),
        (
            FIRST + f'[[client]]\nclient_id = "{TWO}"',
            "[[client]] 2: set exactly one of secret, secret_variable, certificate",
        ),
        (
            FIRST + 'certificate = "x.pem"',
            "[[client]] 1: set exactly one of secret, secret_variable, certificate",
        ),
        (
            f'[[client]]\nclient_id = "{ONE}"\nsecret_variable = "NOT_SET"',
            "[[client]] 1: the variable NOT_SET is not set.",
        ),
        (
            f'[[client]]\nclient_id = "{ONE}"\ncertificate = "no.pem"',
            "no.pem, which is not a file.",
        ),
        (f'[[client]]\nclient_id = "{ONE}"\nsecret = 5', "secret must be a text."),
        (FIRST + 'tenant = "t"', "[[client]] 1: unknown key tenant."),
        (FIRST + FIRST, f"{ONE} occurs more than once."),
    ],
)
def test_a_mistake_names_file_entry_and_remedy(environment, text, said):
    (problem,) = problems(environment(text))
    assert problem.startswith("AZURE_CLIENTS_FILE ")
    assert said in problem
    assert "first-secret" not in problem


def test_the_file_replaces_the_other_variables(environment):
    (problem,) = problems(environment(FIRST, AZURE_CLIENT_ID=ONE))
    assert "replaces AZURE_CLIENT_ID: move that application into the file" in problem


def test_a_missing_file_is_named(environment):
    (problem,) = problems(environment(FIRST, AZURE_CLIENTS_FILE="/no/clients.toml"))
    assert problem == "AZURE_CLIENTS_FILE is /no/clients.toml, which is not a file."


@pytest.mark.parametrize(("mode", "warnings"), [(0o600, 0), (0o640, 0), (0o644, 1)])
def test_secrets_that_every_user_may_read_are_warned_about(
    environment, caplog, mode, warnings
):
    given = environment(FIRST)
    Path(given["AZURE_CLIENTS_FILE"]).chmod(mode)
    with caplog.at_level(logging.WARNING):
        load_settings(given)
    assert len([r for r in caplog.records if "chmod 600" in r.message]) == warnings


def test_children_get_the_variables_that_the_file_names(environment):
    given = environment(
        f'[[client]]\nclient_id = "{ONE}"\nsecret_variable = "THIRD"',
        THIRD="x",
        NOT="y",
    )
    for passed in (of_the_pipeline(given), of_the_panel(given)):
        assert load_settings(passed).dataverse.client_secret == "x"
        assert "NOT" not in passed
