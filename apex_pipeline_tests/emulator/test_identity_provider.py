"""The emulator's tokens: what Entra ID grants and how it refuses."""

from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from apex_pipeline.emulator import ServedEmulator
from apex_pipeline_tests.support.certificate_files import certificate_and_key
from apex_pipeline_tests.support.emulator_server import (
    Dial,
    api,
    dial,
    sign_in,
    timed_emulator,
    token,
    trusting,
    web_api,
)
from apex_pipeline_tests.support.identities import Cluster

__all__ = ["api", "dial", "timed_emulator"]


CERTIFIED = "cccccccc-0000-4000-8000-000000000001"
STRANGER = "cccccccc-0000-4000-8000-000000000002"


ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def request_token(emulator: ServedEmulator, **form: str) -> httpx.Response:
    tenant = form.pop("tenant", emulator.tenant_id)
    with httpx.Client(verify=trusting(emulator)) as client:
        return client.post(
            f"{emulator.url}/{tenant}/oauth2/v2.0/token",
            data={
                "grant_type": "client_credentials",
                "client_id": emulator.client_id,
                "client_secret": emulator.client_secret,
                "scope": f"{emulator.url}/.default",
                **form,
            },
        )


def msal_credential(certificate: str, key: str) -> dict[str, Any]:
    parsed = x509.load_pem_x509_certificate(certificate.encode())
    return {
        "private_key": key,
        "thumbprint": parsed.fingerprint(hashes.SHA1()).hex(),  # noqa: S303 # x5t
        "public_certificate": certificate,
    }


def test_msal_gets_a_token_that_the_web_api_accepts(emulator):
    granted = sign_in(emulator)
    assert granted["expires_in"] == 3599
    with web_api(emulator, granted["access_token"]) as client:
        assert client.get("WhoAmI").status_code == 200


def test_the_discovery_document_is_there_with_and_without_v2(emulator):
    with httpx.Client(verify=trusting(emulator)) as client:
        for version in ("", "/v2.0"):
            path = f"{version}/.well-known/openid-configuration"
            found = client.get(f"{emulator.authority}{path}").json()
            assert found["token_endpoint"] == (
                f"{emulator.authority}/oauth2/v2.0/token"
            )
            assert found["issuer"] == f"{emulator.authority}/v2.0"
            assert found["authorization_endpoint"].startswith(emulator.authority)


@pytest.mark.parametrize(
    ("form", "status", "error", "number"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
        ({"client_secret": ""}, 401, "invalid_client", 7000218),
        ({"client_id": "nobody"}, 400, "unauthorized_client", 700016),
        ({"tenant": "elsewhere"}, 400, "invalid_tenant", 90002),
        (
            {"scope": "https://other.crm.dynamics.com/.default"},
            400,
            "invalid_resource",
            500011,
        ),
        ({"scope": "user_impersonation"}, 400, "invalid_scope", 1002012),
        ({"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
    ],
)
def test_refusals_carry_entras_codes(emulator, form, status, error, number):
    answer = request_token(emulator, **form)
    body = answer.json()
    assert (answer.status_code, body["error"]) == (status, error)
    assert body["error_codes"] == [number]
    assert body["error_description"].startswith(f"AADSTS{number}: ")
    assert {"timestamp", "trace_id", "correlation_id"} <= body.keys()


def test_an_expired_secret_is_told_from_a_wrong_one(emulator):
    emulator.register(emulator.client_id, expired=True)
    assert request_token(emulator).json()["error_codes"] == [7000222]
    assert request_token(emulator, client_secret="no").json()["error_codes"] == [
        7000215
    ]


def test_a_registered_certificate_signs_in(emulator):
    certificate, key = certificate_and_key()
    emulator.register(CERTIFIED, certificate=certificate)
    bearer = token(
        emulator,
        credential=msal_credential(certificate, key),
        client_id=CERTIFIED,
    )
    with web_api(emulator, bearer) as client:
        assert client.get("WhoAmI").status_code == 200


@pytest.mark.parametrize("hours", [-2, 2])
def test_an_assertion_outside_its_time_is_refused(emulator, tmp_path, hours):
    """AADSTS700024; a few minutes of skew pass."""
    cluster = Cluster(emulator, CERTIFIED, tmp_path / "assertion")
    cluster.register()
    cluster.issue(starts=hours * 3600, seconds=hours * 3600 + 600)
    form = {
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": cluster.file.read_text().strip(),
        "client_id": CERTIFIED,
        "client_secret": "",
    }
    answer = request_token(emulator, **form)
    assert (answer.status_code, answer.json()["error_codes"]) == (401, [700024])
    cluster.issue(seconds=-120)
    form["client_assertion"] = cluster.file.read_text().strip()
    assert request_token(emulator, **form).status_code == 200


def test_an_unregistered_certificate_is_refused(emulator):
    registered, _ = certificate_and_key()
    certificate, key = certificate_and_key()
    emulator.register(CERTIFIED, certificate=registered)
    refused = sign_in(
        emulator,
        credential=msal_credential(certificate, key),
        client_id=CERTIFIED,
    )
    assert refused["error"] == "invalid_client"
    assert "AADSTS700027" in refused["error_description"]


def test_a_thumbprint_of_another_certificate_is_refused(emulator):
    certificate, key = certificate_and_key()
    emulator.register(CERTIFIED, certificate=certificate)
    credential = msal_credential(certificate, key) | {"thumbprint": "ab" * 20}
    refused = sign_in(emulator, credential=credential, client_id=CERTIFIED)
    assert "AADSTS700027" in refused["error_description"]


def test_another_key_behind_the_registered_thumbprint_is_refused(emulator):
    certificate, _ = certificate_and_key()
    _, key = certificate_and_key()
    emulator.register(CERTIFIED, certificate=certificate)
    refused = sign_in(
        emulator,
        credential=msal_credential(certificate, key),
        client_id=CERTIFIED,
    )
    assert "AADSTS700027" in refused["error_description"]


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer nonsense", "Basic x"])
def test_without_a_valid_token_the_answer_names_authority_and_resource(
    emulator, authorization
):
    with httpx.Client(verify=trusting(emulator)) as client:
        answer = client.get(
            f"{emulator.api}/WhoAmI", headers={"Authorization": authorization}
        )
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == (
        f"Bearer authorization_uri={emulator.url}/{emulator.tenant_id}"
        f"/oauth2/authorize, resource_id={emulator.url}/"
    )


def test_a_token_ends(timed_emulator, dial: Dial):
    with web_api(timed_emulator) as client:
        dial.now += 3590
        assert client.get("WhoAmI").status_code == 200
        dial.now += 10
        assert client.get("WhoAmI").status_code == 401


def test_a_token_of_an_application_without_user_is_forbidden(emulator):
    emulator.register(STRANGER, client_secret="s", user=False)
    bearer = token(emulator, credential="s", client_id=STRANGER)
    with web_api(emulator, bearer) as client:
        answer = client.get("WhoAmI")
    assert answer.status_code == 403
    assert answer.json()["error"] == {
        "code": "0x80072560",
        "message": "The user is not a member of the organization.",
    }


def test_a_disabled_user_is_forbidden(emulator, api):
    emulator.register(emulator.client_id, disabled=True)
    answer = api.get("WhoAmI")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "0x80040225")


@pytest.mark.parametrize(
    ("operation", "method", "path"),
    [
        ("Create", "POST", "apex_campaignmetricses"),
        ("Read", "GET", "apex_campaignmetricses"),
        (
            "Create",
            "PATCH",
            "apex_campaignmetricses(00000000-0000-0000-0000-000000000001)",
        ),
    ],
)
def test_a_missing_privilege_is_named(emulator, api, operation, method, path):
    privilege = f"prv{operation}apex_CampaignMetrics"
    emulator.register(emulator.client_id, denied=[privilege])
    answer = api.request(method, path, json={} if method != "GET" else None)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (403, "0x80048306")
    assert f"missing {privilege} privilege (Id=" in error["message"]
    assert emulator.records() == []
