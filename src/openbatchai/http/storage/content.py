"""Answering with the bytes of a file or blob: ranges, conditions, and what a log's reader has been told."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from openbatchai.dataplane import Storage, crc64
from openbatchai.dataplane.blobtree import OpenItem
from openbatchai.dataplane.conditions import Conditions
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.ranges import RangeHeader, Span, incomplete_tail, is_log
from openbatchai.dataplane.records import Item
from openbatchai.dataplane.structured import KIND, Encoder, check_kind, encoded_length
from openbatchai.dataplane.uploads import md5_of
from openbatchai.domain.ports import ItemRef
from openbatchai.http.storage.exchange import PIECE, Envelope, Exchange, read_in_steps
from openbatchai.http.storage.integrity import CRC64, STRUCTURED
from openbatchai.http.storage.request import conditions_of, range_of

_SUMMED_BYTES = 4 << 20
_TAIL = 4


@dataclass(frozen=True)
class ContentForm:
    """How a service opens an item, checks a request's conditions on it, and names its headers."""

    open: Callable[[ItemRef], OpenItem]
    headers: Callable[[Item, Exchange], dict[str, str]]
    whole_md5: str
    check_read: Callable[[Item, Conditions], None]


@dataclass(frozen=True)
class _Ready:
    """An opened answer: `span` goes out; `reaches_end` when nothing lies behind it."""

    opened: OpenItem
    span: Span
    is_range: bool
    reaches_end: bool
    first: bytes
    range_sums: Mapping[str, str]


@dataclass(frozen=True)
class _Request:
    ref: ItemRef
    range: RangeHeader | None
    conditions: Conditions
    wanted_sums: frozenset[str]
    follows_log: bool


_SUMS: Mapping[str, Callable[[bytes], str]] = {
    "Content-MD5": md5_of,
    CRC64: lambda data: crc64.to_base64(crc64.crc64(data)),
}


def wanted_sums_of(headers: Mapping[str, str]) -> frozenset[str]:
    """The headers with sums of a range that a request asks for; InvalidHeaderValue for both."""
    asked = {"x-ms-range-get-content-md5": "Content-MD5", "x-ms-range-get-content-crc64": CRC64}
    wanted = frozenset(sent for name, sent in asked.items() if headers.get(name, "").lower() == "true")
    if len(wanted) > 1:
        raise StorageError(StorageCode.INVALID_HEADER, detail={"HeaderName": "x-ms-range-get-content-crc64"})
    return wanted


def _envelope(length: int) -> Envelope:
    return Envelope(encoded_length(length), Encoder(length).feed)


async def send_content(exchange: Exchange, storage: Storage, form: ContentForm) -> None:
    """Answer a GET; a reader with a SAS leaves a mark (clients.md section 7, "job file stream")."""
    headers = exchange.headers
    is_reader = exchange.grant.is_sas
    wanted_sums = wanted_sums_of(headers)
    structured = STRUCTURED in headers
    if structured:
        check_kind(headers[STRUCTURED])
    requested = range_of(headers)
    follows = is_reader and is_log(exchange.ref.path)
    request = _Request(exchange.ref, requested, conditions_of(headers), wanted_sums, follows)
    if is_reader:
        storage.readers.fetched(exchange.ref)
    try:
        ready = await exchange.run(_prepare, form, request)
    except _BeyondEndError as error:
        if is_reader:
            storage.readers.told(exchange.ref, error.size)
        raise
    try:
        answer = _headers(form, ready, exchange) | _checked(exchange.grant.overrides)
        status = 206 if ready.is_range else 200
        envelope = _envelope(ready.span.length) if structured else None
        if envelope is not None:
            answer |= {STRUCTURED: KIND, "x-ms-structured-content-length": str(ready.span.length)}
        complete = await exchange.stream(status, answer, ready.opened.fd, ready.span, ready.first, envelope)
    finally:
        os.close(ready.opened.fd)
    if complete and is_reader and ready.reaches_end:
        storage.readers.told(exchange.ref, ready.opened.item.size)


class _BeyondEndError(StorageError):
    """The range begins at or past the end: the client learns the length from that."""

    def __init__(self, size: int) -> None:
        super().__init__(StorageCode.INVALID_RANGE, headers={"Content-Range": f"bytes */{size}"})
        self.size = size


def _prepare(form: ContentForm, request: _Request) -> _Ready:
    opened = form.open(request.ref)
    try:
        form.check_read(opened.item, request.conditions)
        return _ready(opened, request)
    except BaseException:
        os.close(opened.fd)
        raise


def _ready(opened: OpenItem, request: _Request) -> _Ready:
    size = opened.item.size
    if request.range is None:
        span = Span(0, size)
    else:
        try:
            span = request.range.within(size)
        except StorageError:
            raise _BeyondEndError(size) from None
    reaches_end = span.end == size
    if request.follows_log and request.range is not None and request.range.is_open:
        span = _whole_characters(opened.fd, span)
        if not span.length:
            raise _BeyondEndError(size)
    if span.length > PIECE:
        read_in_steps(opened.fd)
    first = os.pread(opened.fd, min(PIECE, span.length), span.start)
    sums: dict[str, str] = {}
    if request.wanted_sums and request.range is not None:
        if span.length > _SUMMED_BYTES:
            raise StorageError(StorageCode.OUT_OF_RANGE_INPUT, "A sum is given for ranges of up to 4 MiB.")
        if len(first) < span.length:
            first += os.pread(opened.fd, span.length - len(first), span.start + len(first))
        sums = {name: _SUMS[name](first) for name in request.wanted_sums}
    return _Ready(opened, span, request.range is not None, reaches_end, first, sums)


def _whole_characters(fd: int, span: Span) -> Span:
    """End before a character that the job has written only half of; its reader decodes each answer alone."""
    count = min(_TAIL, span.length)
    return Span(span.start, span.end - incomplete_tail(os.pread(fd, count, span.end - count)))


def _headers(form: ContentForm, ready: _Ready, exchange: Exchange) -> dict[str, str]:
    item = ready.opened.item
    headers = form.headers(item, exchange)
    if ready.is_range:
        headers["Content-Range"] = f"bytes {ready.span.start}-{ready.span.end - 1}/{item.size}"
        if item.md5:
            headers[form.whole_md5] = item.md5
        headers |= ready.range_sums
    elif item.md5:
        headers["Content-MD5"] = item.md5
    return headers


def _checked(overrides: Mapping[str, str]) -> dict[str, str]:
    """Response headers from a token's query; decoded, they might hold a line break."""
    if any(not value.isprintable() for value in overrides.values()):
        raise StorageError(StorageCode.INVALID_QUERY)
    return {_TITLES.get(name, name): value for name, value in overrides.items()}


_TITLES = {
    "cache-control": "Cache-Control",
    "content-disposition": "Content-Disposition",
    "content-encoding": "Content-Encoding",
    "content-language": "Content-Language",
    "content-type": "Content-Type",
}
