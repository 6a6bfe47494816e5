import pytest

from apex_pipeline.dataverse.batch import MalformedBatchError, Operation, decode, encode

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
