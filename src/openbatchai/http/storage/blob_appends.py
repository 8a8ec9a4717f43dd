"""Calls about append blobs."""

from collections.abc import Callable

from openbatchai.dataplane import Storage
from openbatchai.dataplane.appends import AppendDemands
from openbatchai.dataplane.copies import Original
from openbatchai.dataplane.ranges import Span
from openbatchai.dataplane.records import Item
from openbatchai.dataplane.uploads import Upload
from openbatchai.http.storage.answers import version_headers, written_headers
from openbatchai.http.storage.app import FROM_SOURCE, Call, Calls, Level
from openbatchai.http.storage.blob_writing import receive_checked
from openbatchai.http.storage.copying import SourceReader, source_checks
from openbatchai.http.storage.exchange import Exchange
from openbatchai.http.storage.integrity import sum_headers
from openbatchai.http.storage.request import conditions_of, size_header

_APPEND_BYTES = 100 << 20
_SMALL_APPEND_BYTES = 4 << 20
_LARGE_APPENDS_SINCE = "2022-11-02"


class BlobAppendCalls:
    def __init__(self, storage: Storage, reader: SourceReader) -> None:
        self._storage = storage
        self._reader = reader
        self._appends = storage.appends

    def calls(self) -> Calls:
        item = Level.ITEM
        return {
            (item, "PUT", "", "appendblock"): Call("AppendBlock", self.append_block, "o", "aw"),
            (item, "PUT", "", "appendblock" + FROM_SOURCE): Call(
                "AppendBlockFromURL", self.append_block_from_url, "o", "aw"
            ),
            (item, "PUT", "", "seal"): Call("SealAppendBlob", self.seal, "o", "w"),
        }

    async def append_block(self, exchange: Exchange) -> None:
        append = self._appender(exchange)
        result, sums = await receive_checked(self._storage, exchange, _limit(exchange), append)
        await _answer(exchange, *result, sums)

    async def append_block_from_url(self, exchange: Exchange) -> None:
        append, checks = self._appender(exchange), source_checks(exchange.headers)

        def make(original: Original, span: Span) -> tuple[tuple[int, Item], dict[str, str]]:
            upload = self._storage.copies.stage(exchange.ref.account, original, span, checks)
            try:
                return append(upload), sum_headers(checks, upload)
            finally:
                upload.discard()

        result, sums = await self._reader.read(exchange, _limit(exchange), make)
        await _answer(exchange, *result, sums)

    async def seal(self, exchange: Exchange) -> None:
        position = size_header(exchange.headers, "x-ms-blob-condition-appendpos")
        item = await exchange.run(self._appends.seal, exchange.ref, position, conditions_of(exchange.headers))
        await exchange.reply(200, version_headers(item) | {"x-ms-blob-sealed": "true"})

    def _appender(self, exchange: Exchange) -> Callable[[Upload], tuple[int, Item]]:
        headers = exchange.headers
        demands = AppendDemands(
            position=size_header(headers, "x-ms-blob-condition-appendpos"),
            max_size=size_header(headers, "x-ms-blob-condition-maxsize"),
        )
        conditions = conditions_of(headers)
        return lambda upload: self._appends.append(exchange.ref, upload, demands, conditions)


def _limit(exchange: Exchange) -> int:
    return _APPEND_BYTES if exchange.version >= _LARGE_APPENDS_SINCE else _SMALL_APPEND_BYTES


async def _answer(exchange: Exchange, offset: int, item: Item, sums: dict[str, str]) -> None:
    appended = {
        "x-ms-blob-append-offset": str(offset),
        "x-ms-blob-committed-block-count": str(item.append_blocks),
    }
    await exchange.reply(201, written_headers(item) | sums | appended)
