"""multipart/mixed bodies of HTTP requests and answers, as blob batches carry them (storage.md 5.1, Batch)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

_BOUNDARY = re.compile(r'boundary="?([^";\s]{1,200})"?', re.IGNORECASE)
# No control characters: a request of its own could not hold them either.
_REQUEST_LINE = re.compile(r"([A-Z]{1,16}) ([^\0- \x7f]+) HTTP/1\.[01]", re.ASCII)
_HEADER = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([^\0-\x08\n-\x1f\x7f]*)", re.ASCII)


class MalformedMultipartError(ValueError):
    """The body is not a multipart/mixed of HTTP requests."""


@dataclass(frozen=True)
class PartRequest:
    """One request of a batch: `target` is its path and query as written; names of headers are lower case."""

    content_id: str
    method: str
    target: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class PartAnswer:
    content_id: str
    status: int
    headers: Mapping[str, str]
    body: bytes


def parse_requests(content_type: str, body: bytes) -> list[PartRequest]:
    boundary = _BOUNDARY.search(content_type)
    if not content_type.lower().startswith("multipart/mixed") or boundary is None:
        raise MalformedMultipartError("the content type is not multipart/mixed with a boundary")
    text = body.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
    # The first line break belongs to the first delimiter, which needs none before it.
    pieces = f"\n{text}".split(f"\n--{boundary[1]}")
    if len(pieces) < 2 or not pieces[-1].startswith("--"):
        raise MalformedMultipartError("the body does not end with its boundary")
    return [_request(piece) for piece in pieces[1:-1]]


def _request(piece: str) -> PartRequest:
    _, _, rest = piece.partition("\n")
    outer, _, inner = rest.partition("\n\n")
    headers = _headers(outer)
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/http":
        raise MalformedMultipartError("a part is not application/http")
    head, _, _ = inner.lstrip("\n").partition("\n\n")
    line, _, fields = head.partition("\n")
    found = _REQUEST_LINE.fullmatch(line.strip())
    if found is None or not found[2].startswith("/"):
        raise MalformedMultipartError("a part does not begin with a request line")
    return PartRequest(headers.get("content-id", ""), found[1], found[2], _headers(fields))


def _headers(text: str) -> dict[str, str]:
    headers = {}
    for line in text.split("\n"):
        if not line.strip():
            continue
        found = _HEADER.fullmatch(line)
        if found is None:
            raise MalformedMultipartError("a part has a malformed header")
        # Not by the expression: trying where the white space begins takes the square of its length.
        headers[found[1].lower()] = found[2].strip(" \t")
    return headers


def answers_document(boundary: str, answers: list[PartAnswer]) -> bytes:
    parts = []
    for answer in answers:
        lines = [f"--{boundary}", "Content-Type: application/http"]
        if answer.content_id:
            lines.append(f"Content-ID: {answer.content_id}")
        lines += ["", f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        parts.append("\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + answer.body + b"\r\n")
    return b"".join(parts) + f"--{boundary}--\r\n".encode()
