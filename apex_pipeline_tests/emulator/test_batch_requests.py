"""`$batch`: order, failures, change sets."""

from email.parser import BytesParser
from typing import Any

import httpx
import pytest

from apex_pipeline_tests.support.emulator_server import (
    CRLF,
    SET,
    api,
    change_set,
    multipart,
    operation,
    send,
)

__all__ = ["api"]

IDS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(4)]


def answers(response: httpx.Response) -> list[tuple[int, str, str | None]]:
    """Status, body and Content-ID of each part, as a mail reader sees them."""
    head = f"Content-Type: {response.headers['Content-Type']}\r\n\r\n".encode()
    message = BytesParser().parsebytes(head + response.content)
    found = []
    for part in message.walk():
        if part.get_content_type() != "application/http":
            continue
        text = str(part.get_payload())
        status = int(text.split(" ", 2)[1])
        found.append((status, text, part["Content-ID"]))
    return found


def upsert(number: int, **body: Any) -> str:
    url = f"/api/data/v9.2/{SET}({IDS[number]})"
    return operation("PATCH", url, {"apex_phase": "2-3", **body})


def test_operations_run_in_order_and_answer_in_order(emulator, api):
    response = send(
        api,
        [
            upsert(0),
            upsert(0, apex_phase="new"),
            operation("GET", f"{emulator.api}/{SET}({IDS[0]})?$select=apex_phase"),
        ],
    )
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith(
        "multipart/mixed; boundary=batchresponse_"
    )
    first, _, third = answers(response)
    assert first[0] == 204
    assert f"OData-EntityId: {emulator.api}/{SET}({IDS[0]})" in first[1]
    assert third[0] == 200
    assert '"apex_phase":"new"' in third[1]


def test_the_first_failure_ends_the_batch_and_keeps_what_was_done(emulator, api):
    response = send(api, [upsert(0), upsert(1, apex_phase="x" * 17), upsert(2)])
    assert response.status_code == 400
    (only,) = answers(response)
    assert only[0] == 400
    assert "0x80044331" in only[1]
    assert [record["apex_campaignmetricsid"] for record in emulator.records()] == [
        IDS[0]
    ]


def test_continue_on_error_answers_each(emulator, api):
    response = send(
        api,
        [upsert(0), upsert(1, apex_phase="x" * 17), upsert(2)],
        keep_going=True,
    )
    assert response.status_code == 200
    assert [status for status, _, _ in answers(response)] == [204, 400, 204]
    assert "REQ_ID: " in answers(response)[1][1]
    assert len(emulator.records()) == 2


def test_a_change_set_is_all_or_nothing(emulator, api):
    good = change_set(
        operation("POST", f"/api/data/v9.2/{SET}", {"apex_runid": "a"}, 1),
        operation("POST", f"/api/data/v9.2/{SET}", {"apex_runid": "b"}, 2),
    )
    bad = change_set(
        operation("POST", f"/api/data/v9.2/{SET}", {"apex_runid": "c"}, 1),
        operation("POST", f"/api/data/v9.2/{SET}", {"apex_phase": "x" * 17}, 2),
    )
    response = send(api, [good, bad, upsert(0)], keep_going=True)
    found = answers(response)
    assert [(status, content_id) for status, _, content_id in found] == [
        (204, "1"),
        (204, "2"),
        (400, "2"),
        (204, None),
    ]
    assert {record["apex_runid"] for record in emulator.records()} == {"a", "b", None}


def test_a_content_id_stands_for_what_it_created(emulator, api):
    response = send(
        api,
        [
            change_set(
                operation("POST", f"/api/data/v9.2/{SET}", {"apex_runid": "a"}, 1),
                operation("PATCH", "$1", {"apex_phase": "later"}, 2),
            )
        ],
    )
    assert response.status_code == 200
    (record,) = emulator.records()
    assert (record["apex_runid"], record["apex_phase"]) == ("a", "later")


def test_a_reference_forward_is_refused(emulator, api):
    response = send(
        api, [change_set(operation("PATCH", "$1", {"apex_phase": "later"}, 2))]
    )
    assert response.status_code == 400
    assert (
        "Content-ID Reference: '$1' does not exist in the batch context."
        in answers(response)[0][1]
    )
    assert emulator.records() == []


def test_a_change_set_needs_content_ids_and_takes_no_get(api):
    for part in (
        operation("POST", f"/api/data/v9.2/{SET}", {}),
        operation("GET", f"/api/data/v9.2/{SET}", content_id=1),
    ):
        assert send(api, [change_set(part)]).status_code == 400


def test_a_bulk_message_may_be_a_part(emulator, api):
    target = {
        "@odata.type": "Microsoft.Dynamics.CRM.apex_campaignmetrics",
        "apex_campaignmetricsid": IDS[0],
    }
    url = f"/api/data/v9.2/{SET}/Microsoft.Dynamics.CRM.UpsertMultiple"
    response = send(api, [operation("POST", url, {"Targets": [target]})])
    assert [status for status, _, _ in answers(response)] == [204]
    assert len(emulator.records()) == 1


def test_a_thousand_operations_are_the_most(emulator, api):
    get = operation("GET", "/api/data/v9.2/WhoAmI")
    assert len(answers(send(api, [get] * 1000))) == 1000
    response = send(api, [upsert(0)] + [get] * 1000)
    assert response.status_code == 400
    assert "limit is '1000'" in response.json()["error"]["message"]
    assert emulator.records() == []


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("application/json", b"{}"),
        ("multipart/mixed", b"--batch_1--"),
        ("multipart/mixed; boundary=batch_1", b""),
        ("multipart/mixed; boundary=batch_1", b"--batch_1\r\nhello"),
        ("multipart/mixed; boundary=batch_1", b"--batch_1\r\n\r\nx\r\n--batch_1--"),
        (
            "multipart/mixed; boundary=batch_1",
            multipart([operation("POST", "/api/data/v9.2/$batch", {})]).encode(),
        ),
    ],
)
def test_a_malformed_batch_is_answered_in_json(api, content_type, content):
    response = api.post(
        "$batch", content=content, headers={"Content-Type": content_type}
    )
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "0x80048d19"


def test_line_feeds_alone_are_understood(api):
    content = multipart([upsert(0), upsert(1)]).replace(CRLF, "\n").encode()
    response = api.post(
        "$batch",
        content=content,
        headers={"Content-Type": "multipart/mixed; boundary=batch_1"},
    )
    assert [status for status, _, _ in answers(response)] == [204, 204]
