import pytest
from hypothesis import given, strategies as st

from apex_pipeline.dataverse.batch import (
    MAX_OPERATIONS,
    MalformedBatchError,
    Operation,
    decode,
    encode,
)
from apex_pipeline.microsoft.http_answer import Answer

ANSWER = (
    "--batchresponse_1\r\n"
    "Content-Type: application/http\r\n"
    "Content-Transfer-Encoding: binary\r\n\r\n"
    "HTTP/1.1 204 No Content\r\n"
    "OData-Version: 4.0\r\n"
    "OData-EntityId: https://org/api/data/v9.2/set(1)\r\n\r\n\r\n"
    "--batchresponse_1\r\n"
    "Content-Type: application/http\r\n"
    "Content-Transfer-Encoding: binary\r\n\r\n"
    "HTTP/1.1 400 Bad Request\r\n"
    "REQ_ID: abc\r\n"
    "Content-Type: application/json; odata.metadata=minimal\r\n\r\n"
    '{"error":{"code":"0x80044331","message":"zu lang: äöü"}}\r\n'
    "--batchresponse_1--\r\n"
).encode()
CONTENT_TYPE = "multipart/mixed; boundary=batchresponse_1"


@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
def test_answers_are_read_in_order(newline):
    first, second = decode(CONTENT_TYPE, ANSWER.replace(b"\r\n", newline))
    assert first.status == 204
    assert second.status == 400
    assert second.request_id == "abc"
    assert second.error() == ("0x80044331", "zu lang: äöü")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'{"error":{}}'),
        ("multipart/mixed", ANSWER),
        (CONTENT_TYPE, b""),
        (CONTENT_TYPE, ANSWER.replace(b"HTTP/1.1 204", b"nonsense")),
        ("", b"\x00\xff"),
    ],
)
def test_what_is_no_batch_is_an_error_and_no_crash(content_type, body):
    with pytest.raises(MalformedBatchError):
        decode(content_type, body)


HEAD = b"--b\r\nContent-Type: application/http\r\n\r\n"
NESTED = b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
OF_B = "multipart/mixed; boundary=b"


@pytest.mark.parametrize(
    "header",
    [
        "Message-ID: <",
        "To: <",
        'To: "',
        "To: a@[",
        "Date: Fri, 31 Dec 99999 23:59:59 GMT",
        "Content-Type: application/json; charset*=idna''%ff",
        "Content-Disposition: a; b*9999=c",
        "X:",
    ],
)
def test_a_header_that_concerns_nobody_is_not_interpreted(header):
    body = HEAD + f"HTTP/1.1 204 No Content\r\n{header}\r\n\r\n\r\n--b--".encode()
    (part,) = decode(OF_B, body)
    assert part.status == 204


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(NESTED * 2000, id="nested"),
        pytest.param(NESTED * 2000 + b"--b--", id="nested-closed"),
        HEAD + b"HTTP/1.1 204 No Content\r\nno header\r\n\r\n\r\n--b--",
        HEAD + b"HTTP/1.1 204 No Content\r\n folded from nothing\r\n\r\n--b--",
        HEAD + b"HTTP/1.1 204 No Content\r\n",
        b"--b--",
        pytest.param(b"--b\r\n" * (MAX_OPERATIONS + 2) + b"--b--", id="many"),
        HEAD.replace(b"/http", b"/http\r\nContent-ID: 2")
        + b"HTTP/1.1 204 No Content\r\n\r\n--b--",
    ],
)
def test_parts_that_nobody_documents_are_an_error_and_no_crash(body):
    with pytest.raises(MalformedBatchError):
        decode(OF_B, body)


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/mixed; boundary*=idna''%ff",
        "multipart/mixed; boundary*=a\0b''b",
        pytest.param(f"multipart/mixed; boundary*{'9' * 5000}=b", id="number"),
        'multipart/mixed; boundary="',
        "multipart/mixed; boundary=",
        "text/plain; boundary=b",
    ],
)
def test_a_content_type_without_a_boundary_is_an_error_and_no_crash(content_type):
    with pytest.raises(MalformedBatchError):
        decode(content_type, HEAD + b"HTTP/1.1 204 No Content\r\n\r\n--b--")


@pytest.mark.parametrize(
    "content_type",
    ["Multipart/Mixed;Boundary=b", 'multipart/mixed; charset="x;y"; boundary="b"'],
)
def test_a_boundary_is_found_in_every_spelling(content_type):
    body = b"preamble\r\n" + HEAD + b"HTTP/1.1 204 No\r\n\r\n--b-- \r\nepilogue"
    (part,) = decode(content_type, body)
    assert (part.status, part.headers, part.body) == (204, {}, b"")


def test_a_folded_header_is_one_and_a_boundary_within_a_line_divides_nothing():
    body = (
        b"--b\r\nContent-Type:\r\n application/http; msgtype=response\r\n\r\n"
        b"HTTP/1.1 400 Bad Request\r\nREQ_ID: 1,\r\n\t2\r\n\r\n"
        b'{"error": "--b"}\r\n--b--'
    )
    (part,) = decode(OF_B, body)
    assert part.request_id == "1, 2"
    assert part.body == b'{"error": "--b"}'


PIECES = st.sampled_from(
    [
        *(b"--b", b"--b--", b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"<", b'"'),
        *(b"To: a@[", b"Message-ID: <", b"Content-ID: <1>", b"\0", b"\xff", b"{}"),
        b"Content-Type: application/http\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"HTTP/1.1 204 No Content\r\n",
    ]
)


@given(
    content_type=st.just(OF_B) | st.text(),
    body=st.binary(max_size=300) | st.lists(PIECES, max_size=30).map(b"".join),
)
def test_any_bytes_are_parts_or_an_error(content_type, body):
    try:
        parts = decode(content_type, body)
    except MalformedBatchError:
        return
    assert parts
    assert all(isinstance(part, Answer) for part in parts)


def test_a_request_is_multipart_with_crlf_and_counted_bytes():
    content_type, body = encode([Operation("PATCH", "/api/x(1)", '{"a":"ä"}')])
    boundary = content_type.split('"')[1]
    assert (
        body
        == (
            f"--{boundary}\r\n"
            "Content-Type: application/http\r\n"
            "Content-Transfer-Encoding: binary\r\n\r\n"
            "PATCH /api/x(1) HTTP/1.1\r\n"
            "Content-Type: application/json; type=entry\r\n"
            "Content-Length: 10\r\n\r\n"
            '{"a":"ä"}\r\n'
            f"--{boundary}--\r\n"
        ).encode()
    )
