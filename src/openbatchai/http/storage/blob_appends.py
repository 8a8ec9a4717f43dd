"""Calls about append blobs."""

from openbatchai.dataplane import Storage
from openbatchai.dataplane.appends import AppendDemands
from openbatchai.dataplane.records import Item
from openbatchai.dataplane.uploads import Upload
from openbatchai.http.storage.answers import written_headers
from openbatchai.http.storage.app import Call, Calls, Level
from openbatchai.http.storage.blob_writing import receive_checked
from openbatchai.http.storage.exchange import Exchange
from openbatchai.http.storage.request import conditions_of, size_header

_APPEND_BYTES = 100 << 20


class BlobAppendCalls:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._appends = storage.appends

    def calls(self) -> Calls:
        return {(Level.ITEM, "PUT", "", "appendblock"): Call("AppendBlock", self.append_block, "o", "aw")}

    async def append_block(self, exchange: Exchange) -> None:
        headers = exchange.headers
        demands = AppendDemands(
            position=size_header(headers, "x-ms-blob-condition-appendpos"),
            max_size=size_header(headers, "x-ms-blob-condition-maxsize"),
        )
        conditions = conditions_of(headers)

        def finish(upload: Upload) -> tuple[int, Item]:
            return self._appends.append(exchange.ref, upload, demands, conditions)

        (offset, item), sums = await receive_checked(self._storage, exchange, _APPEND_BYTES, finish)
        appended = {
            "x-ms-blob-append-offset": str(offset),
            "x-ms-blob-committed-block-count": str(item.append_blocks),
        }
        await exchange.reply(201, written_headers(item) | sums | appended)
