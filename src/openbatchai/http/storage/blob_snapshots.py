"""Calls about snapshots of blobs and about taking back a deletion."""

from openbatchai.dataplane import Storage
from openbatchai.http.storage.answers import version_headers
from openbatchai.http.storage.app import Call, Calls, Level
from openbatchai.http.storage.exchange import Exchange
from openbatchai.http.storage.request import conditions_of, metadata_of


class BlobSnapshotCalls:
    def __init__(self, storage: Storage) -> None:
        self._snapshots = storage.snapshots

    def calls(self) -> Calls:
        item = Level.ITEM
        return {
            (item, "PUT", "", "snapshot"): Call("SnapshotBlob", self.create, "o", "cw"),
            (item, "PUT", "", "undelete"): Call("UndeleteBlob", self.undelete, "o", "w"),
        }

    async def create(self, exchange: Exchange) -> None:
        # No metadata at all means the blob's own; there is no way to ask for none.
        metadata = metadata_of(exchange.headers) or None
        item, time = await exchange.run(
            self._snapshots.create, exchange.ref, metadata, conditions_of(exchange.headers)
        )
        encrypted = "true" if metadata else "false"
        answer = {"x-ms-snapshot": time, "x-ms-request-server-encrypted": encrypted}
        await exchange.reply(201, version_headers(item) | answer)

    async def undelete(self, exchange: Exchange) -> None:
        await exchange.run(self._snapshots.undelete, exchange.ref)
        await exchange.reply(200)
