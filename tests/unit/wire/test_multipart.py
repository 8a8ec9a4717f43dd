"""Bodies of batches: what is taken, and that nothing else does harm."""

import email

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbatchai.wire.multipart import (
    MalformedMultipartError,
    PartAnswer,
    answers_document,
    parse_requests,
)

TYPE = "multipart/mixed; boundary=b"
PART = "Content-Type: application/http\r\nContent-ID: {}\r\n\r\n{}\r\n"
REQUEST = (
    "DELETE /c/b?x=1 HTTP/1.1\r\nX-ms-Date: now\r\nAuthorization:  SharedKey a:b== \r\nContent-Length: 0\r\n"
)


def body(*parts: str) -> bytes:
    return "".join([f"--b\r\n{part}\r\n" for part in parts] + ["--b--\r\n"]).encode()


@pytest.mark.parametrize("ending", ["\r\n", "\n"])
def test_requests_with_their_headers(ending):
    text = body(PART.format("0", REQUEST), PART.format("one", REQUEST.replace("/b?", "/é?")))
    found = parse_requests(TYPE, text.replace(b"\r\n", ending.encode()))
    assert [(part.content_id, part.method, part.target) for part in found] == [
        ("0", "DELETE", "/c/b?x=1"),
        ("one", "DELETE", "/c/é?x=1"),
    ]
    assert found[0].headers == {
        "x-ms-date": "now",
        "authorization": "SharedKey a:b==",
        "content-length": "0",
    }


@pytest.mark.parametrize(
    "part",
    [
        "",
        "Content-Type: text/plain\r\n\r\nDELETE /c/b HTTP/1.1\r\n",
        PART.format("0", ""),
        PART.format("0", "DELETE http://elsewhere/c/b HTTP/1.1\r\n"),
        PART.format("0", "DELETE /c/b\r\n"),
        PART.format("0", "DELETE /c/b HTTP/1.1\r\nno header\r\n"),
        PART.format("0", "DELETE /c/b HTTP/1.1\r\nbad name: x\r\n"),
        PART.format("0", "DELETE /c/b\1 HTTP/1.1\r\n"),
        PART.format("0", "DELETE /c/b HTTP/1.1\r\nx-ms-client-request-id: a\rInjected: b\r\n"),
    ],
)
def test_parts_that_are_no_requests(part):
    with pytest.raises(MalformedMultipartError):
        parse_requests(TYPE, body(PART.format("0", REQUEST), part))


def test_white_space_in_a_header_takes_no_time():
    """It took the square of its length: here a quarter of an hour."""
    value = "a" + " " * 400_000 + "b"
    [found] = parse_requests(TYPE, body(PART.format("0", f"DELETE /c/b HTTP/1.1\r\nx-ms-a: {value} \r\n")))
    assert found.headers["x-ms-a"] == value


@given(st.binary(max_size=200), st.text('mixed/;= b"', max_size=30))
def test_whatever_comes_is_refused_or_understood(data, kind):
    for content_type in (TYPE, f"multipart/mixed{kind}boundary=b", kind):
        for text in (data, b"--b\r\n" + data + b"\r\n--b--"):
            try:
                found = parse_requests(content_type, text)
            except MalformedMultipartError:
                continue
            assert all(part.target.startswith("/") for part in found)


def test_answers_are_read_by_a_standard_parser():
    answers = [PartAnswer("0", 202, {"x-ms-a": "1"}, b""), PartAnswer("1", 404, {"x-ms-b": "2"}, b"<Error/>")]
    document = answers_document("b", answers)
    message = email.message_from_bytes(f"Content-Type: {TYPE}\r\n\r\n".encode() + document)
    first, second = message.get_payload()
    assert (first["Content-ID"], first.get_payload()) == ("0", "HTTP/1.1 202 Accepted\r\nx-ms-a: 1\r\n\r\n")
    assert second.get_payload() == "HTTP/1.1 404 Not Found\r\nx-ms-b: 2\r\n\r\n<Error/>"
