"""Calls about blob index tags, and the search for blobs by them."""

from openbatchai.dataplane import Storage
from openbatchai.dataplane.bloblist import PAGE
from openbatchai.dataplane.conditions import Conditions
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.tags import check_tags, parse_search
from openbatchai.http.storage.app import Call, Calls, Level
from openbatchai.http.storage.exchange import Exchange
from openbatchai.http.storage.request import conditions_of, page_limit
from openbatchai.wire import blob_extras as wire

_DOCUMENT_BYTES = 64 << 10


class BlobTagCalls:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._blobs = storage.blobs

    def calls(self) -> Calls:
        return {
            (Level.ITEM, "GET", "", "tags"): Call("GetBlobTags", self.get_tags, "o", "t"),
            (Level.ITEM, "PUT", "", "tags"): Call("SetBlobTags", self.set_tags, "o", "t"),
            (Level.ACCOUNT, "GET", "", "blobs"): Call("FindBlobsByTags", self.find, "s", "f"),
            (Level.CONTAINER, "GET", "container", "blobs"): Call("FindBlobsByTags", self.find, "cl", "f"),
        }

    async def get_tags(self, exchange: Exchange) -> None:
        item = await exchange.run(self._blobs.properties, exchange.ref, _conditions(exchange))
        await exchange.reply_xml(wire.tags_document(item.tags))

    async def set_tags(self, exchange: Exchange) -> None:
        tags = check_tags(wire.parse_tags(await exchange.read_body(_DOCUMENT_BYTES)))
        await exchange.run(self._blobs.set_tags, exchange.ref, tags, _conditions(exchange))
        await exchange.reply(204)

    async def find(self, exchange: Exchange) -> None:
        query, ref = exchange.query, exchange.ref
        where = query.get("where", "")
        if not where:
            raise StorageError(StorageCode.MISSING_QUERY, detail={"QueryParameterName": "where"})
        search = parse_search(where)
        limit, marker = page_limit(query, PAGE), query.get("marker", "")

        def read() -> bytes:
            page = self._storage.tagged.find(ref, search, marker, limit)
            found = ((each.container, each.name, each.tags) for each in page.entries)
            return wire.found_document(
                exchange.target.endpoint, where, found, page.next_marker, exchange.version
            )

        await exchange.reply_xml(await exchange.run(read))


def _conditions(exchange: Exchange) -> Conditions:
    return conditions_of(exchange.headers, "x-ms-blob-")
