"""The emulator's part of Microsoft Graph, asked without any code of ours."""

import base64
from email.message import EmailMessage

import httpx
import pytest

from apex_pipeline.emulator import Options, ServedEmulator, serve
from apex_pipeline_tests.support.certificate_files import certificate_and_key
from apex_pipeline_tests.support.emulator_server import token, trusting
from apex_pipeline_tests.support.waiting import SECONDS

CLIENT = "cccccccc-0000-4000-8000-000000000077"
MAILBOX = "apex@example.com"


def graph_token(emulator: ServedEmulator) -> str:
    return token(
        emulator,
        credential="abcdef",
        client_id=CLIENT,
        resource=f"{emulator.url}/graph",
    )


def graph_api(emulator: ServedEmulator, bearer: str | None = None) -> httpx.Client:
    return httpx.Client(
        base_url=f"{emulator.url}/graph/v1.0/",
        timeout=SECONDS,
        verify=trusting(emulator),
        headers={"Authorization": f"Bearer {bearer or graph_token(emulator)}"},
    )


@pytest.fixture
def granted(emulator):
    emulator.register(
        CLIENT,
        client_secret="abcdef",
        graph={
            "permissions": ["Application.Read.All"],
            "mailboxes": [MAILBOX],
            "secret_ends": "2027-06-30T00:00:00Z",
        },
    )
    return emulator


def mime(sender=MAILBOX, to="ops@example.com"):
    message = EmailMessage()
    message["From"] = sender
    if to:
        message["To"] = to
    message["Subject"] = "Grüße"
    message.set_content("Hallo")
    return base64.b64encode(message.as_bytes())


def send(api, body, content_type="text/plain", mailbox=MAILBOX):
    return api.post(
        f"users/{mailbox}/sendMail",
        content=body,
        headers={"Content-Type": content_type},
    )


def code(answer):
    return answer.status_code, answer.json()["error"]["code"]


def test_the_openid_configuration_says_where_graph_is(emulator):
    with httpx.Client(verify=trusting(emulator)) as client:
        address = f"{emulator.authority}/v2.0/.well-known/openid-configuration"
        host = client.get(address).json()["msgraph_host"]
    assert f"https://{host}" == f"{emulator.url}/graph"


def test_a_message_is_taken_with_202_and_can_be_looked_at(granted):
    with graph_api(granted) as api:
        answer = send(api, mime())
        assert (answer.status_code, answer.content) == (202, b"")
        assert send(api, mime(), mailbox="Apex@Example.com").status_code == 202
    first, second = granted.mail()
    assert first["application"] == CLIENT
    assert first["mailbox"] == second["mailbox"] == MAILBOX
    assert "Subject: =?utf-8?" in first["mime"]
    granted.reset()
    assert granted.mail() == []


def test_a_token_is_good_for_the_one_resource_that_it_is_for(granted):
    with graph_api(granted, token(granted)) as api:
        assert code(send(api, mime())) == (401, "InvalidAuthenticationToken")
    with httpx.Client(verify=trusting(granted)) as client:
        answer = client.get(
            f"{granted.api}/WhoAmI",
            headers={"Authorization": f"Bearer {graph_token(granted)}"},
        )
    assert answer.status_code == 401


def test_a_permission_is_in_the_next_token_and_a_mailbox_at_once(granted):
    bearer = graph_token(granted)
    with graph_api(granted, bearer) as api:
        other = "other@example.com"
        assert code(send(api, mime(other), mailbox=other)) == (403, "ErrorAccessDenied")
        granted.register(CLIENT, graph={"permissions": ["Mail.Send"]})
        assert code(send(api, mime(other), mailbox=other)) == (403, "ErrorAccessDenied")
        granted.register(CLIENT, graph={"mailboxes": [other]})
        assert send(api, mime(other), mailbox=other).status_code == 202
    granted.register(CLIENT, graph={"permissions": ["Mail.Send"]})
    with graph_api(granted) as api:
        assert send(api, mime(other), mailbox=other).status_code == 202


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b"no base64!", "text/plain", (400, "ErrorMimeContentInvalidBase64String")),
        (mime("boss@example.com"), "text/plain", (403, "ErrorSendAsDenied")),
        (mime(to=None), "text/plain", (400, "ErrorInvalidRecipients")),
        (b"{}", "application/json", (501, "notImplemented")),
    ],
)
def test_a_message_that_is_refused(granted, body, content_type, expected):
    with graph_api(granted) as api:
        assert code(send(api, body, content_type)) == expected
        assert code(api.get("me")) == (501, "notImplemented")
    assert granted.mail() == []


def test_an_application_is_shown_with_the_ends_of_its_credentials(granted):
    certificate, _ = certificate_and_key()
    granted.register(CLIENT, certificate=certificate)
    path = f"applications(appId='{CLIENT}')"
    with graph_api(granted) as api:
        whole = api.get(path).json()
        picked = api.get(f"{path}?$select=passwordCredentials,keyCredentials").json()
        assert code(api.get(f"{path}?$select=nothing")) == (400, "BadRequest")
        unknown = api.get(f"applications(appId='{MAILBOX}')")
        assert code(unknown) == (404, "Request_ResourceNotFound")
    assert whole["appId"] == CLIENT
    assert picked.keys() == {
        *("@odata.context", "passwordCredentials", "keyCredentials")
    }
    (secret,) = picked["passwordCredentials"]
    assert (secret["hint"], secret["endDateTime"]) == ("abc", "2027-06-30T00:00:00Z")
    assert secret["secretText"] is None
    (key,) = picked["keyCredentials"]
    assert (key["usage"], key["key"]) == ("Verify", None)


def test_an_application_without_permission_sees_nothing(granted):
    granted.register(CLIENT, graph={})
    with graph_api(granted) as api:
        answer = api.get(f"applications(appId='{CLIENT}')")
    assert code(answer) == (403, "Authorization_RequestDenied")


def test_mail_and_grants_outlive_the_process(tmp_path):
    options = Options("abcdef", client_id=CLIENT, state_file=tmp_path / "state")
    with serve(options) as first:
        first.register(CLIENT, graph={"mailboxes": [MAILBOX]})
        with graph_api(first) as api:
            assert send(api, mime()).status_code == 202
    with serve(options) as second:
        with graph_api(second) as api:
            assert send(api, mime()).status_code == 202
        assert len(second.mail()) == 2
