"""Calls about ranges of files: put, clear, list, and what changed since a snapshot."""

from collections.abc import Mapping
from dataclasses import dataclass

from openbatchai.dataplane import Storage
from openbatchai.dataplane.bloblist import decode_marker, encode_marker
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.files import RangeList
from openbatchai.dataplane.integrity import Checks, verified
from openbatchai.dataplane.ranges import RangeHeader, Span, decimal
from openbatchai.dataplane.records import Item
from openbatchai.dataplane.structured import KIND
from openbatchai.http.storage.answers import version_headers, written_headers
from openbatchai.http.storage.app import Call, Calls, Level
from openbatchai.http.storage.exchange import Exchange
from openbatchai.http.storage.file_smb import flag, invalid_header
from openbatchai.http.storage.integrity import CRC64, STRUCTURED, body_limit, checks_of
from openbatchai.http.storage.request import lease_of, page_limit, range_of
from openbatchai.wire import files as wire

MOST_RANGE_BYTES = 4 << 20
_LAST_WRITE = "x-ms-file-last-write-time"
_PAGE = 10_000


@dataclass(frozen=True)
class RangeBody:
    """The body of a request that writes at most 4 MiB."""

    raw: bytes
    checks: Checks

    @property
    def length(self) -> int:
        """Of the content, as the request says."""
        return len(self.raw) if self.checks.enveloped is None else self.checks.enveloped

    def content(self) -> bytes:
        """400 when it is not what the request said. Hashed only when asked: that costs several times what
        writing does."""
        return verified(self.raw, self.checks)

    def headers(self) -> dict[str, str]:
        own = {"Content-MD5": self.checks.md5, CRC64: self.checks.crc64}
        if self.checks.enveloped is not None:
            own[STRUCTURED] = KIND
        return {name: value for name, value in own.items() if value}


async def read_range_body(exchange: Exchange, length: int | None) -> RangeBody:
    """`length` is what the content must have."""
    too_large = StorageError(StorageCode.BODY_TOO_LARGE, detail={"MaxLimit": str(MOST_RANGE_BYTES)})
    if length is not None and length > MOST_RANGE_BYTES:
        raise too_large
    checks = checks_of(exchange.headers)
    body = RangeBody(await exchange.read_body(body_limit(checks, MOST_RANGE_BYTES)), checks)
    if length is not None and body.length != length:
        raise StorageError(
            StorageCode.INVALID_HEADER,
            f"The range has {length} bytes, the body {body.length}.",
            detail={"HeaderName": "x-ms-range"},
        )
    return body


class FileRangeCalls:
    def __init__(self, storage: Storage) -> None:
        self._files = storage.files

    def calls(self) -> Calls:
        item = Level.ITEM
        return {
            (item, "PUT", "", "range"): Call("PutRange", self.put_range, "o", "w"),
            (item, "GET", "", "rangelist"): Call("ListRanges", self.list_ranges, "o", "r"),
        }

    async def put_range(self, exchange: Exchange) -> None:
        headers = exchange.headers
        span = written_span(headers)
        keeps = keeps_write_time(headers)
        write = headers.get("x-ms-write", "").lower()
        if write == "clear":
            lease = lease_of(headers)

            def clear() -> Item:
                return self._files.clear_range(exchange.ref, span, lease_id=lease, keeps_write_time=keeps)

            item = await exchange.run(clear)
            await exchange.reply(201, written_headers(item) | _write_time(item, exchange.version))
        elif write == "update":
            await self._update(exchange, span, keeps=keeps)
        else:
            raise invalid_header("x-ms-write", write)

    async def _update(self, exchange: Exchange, span: Span, *, keeps: bool) -> None:
        content, lease = await read_range_body(exchange, span.length), lease_of(exchange.headers)

        def write() -> Item:
            return self._files.put_range(
                exchange.ref, span.start, content.content(), lease_id=lease, keeps_write_time=keeps
            )

        item = await exchange.run(write)
        own = _write_time(item, exchange.version) | content.headers()
        await exchange.reply(201, written_headers(item) | own)

    async def list_ranges(self, exchange: Exchange) -> None:
        headers, query = exchange.headers, exchange.query
        requested = range_of(headers)
        previous = query.get("prevsharesnapshot", "")
        follows = flag(headers, "x-ms-file-support-rename")
        paged = "maxresults" in query or "marker" in query
        limit = page_limit(query, _PAGE) if paged else None
        lease = lease_of(headers)
        after = _offset(query.get("marker", ""))

        def limits(size: int) -> Span:
            span = _within(requested, size)
            return Span(max(span.start, min(after, span.end)), span.end)

        def read() -> RangeList:
            if previous:
                return self._files.changed_ranges(
                    exchange.ref, previous, limits, follows_renames=follows, lease_id=lease
                )
            return self._files.data_ranges(exchange.ref, limits, lease_id=lease)

        found = await exchange.run(read)
        own = version_headers(found.item) | {"x-ms-content-length": str(found.item.size)}
        entries = found.ranges
        next_marker = ""
        if limit is not None and len(entries) > limit:
            next_marker = encode_marker(str(entries[limit].start))
            entries = entries[:limit]
        document = wire.ranges_document(
            ((entry.start, entry.end, entry.is_clear) for entry in entries),
            next_marker if paged else None,
        )
        await exchange.reply_xml(document, own)


def written_span(headers: Mapping[str, str]) -> Span:
    """The range that a request writes to."""
    requested = range_of(headers)
    if requested is None:
        raise StorageError(StorageCode.MISSING_HEADER, detail={"HeaderName": "x-ms-range"})
    if requested.first is None or requested.last is None:
        raise StorageError(StorageCode.INVALID_HEADER, "A range to write names its first and last byte.")
    return Span(requested.first, requested.last + 1)


def keeps_write_time(headers: Mapping[str, str]) -> bool:
    text = headers.get(_LAST_WRITE, "now").lower()
    if text not in ("now", "preserve"):
        raise invalid_header(_LAST_WRITE, headers[_LAST_WRITE])
    return text == "preserve"


def _write_time(item: Item, version: str) -> dict[str, str]:
    own = wire.smb_headers(item, version)
    return {_LAST_WRITE: own[_LAST_WRITE]} if own else {}


def _within(requested: RangeHeader | None, size: int) -> Span:
    return requested.within(size) if requested is not None else Span(0, size)


def _offset(marker: str) -> int:
    offset = decimal(decode_marker(marker)) if marker else 0
    if offset is None:
        raise StorageError(StorageCode.INVALID_QUERY, detail={"QueryParameterName": "marker"})
    return offset
