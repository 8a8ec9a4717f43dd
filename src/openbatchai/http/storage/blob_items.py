"""Calls about whole blobs: put, read, properties, metadata, tier, delete."""

from dataclasses import replace

from openbatchai.dataplane import Storage
from openbatchai.dataplane.blobtree import APPEND_BLOB, BLOCK_BLOB, PAGE_BLOB, SnapshotsToo
from openbatchai.dataplane.conditions import Conditions, Version
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.records import Item, whole_seconds
from openbatchai.dataplane.tiers import check_priority, check_tier
from openbatchai.dataplane.uploads import Upload
from openbatchai.http.storage.answers import md5_headers, version_headers, written_headers
from openbatchai.http.storage.app import Call, Calls, Level
from openbatchai.http.storage.blob_pages import BlobPageCalls
from openbatchai.http.storage.blob_writing import (
    blob_properties,
    create_conditions,
    put_blob_limit,
    receive_checked,
)
from openbatchai.http.storage.content import ContentForm, send_content
from openbatchai.http.storage.exchange import Exchange
from openbatchai.http.storage.request import conditions_of, metadata_of, size_header
from openbatchai.wire import blob as wire

# Hashing costs more than writing; beyond what SDKs send in one piece it is only done when asked for.
_HASHED_BYTES = 64 << 20


class BlobItemCalls:
    def __init__(self, storage: Storage, pages: BlobPageCalls) -> None:
        self._pages = pages
        self._storage = storage
        self._blobs = storage.blobs
        self._content = ContentForm(
            self._blobs.open, self._headers, "x-ms-blob-content-md5", self._blobs.check_read
        )

    def calls(self) -> Calls:
        item = Level.ITEM
        return {
            (item, "PUT", "", ""): Call("PutBlob", self.put_blob, "o", "cw"),
            (item, "GET", "", ""): Call("GetBlob", self.get_blob, "o", "r"),
            (item, "HEAD", "", ""): Call("GetBlobProperties", self.head_blob, "o", "r"),
            (item, "PUT", "", "properties"): Call("SetBlobProperties", self.set_blob_properties, "o", "w"),
            (item, "PUT", "", "metadata"): Call("SetBlobMetadata", self.set_blob_metadata, "o", "w"),
            (item, "GET", "", "metadata"): Call("GetBlobMetadata", self.blob_metadata, "o", "r"),
            (item, "HEAD", "", "metadata"): Call("GetBlobMetadata", self.blob_metadata, "o", "r"),
            (item, "PUT", "", "tier"): Call("SetBlobTier", self.set_tier, "o", "w"),
            (item, "DELETE", "", ""): Call("DeleteBlob", self.delete_blob, "o", "d"),
        }

    async def put_blob(self, exchange: Exchange) -> None:
        headers = exchange.headers
        blob_type = headers.get("x-ms-blob-type")
        if blob_type is None:
            raise StorageError(StorageCode.MISSING_HEADER, detail={"HeaderName": "x-ms-blob-type"})
        if blob_type == PAGE_BLOB:
            await self._pages.create(exchange)
            return
        if blob_type not in (BLOCK_BLOB, APPEND_BLOB):
            raise StorageError(
                StorageCode.INVALID_HEADER, detail={"HeaderName": "x-ms-blob-type", "HeaderValue": blob_type}
            )
        wanted = blob_properties(exchange, standard=True)
        conditions = create_conditions(exchange)
        hashing = (size_header(headers, "content-length") or 0) <= _HASHED_BYTES or bool(wanted.md5)

        def finish(upload: Upload) -> Item:
            # The MD5 to be kept is also that of the body, unless the body comes in blocks or appended pieces.
            if blob_type == BLOCK_BLOB and wanted.md5 not in ("", upload.md5):
                raise StorageError(StorageCode.MD5_MISMATCH)
            described = wanted if wanted.md5 or blob_type == APPEND_BLOB else replace(wanted, md5=upload.md5)
            return self._blobs.put(exchange.ref, upload, described, conditions, blob_type=blob_type)

        limit = put_blob_limit(exchange) if blob_type == BLOCK_BLOB else 0
        item, sums = await receive_checked(self._storage, exchange, limit, finish, hashing=hashing)
        await exchange.reply(201, written_headers(item) | sums)

    async def get_blob(self, exchange: Exchange) -> None:
        await send_content(exchange, self._storage, self._content)

    async def head_blob(self, exchange: Exchange) -> None:
        item = await exchange.run(self._blobs.properties, exchange.ref, conditions_of(exchange.headers))
        headers = self._headers(item, exchange)
        await exchange.reply_head(headers | md5_headers(item.md5), item.size)

    def _headers(self, item: Item, exchange: Exchange) -> dict[str, str]:
        default_tier = self._storage.rules(exchange.ref.account).default_tier
        return wire.blob_headers(item, exchange.version, default_tier)

    async def blob_metadata(self, exchange: Exchange) -> None:
        item = await exchange.run(self._blobs.properties, exchange.ref, conditions_of(exchange.headers))
        metadata = {f"x-ms-meta-{name}": value for name, value in item.metadata.items()}
        await exchange.reply(200, version_headers(item) | metadata)

    async def set_blob_properties(self, exchange: Exchange) -> None:
        if await self._pages.set_properties(exchange):
            return
        wanted = blob_properties(exchange, standard=False)
        item = await exchange.run(
            self._blobs.set_content, exchange.ref, wanted.content, wanted.md5, conditions_of(exchange.headers)
        )
        await exchange.reply(200, version_headers(item))

    async def set_blob_metadata(self, exchange: Exchange) -> None:
        headers = exchange.headers
        item = await exchange.run(
            self._blobs.set_metadata, exchange.ref, metadata_of(headers), conditions_of(headers)
        )
        await exchange.reply(200, written_headers(item))

    async def set_tier(self, exchange: Exchange) -> None:
        headers = exchange.headers
        if "x-ms-access-tier" not in headers:
            raise StorageError(StorageCode.MISSING_HEADER, detail={"HeaderName": "x-ms-access-tier"})
        tier = check_tier(headers["x-ms-access-tier"])
        priority = check_priority(headers.get("x-ms-rehydrate-priority", ""))
        rehydrates = await exchange.run(
            self._blobs.set_tier, exchange.ref, tier, priority, conditions_of(headers)
        )
        await exchange.reply(202 if rehydrates else 200)

    async def delete_blob(self, exchange: Exchange) -> None:
        snapshots = _snapshots_too(exchange)
        conditions = conditions_of(exchange.headers)
        await self._check_tier_time(exchange)
        if exchange.ref.snapshot:
            kept = await exchange.run(self._storage.snapshots.delete, exchange.ref, conditions)
        else:
            kept = await exchange.run(self._blobs.delete, exchange.ref, conditions, snapshots)
        await exchange.reply(202, {"x-ms-delete-type-permanent": "false" if kept else "true"})

    async def _check_tier_time(self, exchange: Exchange) -> None:
        """A delete may depend on when the tier was set, which is the creation when nobody set it."""
        limits = conditions_of(exchange.headers, "x-ms-access-tier-")
        if limits.if_modified_since is None and limits.if_unmodified_since is None:
            return
        item = await exchange.run(self._blobs.properties, exchange.ref)
        changed = whole_seconds(item.tier_changed_ns or item.created_ns)
        dates = Conditions(
            if_modified_since=limits.if_modified_since, if_unmodified_since=limits.if_unmodified_since
        )
        dates.check_write(Version("", changed))


def _snapshots_too(exchange: Exchange) -> SnapshotsToo:
    wanted = exchange.headers.get("x-ms-delete-snapshots", "")
    choices = {"": SnapshotsToo.REFUSE, "include": SnapshotsToo.INCLUDE, "only": SnapshotsToo.ONLY}
    if wanted.lower() not in choices or (wanted and exchange.ref.snapshot):
        raise StorageError(
            StorageCode.INVALID_HEADER,
            detail={"HeaderName": "x-ms-delete-snapshots", "HeaderValue": wanted},
        )
    return choices[wanted.lower()]
