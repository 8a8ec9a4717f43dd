"""Calls about the blocks of block blobs."""

from openbatchai.dataplane import Storage
from openbatchai.dataplane.blocks import Block, Source
from openbatchai.dataplane.conditions import Conditions
from openbatchai.dataplane.copies import Original
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.integrity import verified
from openbatchai.dataplane.ranges import Span
from openbatchai.dataplane.records import Item
from openbatchai.dataplane.uploads import Upload
from openbatchai.http.storage.answers import ENCRYPTED, version_headers, written_headers
from openbatchai.http.storage.app import FROM_SOURCE, Call, Calls, Level
from openbatchai.http.storage.blob_writing import (
    blob_properties,
    create_conditions,
    put_block_limit,
    receive_checked,
)
from openbatchai.http.storage.copying import SourceReader, source_checks
from openbatchai.http.storage.exchange import Exchange
from openbatchai.http.storage.integrity import body_limit, checks_of, sum_headers
from openbatchai.http.storage.request import conditions_of
from openbatchai.wire import blob as wire

_DOCUMENT_BYTES = 8 << 20


class BlobBlockCalls:
    def __init__(self, storage: Storage, reader: SourceReader) -> None:
        self._storage = storage
        self._reader = reader
        self._blobs = storage.blobs

    def calls(self) -> Calls:
        item = Level.ITEM
        return {
            (item, "PUT", "", "block"): Call("PutBlock", self.put_block, "o", "cw"),
            (item, "PUT", "", "block" + FROM_SOURCE): Call(
                "PutBlockFromURL", self.put_block_from_url, "o", "cw"
            ),
            (item, "PUT", "", "blocklist"): Call("PutBlockList", self.put_block_list, "o", "cw"),
            (item, "GET", "", "blocklist"): Call("GetBlockList", self.get_block_list, "o", "r"),
        }

    async def put_block(self, exchange: Exchange) -> None:
        block_id = _block_id(exchange)
        conditions = Conditions(lease_id=conditions_of(exchange.headers).lease_id)

        def finish(upload: Upload) -> None:
            self._blobs.put_block(exchange.ref, block_id, upload, conditions)

        _, sums = await receive_checked(self._storage, exchange, put_block_limit(exchange), finish)
        await exchange.reply(201, ENCRYPTED | sums)

    async def put_block_from_url(self, exchange: Exchange) -> None:
        block_id, checks, ref = _block_id(exchange), source_checks(exchange.headers), exchange.ref
        conditions = Conditions(lease_id=conditions_of(exchange.headers).lease_id)

        def make(original: Original, span: Span) -> dict[str, str]:
            upload = self._storage.copies.stage(ref.account, original, span, checks)
            try:
                self._blobs.put_block(ref, block_id, upload, conditions)
                return sum_headers(checks, upload)
            finally:
                upload.discard()

        sums = await self._reader.read(exchange, put_block_limit(exchange), make)
        await exchange.reply(201, ENCRYPTED | sums)

    async def put_block_list(self, exchange: Exchange) -> None:
        checks = checks_of(exchange.headers)
        body = verified(await exchange.read_body(body_limit(checks, _DOCUMENT_BYTES)), checks)
        wanted = blob_properties(exchange, standard=False)
        conditions = create_conditions(exchange)

        def commit() -> Item:
            # Reading a long list takes a second: others must not wait for that.
            blocks = [(Source(source), block_id) for source, block_id in wire.parse_block_list(body)]
            return self._blobs.put_block_list(exchange.ref, blocks, wanted, conditions)

        await exchange.reply(201, written_headers(await exchange.run(commit)))

    async def get_block_list(self, exchange: Exchange) -> None:
        kind = exchange.query.get("blocklisttype", "committed").lower()
        if kind not in ("committed", "uncommitted", "all"):
            raise StorageError(StorageCode.INVALID_QUERY, detail={"QueryParameterName": "blocklisttype"})
        item, lists = await exchange.run(
            self._blobs.block_lists, exchange.ref, conditions_of(exchange.headers)
        )
        document = wire.block_list_document(
            None if kind == "uncommitted" else _pairs(lists.committed),
            None if kind == "committed" else _pairs(lists.uncommitted),
        )
        size = {"x-ms-blob-content-length": str(item.size if item else 0)}
        await exchange.reply_xml(document, size | (version_headers(item) if item else {}))


def _block_id(exchange: Exchange) -> str:
    block_id = exchange.query.get("blockid")
    if not block_id:
        raise StorageError(StorageCode.MISSING_QUERY, detail={"QueryParameterName": "blockid"})
    return block_id


def _pairs(blocks: tuple[Block, ...]) -> list[tuple[str, int]]:
    return [(block.id, block.size) for block in blocks]
