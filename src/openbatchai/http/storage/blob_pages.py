"""Calls about page blobs."""

from dataclasses import fields, replace

from openbatchai.dataplane import Storage
from openbatchai.dataplane.copies import Original
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.pageranges import PAGE
from openbatchai.dataplane.pages import (
    MOST_BYTES,
    PageChanges,
    SequenceAction,
    SequenceDemands,
    page_span,
)
from openbatchai.dataplane.ranges import Span, decimal
from openbatchai.dataplane.records import ContentHeaders, Item
from openbatchai.dataplane.uploads import Upload
from openbatchai.http.storage.answers import version_headers, written_headers
from openbatchai.http.storage.app import FROM_SOURCE, Call, Calls, Level
from openbatchai.http.storage.blob_writing import blob_properties, create_conditions, receive_checked
from openbatchai.http.storage.copying import SourceReader, source_checks
from openbatchai.http.storage.exchange import Exchange
from openbatchai.http.storage.integrity import checks_of, sum_headers
from openbatchai.http.storage.request import (
    conditions_of,
    page_limit,
    range_of,
    required_size,
    size_header,
)
from openbatchai.wire import blob_extras as wire

_WRITE_BYTES = 4 << 20
_RANGES = 10_000
_NUMBER = "x-ms-blob-sequence-number"
_IF_NUMBER = "x-ms-if-sequence-number-"


class BlobPageCalls:
    def __init__(self, storage: Storage, reader: SourceReader) -> None:
        self._storage = storage
        self._pages = storage.pages
        self._reader = reader

    def calls(self) -> Calls:
        item = Level.ITEM
        return {
            (item, "PUT", "", "page"): Call("PutPage", self.put_page, "o", "w"),
            (item, "PUT", "", "page" + FROM_SOURCE): Call("PutPageFromURL", self.put_page_from_url, "o", "w"),
            (item, "GET", "", "pagelist"): Call("GetPageRanges", self.page_ranges, "o", "r"),
        }

    async def create(self, exchange: Exchange) -> None:
        """Put Blob with the type PageBlob."""
        headers = exchange.headers
        size = _size(required_size(headers, "x-ms-blob-content-length"))
        number = size_header(headers, _NUMBER) or 0
        wanted = replace(blob_properties(exchange, standard=True), sequence_number=number)
        await exchange.read_body(0)
        item = await exchange.run(self._pages.create, exchange.ref, size, wanted, create_conditions(exchange))
        await exchange.reply(201, written_headers(item) | wire.sequence_headers(item))

    async def put_page(self, exchange: Exchange) -> None:
        headers, ref = exchange.headers, exchange.ref
        span, demands, conditions = page_span(range_of(headers)), _demands(exchange), conditions_of(headers)
        kind = headers.get("x-ms-page-write", "").lower()
        if kind == "clear":
            await exchange.read_body(0)
            item = await exchange.run(self._pages.clear, ref, span, demands, conditions)
            await exchange.reply(201, written_headers(item) | wire.sequence_headers(item))
            return
        if kind != "update":
            raise _refused("x-ms-page-write", kind)
        _check_length(span)

        def write(upload: Upload) -> Item:
            if upload.size != span.length:
                raise StorageError(StorageCode.INVALID_PAGE_RANGE)
            return self._pages.write(ref, span, upload, demands, conditions)

        enveloped = checks_of(headers).enveloped is not None
        if not enveloped and size_header(headers, "content-length") not in (None, span.length):
            raise StorageError(StorageCode.INVALID_PAGE_RANGE)
        item, sums = await receive_checked(self._storage, exchange, _WRITE_BYTES, write)
        await exchange.reply(201, written_headers(item) | wire.sequence_headers(item) | sums)

    async def put_page_from_url(self, exchange: Exchange) -> None:
        headers, ref = exchange.headers, exchange.ref
        span, demands, conditions = page_span(range_of(headers)), _demands(exchange), conditions_of(headers)
        checks = source_checks(headers)
        _check_length(span)

        def make(original: Original, found: Span) -> tuple[Item, dict[str, str]]:
            if found.length != span.length:
                raise StorageError(StorageCode.INVALID_PAGE_RANGE)
            upload = self._storage.copies.stage(ref.account, original, found, checks)
            try:
                sums = sum_headers(checks, upload)
                return self._pages.write(ref, span, upload, demands, conditions), sums
            finally:
                upload.discard()

        item, sums = await self._reader.read(exchange, _WRITE_BYTES, make)
        await exchange.reply(201, written_headers(item) | wire.sequence_headers(item) | sums)

    async def page_ranges(self, exchange: Exchange) -> None:
        query, headers, ref = exchange.query, exchange.headers, exchange.ref
        start = decimal(query.get("marker", "") or "0")
        if start is None:
            raise StorageError(StorageCode.INVALID_QUERY, detail={"QueryParameterName": "marker"})
        former = replace(ref, snapshot=query["prevsnapshot"]) if query.get("prevsnapshot") else None
        found = await exchange.run(
            self._pages.ranges,
            ref,
            range_of(headers),
            start,
            page_limit(query, _RANGES),
            conditions_of(headers),
            former,
        )
        marker = "" if found.next_start is None else str(found.next_start)
        document = wire.pages_document(
            ((each.start, each.end - 1, each.is_clear) for each in found.ranges), marker
        )
        size = {"x-ms-blob-content-length": str(found.item.size)}
        await exchange.reply_xml(document, version_headers(found.item) | size)

    async def set_properties(self, exchange: Exchange) -> bool:
        """Set Blob Properties as far as it is about page blobs; False when it is about none."""
        headers = exchange.headers
        size = size_header(headers, "x-ms-blob-content-length")
        text = headers.get("x-ms-sequence-number-action")
        if size is None and text is None:
            return False
        wanted = blob_properties(exchange, standard=False)
        has_content = wanted.md5 or any(getattr(wanted.content, each.name) for each in fields(ContentHeaders))
        changes = PageChanges(
            size=None if size is None else _size(size),
            action=_action(text) if text is not None else None,
            number=_number(exchange, text),
            content=wanted.content if has_content else None,
            md5=wanted.md5,
        )
        item = await exchange.run(self._pages.set_properties, exchange.ref, changes, conditions_of(headers))
        await exchange.reply(200, version_headers(item) | wire.sequence_headers(item))
        return True


def _check_length(span: Span) -> None:
    if span.length > _WRITE_BYTES:
        raise StorageError(StorageCode.BODY_TOO_LARGE)


def _size(size: int) -> int:
    if size % PAGE or size > MOST_BYTES:
        raise _refused("x-ms-blob-content-length", str(size))
    return size


def _action(text: str) -> SequenceAction:
    try:
        return SequenceAction(text.lower())
    except ValueError:
        raise _refused("x-ms-sequence-number-action", text) from None


def _number(exchange: Exchange, action: str | None) -> int:
    """The new number: demanded by all actions but the increment, which must not name one."""
    if action is None:
        return 0
    given = size_header(exchange.headers, _NUMBER)
    if _action(action) is SequenceAction.INCREMENT:
        if given is not None:
            raise _refused(_NUMBER, str(given))
        return 0
    if given is None:
        raise StorageError(StorageCode.MISSING_HEADER, detail={"HeaderName": _NUMBER})
    return given


def _demands(exchange: Exchange) -> SequenceDemands:
    headers = exchange.headers
    return SequenceDemands(
        at_most=size_header(headers, f"{_IF_NUMBER}le"),
        below=size_header(headers, f"{_IF_NUMBER}lt"),
        equal=size_header(headers, f"{_IF_NUMBER}eq"),
    )


def _refused(name: str, value: str) -> StorageError:
    return StorageError(StorageCode.INVALID_HEADER, detail={"HeaderName": name, "HeaderValue": value})
