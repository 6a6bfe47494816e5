"""The sender and the client over a transport that answers on cue."""

import asyncio
import json
import logging
import ssl
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import pytest

from apex_pipeline.dataverse.retry_policy import RetryPolicy
from apex_pipeline.dataverse.throttling import Deadline
from apex_pipeline.errors import (
    AuthError,
    DataverseError,
    InterceptedError,
    OutOfTimeError,
    RejectedError,
    TooMuchError,
    TransientError,
)
from apex_pipeline_tests.support.entra import RESOURCE, Entra
from apex_pipeline_tests.support.scripted_sender import (
    IMPATIENT,
    TABLE,
    TARGETS,
    VERSION,
    connected,
    no,
)


class Service:
    """Returns the answers in turn, the last one for ever; raises exceptions."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []

    def __call__(self, request):
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            return answer(request)
        return answer


def yes(**headers):
    return lambda _: httpx.Response(204, headers=VERSION | headers)


def page(document):
    # As \u escapes, which may name halves of a character.
    headers = VERSION | {"Content-Type": "application/json"}
    content = json.dumps(document).encode()
    return lambda _: httpx.Response(200, content=content, headers=headers)


async def silence(_):
    await asyncio.sleep(60)


def upsert(service, tmp_path, *, seconds=60.0, keys=2, **options):
    async def go():
        async with connected(service, tmp_path, **options) as client:
            return await client.upsert_multiple(
                TABLE, TARGETS[:keys], Deadline(seconds)
            )

    return asyncio.run(go())


def test_upsert_multiple_sends_typed_targets_by_primary_key(tmp_path):
    service = Service(yes())
    upsert(service, tmp_path)
    (request,) = service.requests
    assert request.url == (
        f"{RESOURCE}/api/data/v9.2/apex_campaignmetricses"
        "/Microsoft.Dynamics.CRM.UpsertMultiple"
    )
    assert json.loads(request.content)["Targets"][0] == {
        "@odata.type": "Microsoft.Dynamics.CRM.apex_campaignmetrics",
        "apex_campaignmetricsid": str(UUID(int=1)),
        "apex_phase": "2-3",
    }
    assert request.headers["authorization"] == "Bearer token-1"
    assert UUID(request.headers["x-ms-client-request-id"]).version == 4
    assert request.headers["odata-version"] == "4.0"


@pytest.mark.parametrize(
    "fault",
    [
        no(500),
        no(503),
        no(400, "0x80044150"),
        no(412, "0x80060892"),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("silence"),
        httpx.RemoteProtocolError("dropped"),
    ],
)
def test_a_passing_fault_is_sent_again(tmp_path, fault):
    service = Service(fault, fault, yes())
    upsert(service, tmp_path)
    assert len(service.requests) == 3


def test_patience_with_faults_is_bounded(tmp_path):
    service = Service(no(503))
    with pytest.raises(TransientError) as caught:
        upsert(service, tmp_path)
    assert caught.value.status == 503
    assert len(service.requests) == IMPATIENT.attempts


def test_a_data_error_is_not_sent_again(tmp_path):
    service = Service(no(400, "0x80044331"))
    with pytest.raises(RejectedError):
        upsert(service, tmp_path)
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (no(500, "0x80044151"), 500),
        (no(502), 502),
        (no(504), 504),
        (no(524), 524),
        (no(413), 413),
        (silence, None),
    ],
)
def test_what_is_too_much_at_once_is_left_to_whoever_can_send_less(
    tmp_path, answer, status
):
    service = Service(answer)
    with pytest.raises(TooMuchError) as caught:
        upsert(service, tmp_path, request_timeout=0.5)
    assert len(service.requests) == 1
    assert caught.value.status == status
    assert (caught.value.seconds == 0.5) is (answer is silence)


@pytest.mark.parametrize("answer", [no(502), no(504), no(524), silence])
def test_what_cannot_be_less_is_sent_again(tmp_path, answer):
    service = Service(answer, yes())
    upsert(service, tmp_path, request_timeout=0.5, keys=1)
    assert len(service.requests) == 2


def test_the_time_that_the_service_took_is_told(tmp_path):
    async def slow(request):
        await asyncio.sleep(0.2)
        return yes()(request)

    assert 0.2 <= upsert(Service(slow), tmp_path) < 5


def test_no_retry_begins_after_the_deadline_and_the_last_fault_is_named(tmp_path):
    service = Service(no(503))
    patient = RetryPolicy(attempts=50, first_wait=0.1, longest_wait=0.1)
    with pytest.raises(OutOfTimeError) as caught:
        upsert(service, tmp_path, seconds=0.3, retry=patient)
    assert isinstance(caught.value.__cause__, TransientError)
    assert 1 < len(service.requests) < 10


def test_a_refused_token_is_renewed_once(tmp_path):
    service = Service(no(401), yes())
    upsert(service, tmp_path)
    assert [r.headers["authorization"] for r in service.requests] == [
        "Bearer token-1",
        "Bearer token-2",
    ]

    service = Service(no(401))
    with pytest.raises(AuthError):
        upsert(service, tmp_path)
    assert len(service.requests) == 2


def unauthorized_every(nth):
    """A service that refuses every n-th request, whatever its token."""
    count = 0

    def answer(_):
        nonlocal count
        count += 1
        return no(401)(_) if count % nth == 0 else yes()(_)

    return answer


def upsert_many(service, tmp_path, requests, **options):
    async def go():
        async with (
            connected(service, tmp_path, **options) as client,
            asyncio.TaskGroup() as group,
        ):
            await client.upsert_multiple(TABLE, TARGETS, Deadline())
            for _ in range(requests):
                group.create_task(client.upsert_multiple(TABLE, TARGETS, Deadline()))

    asyncio.run(go())


@pytest.mark.parametrize("nth", [2, 9])
def test_a_token_that_was_accepted_and_then_is_not_is_a_passing_fault(tmp_path, nth):
    service = Service(unauthorized_every(nth))
    upsert_many(service, tmp_path, 40, retry=RetryPolicy(attempts=12, first_wait=0.001))
    assert len(service.requests) > 41


def test_refusals_of_accepted_tokens_end_some_time(tmp_path):
    service = Service(yes(), no(401))
    with pytest.raises(ExceptionGroup) as caught:
        upsert_many(service, tmp_path, 1)
    (error,) = caught.value.exceptions
    assert isinstance(error, TransientError)
    assert "has accepted this application's tokens before" in str(error)
    tokens = [request.headers["authorization"] for request in service.requests[1:]]
    assert len(tokens) == len(set(tokens)) == IMPATIENT.attempts + 1


def test_workers_that_meet_one_refusal_together_renew_once(tmp_path):
    entra = Entra()
    under_way = asyncio.Event()
    waiting = 0

    async def answer(request):
        nonlocal waiting
        if request.headers["authorization"] != "Bearer token-1" or not waiting:
            waiting += 1
            return yes(**{"x-ms-dop-hint": "4"})(request)
        waiting += 1
        if waiting == 5:
            under_way.set()
        await under_way.wait()
        return no(401)(request)

    upsert_many(answer, tmp_path, 4, entra=entra)
    assert entra.tokens == ["token-1", "token-2"]


def test_a_token_endpoint_that_breaks_off_is_asked_again(tmp_path):
    entra = Entra(
        said=[httpx.ReadError("reset by peer"), httpx.Response(503)],
        described=[ssl.SSLError(1, "[SSL] bad record mac")],
    )
    service = Service(yes())
    upsert(service, tmp_path, entra=entra, retry=RetryPolicy(4, 0.001))
    assert len(service.requests) == 1
    assert entra.tokens == ["token-1"]


def test_what_must_not_be_repeated_may_wait_for_its_token(tmp_path):
    entra = Entra(said=[httpx.ConnectError("refused")])
    service = Service(yes())

    async def go():
        async with connected(service, tmp_path, entra=entra) as client:
            await client.write(
                "POST", "PublishXml", {}, what="publish", deadline=Deadline()
            )

    asyncio.run(go())
    assert len(service.requests) == 1


def test_patience_with_the_token_endpoint_is_bounded(tmp_path):
    entra = Entra(fault=httpx.ConnectError("refused"))
    service = Service(yes())
    with pytest.raises(TransientError, match="for a token"):
        upsert(service, tmp_path, entra=entra)
    assert service.requests == []


def test_a_wait_that_the_authority_asks_for_beyond_the_deadline_ends_it(tmp_path):
    busy = httpx.Response(429, headers={"Retry-After": "600"})
    entra = Entra(said=[busy, busy])
    with pytest.raises(TransientError) as caught:
        upsert(Service(yes()), tmp_path, entra=entra, seconds=60)
    assert caught.value.retry_after == 600.0
    assert len(entra.said) == 1


def test_tls_that_fails_in_mid_stream_is_a_passing_fault(tmp_path):
    service = Service(ssl.SSLError(1, "[SSL] bad record mac"), yes())
    upsert(service, tmp_path)
    assert len(service.requests) == 2


def test_a_503_says_how_long_to_stay_away(tmp_path):
    service = Service(no(503, retry_after="600"))
    with pytest.raises(OutOfTimeError, match="HTTP 503") as caught:
        upsert(service, tmp_path, seconds=60)
    assert caught.value.retry_at is not None
    assert caught.value.retry_at > datetime.now(UTC) + timedelta(minutes=9)
    assert len(service.requests) == 1


def test_who_answers_in_dataverses_place_is_logged_though_the_next_answer_is_right(
    tmp_path, caplog
):
    page = httpx.Response(
        200, html="<title>Sign in</title>", headers={"Server": "portal/1"}
    )
    with caplog.at_level(logging.WARNING):
        upsert(Service(page, page, yes()), tmp_path)
    (record,) = caplog.records
    assert "server portal/1, page “Sign in”" in record.message


def test_a_single_upsert_is_a_patch_by_primary_key(tmp_path):
    address = f"{RESOURCE}/api/data/v9.2/apex_campaignmetricses({UUID(int=1)})"
    service = Service(yes(**{"OData-EntityId": address}))

    async def go():
        async with connected(service, tmp_path) as client:
            await client.upsert(TABLE, TARGETS[0], Deadline())

    asyncio.run(go())
    (request,) = service.requests
    assert request.method == "PATCH"
    assert request.url.path.endswith(f"/apex_campaignmetricses({UUID(int=1)})")
    assert json.loads(request.content) == {"apex_phase": "2-3"}


def test_a_429_is_waited_out(tmp_path):
    service = Service(no(429, retry_after="1"), yes())
    upsert(service, tmp_path)
    assert len(service.requests) == 2


def test_a_retry_after_beyond_the_deadline_ends_the_attempt_and_says_when(tmp_path):
    service = Service(no(429, retry_after="600"))
    with pytest.raises(OutOfTimeError, match=r"throttles .* \(HTTP 429\)") as caught:
        upsert(service, tmp_path, seconds=30)
    assert caught.value.retry_at is not None
    assert len(service.requests) == 1


def test_a_429_without_retry_after_is_taken_for_thirty_seconds(tmp_path):
    with pytest.raises(OutOfTimeError):
        upsert(Service(no(429)), tmp_path, seconds=29)


def busy(status=429, **headers):
    """A gateway that limits requests by itself."""
    return lambda _: httpx.Response(
        status,
        html="<title>Slow down</title>",
        headers={"Server": "gateway/1"} | headers,
    )


def test_a_pause_that_a_gateway_asks_for_is_kept(tmp_path, caplog):
    service = Service(busy(**{"Retry-After": "1"}), yes())
    with caplog.at_level(logging.WARNING):
        upsert(service, tmp_path)
    assert len(service.requests) == 2
    assert "server gateway/1, page “Slow down”" in caplog.text


@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_that_a_gateway_asks_for_is_not_told_as_dataverses(tmp_path, status):
    service = Service(busy(status, **{"Retry-After": "600"}))
    with pytest.raises(OutOfTimeError, match="page “Slow down”") as caught:
        upsert(service, tmp_path, seconds=30)
    assert "throttles" not in str(caught.value)
    assert caught.value.retry_at is None
    assert len(service.requests) == 1


def test_a_429_of_dataverse_without_a_body_is_its_own(tmp_path):
    empty = httpx.Response(429, headers=VERSION | {"Retry-After": "600"})
    with pytest.raises(OutOfTimeError, match="throttles") as caught:
        upsert(Service(empty), tmp_path, seconds=30)
    assert caught.value.retry_at is not None


def test_a_deadline_that_is_cut_ends_retries(tmp_path):
    deadline = Deadline(60)

    def fail_and_cut(_):
        deadline.cut()
        return httpx.Response(503)

    service = Service(fail_and_cut)

    async def go():
        async with connected(service, tmp_path) as client:
            await client.upsert_multiple(TABLE, TARGETS, deadline)

    with pytest.raises(TransientError):
        asyncio.run(go())
    assert len(service.requests) == 1


def test_the_affinity_cookie_is_never_sent_back(tmp_path):
    cookie = {"set-cookie": "ARRAffinity=abc; path=/; secure; HttpOnly"}
    service = Service(yes(**cookie))

    async def go():
        async with connected(service, tmp_path) as client:
            for _ in range(3):
                await client.upsert_multiple(TABLE, TARGETS, Deadline())

    asyncio.run(go())
    assert all("cookie" not in request.headers for request in service.requests)


def pages(service, tmp_path):
    async def go():
        async with connected(service, tmp_path) as client:
            return [
                page
                async for page in client.pages(
                    "things", what="list", deadline=Deadline()
                )
            ]

    return asyncio.run(go())


def test_pages_follow_the_link_as_it_is_given(tmp_path):
    link = f"{RESOURCE}/api/data/v9.2/things?$skiptoken=%3Ccookie%20pagenumber=%222%22"
    blank = link.replace("cookie%20", "cookie ")
    service = Service(
        page({"value": [{"n": 1}], "@odata.nextLink": blank}),
        page({"value": [{"n": 2}]}),
    )
    assert pages(service, tmp_path) == [[{"n": 1}], [{"n": 2}]]
    assert str(service.requests[1].url) == link
    assert service.requests[1].headers["prefer"] == "odata.maxpagesize=5000"


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/api/data/v9.2/things",
        "http://org.example/api/data/v9.2/things",
        "https://org.example:444/x",
        "https://org.example@evil.example/x",
    ],
)
def test_a_link_to_another_host_is_not_given_the_token(tmp_path, link):
    service = Service(page({"value": [{"n": 1}], "@odata.nextLink": link}))
    with pytest.raises(DataverseError, match="another host"):
        pages(service, tmp_path)
    assert len(service.requests) == 1


THINGS = f"{RESOURCE}/api/data/v9.2/things"
ODD_LINKS = [
    f"{THINGS}?$skiptoken=\ud800",
    f"{THINGS}?$skiptoken=ä",
    f"{THINGS}?\n",
    f"{THINGS}?\x00",
    f"{THINGS}?{'x' * 70_000}",
    "things?$skiptoken=2",
    "https://[",
    "",
    7,
    False,
    {},
]


@pytest.mark.parametrize("link", ODD_LINKS, ids=range(len(ODD_LINKS)))
def test_a_link_that_is_none_is_a_passing_fault(tmp_path, link):
    odd = page({"value": [{"n": 1}], "@odata.nextLink": link})
    service = Service(odd)
    with pytest.raises(InterceptedError, match=r"a usable @odata\.nextLink"):
        pages(service, tmp_path)
    assert len(service.requests) == IMPATIENT.attempts
    assert pages(Service(odd, page({"value": []})), tmp_path) == [[]]


@pytest.mark.parametrize("links", [[THINGS], [f"{THINGS}?2", THINGS]])
def test_a_link_that_was_followed_already_is_not_followed_again(tmp_path, links):
    answers = [page({"value": [], "@odata.nextLink": link}) for link in links]
    service = Service(*answers)
    with pytest.raises(InterceptedError, match="that was not followed yet"):
        pages(service, tmp_path)
    assert len(service.requests) == len(links) - 1 + IMPATIENT.attempts


def tracked(service, tmp_path):
    async def go():
        async with connected(service, tmp_path) as client:
            return await client.tracked_page(
                THINGS, what="list", deadline=Deadline(), page_size=10
            )

    return asyncio.run(go())


@pytest.mark.parametrize("name", ["@odata.nextLink", "@odata.deltaLink"])
@pytest.mark.parametrize("link", ODD_LINKS, ids=range(len(ODD_LINKS)))
def test_a_link_of_change_tracking_that_is_none_is_a_passing_fault(
    tmp_path, name, link
):
    links = {"@odata.nextLink": f"{THINGS}?2", "@odata.deltaLink": f"{THINGS}?3"}
    service = Service(page({"value": [], **links, name: link}))
    with pytest.raises(InterceptedError, match=f"a usable {name}"):
        tracked(service, tmp_path)


def test_only_a_next_link_must_lead_on(tmp_path):
    same = page({"value": [], "@odata.nextLink": THINGS})
    with pytest.raises(InterceptedError, match="that was not followed yet"):
        tracked(Service(same), tmp_path)
    same = page({"value": [], "@odata.deltaLink": THINGS})
    assert tracked(Service(same), tmp_path).delta_link == THINGS


def test_requests_wait_for_each_other_at_the_gate(tmp_path):
    """Without a hint, the first request goes alone, then four at once."""
    most = under_way = 0

    async def slowly(_):
        nonlocal most, under_way
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        return httpx.Response(204, headers=VERSION | {"x-ms-dop-hint": "3"})

    async def go():
        async with connected(slowly, tmp_path) as client, asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(client.upsert_multiple(TABLE, TARGETS, Deadline()))

    asyncio.run(go())
    assert most == 3
