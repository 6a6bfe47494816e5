import json
from datetime import UTC, datetime

import pytest

from apex_pipeline.dataverse.answers import (
    Remedy,
    failure,
    is_intercepted,
    remedy,
)
from apex_pipeline.dataverse.pacing import Allowance, Facet
from apex_pipeline.dataverse.throttle_headers import allowance, facet
from apex_pipeline.errors import (
    AuthError,
    InterceptedError,
    RejectedError,
    SchemaDriftError,
    TransientError,
)
from apex_pipeline.microsoft.http_answer import Answer

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


def refusal(status, code="", message="no", **headers):
    body = json.dumps({"error": {"code": code, "message": message}}).encode()
    return Answer(status, headers, body)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(204, {}), Remedy.NONE),
        (refusal(429, "0x80072322"), Remedy.WAIT),
        (refusal(401), Remedy.RENEW),
        (refusal(500), Remedy.RETRY),
        (refusal(502), Remedy.RETRY),
        (Answer(503, {}, b"<html>gateway</html>"), Remedy.RETRY),
        (refusal(504), Remedy.RETRY),
        (refusal(400, "0x80044150", "Generic SQL error."), Remedy.RETRY),
        (refusal(500, "0x80044151"), Remedy.RETRY),
        (refusal(412, "0x80060892"), Remedy.RETRY),
        (refusal(412, "0x80040237"), Remedy.RETRY),
        (refusal(400, "0x80044331"), Remedy.GIVE_UP),
        (refusal(412, "0x80060882"), Remedy.GIVE_UP),
        (refusal(403), Remedy.GIVE_UP),
        (refusal(404), Remedy.GIVE_UP),
        (refusal(413), Remedy.GIVE_UP),
        (Answer(413, {}, b"<html>too large</html>"), Remedy.GIVE_UP),
        (Answer(403, {}, b"<html>blocked</html>"), Remedy.RETRY),
        (Answer(400, {}, b"{}"), Remedy.RETRY),
        (Answer(401, {}, b"<html>sign in</html>"), Remedy.RETRY),
        (
            Answer(401, {"www-authenticate": "Bearer authorization_uri=x"}, b"<html>"),
            Remedy.RENEW,
        ),
        (Answer(520, {}, b""), Remedy.RETRY),
        (Answer(529, {}, b""), Remedy.RETRY),
        (Answer(302, {"location": "https://elsewhere"}), Remedy.RETRY),
    ],
)
def test_status_and_code_decide_what_to_do(answer, expected):
    assert remedy(answer) is expected


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refusal(401), AuthError),
        (refusal(403, "0x80072560"), AuthError),
        (refusal(404), SchemaDriftError),
        (
            refusal(
                400, "0x80060888", "Resource not found for the segment 'apex_xses'."
            ),
            SchemaDriftError,
        ),
        (refusal(400, "0x80044331"), RejectedError),
        (refusal(413), RejectedError),
        (refusal(503), TransientError),
        (Answer(302, {"location": "https://elsewhere"}), InterceptedError),
        (Answer(403, {}, b"<html>blocked</html>"), InterceptedError),
        (Answer(404, {}, b""), InterceptedError),
        (Answer(400, {}, b'{"error":"bad"}'), InterceptedError),
        (Answer(401, {}, b"<html>sign in</html>"), InterceptedError),
        (Answer(521, {}, b""), TransientError),
    ],
)
def test_errors_are_sorted_by_remedy(answer, kind):
    assert type(failure(answer, "upsert")) is kind


PAGE = b"<html><head><title>Proxy</title></head></html>"


@pytest.mark.parametrize("body", [b"", PAGE, b"{}", b"upstream failed"])
@pytest.mark.parametrize("status", [501, 505, 507, 511, 530, 561, 599, 999])
def test_a_failure_that_is_not_told_as_dataverse_tells_it_is_none_of_its_own(
    status, body
):
    answer = Answer(status, {"server": "proxy/1"}, body)
    assert remedy(answer) is Remedy.RETRY
    assert type(failure(answer, "upsert")) is InterceptedError
    assert "server proxy/1" in str(failure(answer, "upsert"))


def test_what_dataverse_has_not_implemented_is_still_told_as_its_own():
    assert type(failure(refusal(501, "0x80040216"), "upsert")) is SchemaDriftError


@pytest.mark.parametrize(
    ("challenge", "is_dataverses"),
    [
        ("Bearer authorization_uri=https://login.example/t", True),
        ('Basic realm="x", Bearer authorization_uri=https://login.example/t', True),
        ("bearer", True),
        ("", True),
        ('Basic realm="proxy"', False),
        ("Negotiate", False),
        ("NTLM, Negotiate", False),
        ("Bearish x", False),
    ],
)
@pytest.mark.parametrize("body", [b"", b"no", b"{}"])
def test_a_challenge_for_something_else_than_a_token_is_not_dataverses(
    challenge, is_dataverses, body
):
    answer = Answer(401, {"www-authenticate": challenge}, body)
    assert is_intercepted(answer) is not is_dataverses
    assert remedy(answer) is (Remedy.RENEW if is_dataverses else Remedy.RETRY)
    expected = AuthError if is_dataverses else InterceptedError
    assert type(failure(answer, "upsert")) is expected


def test_an_error_of_dataverse_counts_more_than_the_challenge():
    answer = refusal(401, "0x80044302", **{"www-authenticate": "Negotiate"})
    assert type(failure(answer, "upsert")) is AuthError


@pytest.mark.parametrize(
    ("answer", "is_dataverses"),
    [
        (refusal(429, "0x80072322"), True),
        (refusal(429), True),
        (Answer(429, {"odata-version": "4.0", "retry-after": "30"}), True),
        (Answer(429, {"x-ms-service-request-id": "r-1"}), True),
        (Answer(429, {"x-ms-ratelimit-burst-remaining-xrm-requests": "0"}), True),
        (Answer(429, {"retry-after": "30"}), True),
        (Answer(429, {"retry-after": "30"}, b"slow down"), False),
        (Answer(429, {}, PAGE), False),
        (Answer(429, {"x-ms-edge": "1"}, PAGE), False),
        (Answer(429, {}, b'{"error":"rate limit"}'), False),
    ],
)
def test_a_429_is_waited_out_whoever_says_it(answer, is_dataverses):
    assert remedy(answer) is Remedy.WAIT
    assert is_intercepted(answer) is not is_dataverses


def test_an_error_carries_status_code_message_and_the_services_request_id():
    error = failure(
        refusal(400, "0x80044331", "too long", **{"x-ms-service-request-id": "r-1"}),
        "upsert 3 records",
    )
    assert (error.status, error.code, error.request_id) == (400, "0x80044331", "r-1")
    assert str(error) == (
        "Dataverse refused to upsert 3 records: too long "
        "(HTTP 400, code 0x80044331, request r-1)"
    )


def test_a_privilege_that_is_missing_is_named_with_the_remedy():
    error = failure(refusal(403, "0x80040220", "is missing prvCreatex."), "upsert")
    assert "prvCreatex" in str(error)
    assert "role" in str(error)


def test_only_an_error_of_dataverse_suggests_a_role():
    page = b"<html><head><title>Access &amp; denied</title></head></html>"
    blocked = failure(Answer(403, {"server": "WAF/1"}, page), "upsert 3 records")
    assert "role" not in str(blocked)
    assert (
        "Could not upsert 3 records: something between us and Dataverse answers in its "
        "place: HTTP 403, server WAF/1, page “Access & denied”." in str(blocked)
    )


@pytest.mark.parametrize(
    ("code", "message", "told"),
    [
        (
            "0x80040225",
            "The specified user is disabled.",
            "Enable its application user",
        ),
        ("0x8004a104", "The organization is disabled.", "administration mode: switch"),
        (
            "0x80040220",
            "Lacks role membership to access the org when it is in Admin Only mode.",
            "administration mode: switch that off",
        ),
    ],
)
def test_what_a_role_does_not_cure_suggests_none(code, message, told):
    text = str(failure(refusal(403, code, message), "upsert"))
    assert told in text
    assert "a role with" not in text


def test_a_redirect_is_told_by_its_host_alone():
    answer = Answer(302, {"location": "https://portal.example/login?secret=1"})
    assert "a redirect to portal.example." in str(failure(answer, "upsert"))
    assert "secret" not in str(failure(answer, "upsert"))


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"error":"text"}', b'{"error":null}', b"\xff\x00<html>"]
)
def test_a_body_that_is_no_error_is_excerpted(body):
    code, message = Answer(500, {}, body).error()
    assert code is None
    assert message


@pytest.mark.parametrize(
    "body",
    [
        b"1e9999999999999999999",
        b'{"error":{"code":"0x80044331","message":"no","at":-1e9999999999999999999}}',
        b'{"value":[1e-9999999999999999999]}',
    ],
)
def test_a_number_that_no_decimal_holds_makes_it_no_document(body):
    answer = Answer(400, {}, body)
    assert answer.document is None
    assert type(failure(answer, "upsert")) is InterceptedError


def test_allowances_are_read_with_their_thousands_separator():
    answer = Answer(
        204,
        {
            "x-ms-dop-hint": "4",
            "x-ms-ratelimit-burst-remaining-xrm-requests": "5,999",
            "x-ms-ratelimit-time-remaining-xrm-requests": "1,200.00",
        },
    )
    assert allowance(answer) == Allowance(5999.0, 1200.0, 4)
    assert allowance(Answer(204, {"x-ms-dop-hint": "many"})) == Allowance()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30", 30.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("Mon, 23 Nov 2026 12:01:00 GMT", 60.0),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("30,120", 120.0),
        ("30, 120", 120.0),
        ("1,soon", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value, seconds):
    assert Answer(429, {"retry-after": value}).retry_after(NOW) == seconds


def test_a_429_names_its_facet():
    assert facet(refusal(429, "0x80072321")) is Facet.EXECUTION_TIME
    assert facet(refusal(429, "0X80072326")) is Facet.CONCURRENCY
    assert facet(Answer(429, {}, b"")) is None
