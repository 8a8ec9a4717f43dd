"""Calls about append blobs."""

from openbatchai.dataplane import Storage
from openbatchai.dataplane.appends import AppendDemands
from openbatchai.dataplane.records import Item
from openbatchai.dataplane.uploads import Upload
from openbatchai.http.storage.answers import md5_headers, written_headers
from openbatchai.http.storage.app import Call, Calls, Level
from openbatchai.http.storage.blob_writing import upload_starter
from openbatchai.http.storage.exchange import Exchange
from openbatchai.http.storage.request import conditions_of, md5_header, size_header

_APPEND_BYTES = 100 << 20


class BlobAppendCalls:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._appends = storage.appends

    def calls(self) -> Calls:
        return {(Level.ITEM, "PUT", "", "appendblock"): Call("AppendBlock", self.append_block, "o", "aw")}

    async def append_block(self, exchange: Exchange) -> None:
        headers = exchange.headers
        expected = md5_header(headers, "content-md5")
        demands = AppendDemands(
            position=size_header(headers, "x-ms-blob-condition-appendpos"),
            max_size=size_header(headers, "x-ms-blob-condition-maxsize"),
        )
        conditions = conditions_of(headers)

        def finish(upload: Upload) -> tuple[int, Item, str]:
            upload.check_md5(expected)
            offset, item = self._appends.append(exchange.ref, upload, demands, conditions)
            return offset, item, upload.md5

        start = upload_starter(self._storage, exchange, hashing=bool(expected))
        offset, item, digest = await exchange.receive_upload(_APPEND_BYTES, start, finish)
        appended = {
            "x-ms-blob-append-offset": str(offset),
            "x-ms-blob-committed-block-count": str(item.append_blocks),
        }
        await exchange.reply(201, written_headers(item) | md5_headers(digest) | appended)
