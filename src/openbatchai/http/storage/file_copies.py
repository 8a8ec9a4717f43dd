"""Calls that make files, or ranges of them, of sources: Copy File and Put Range From URL."""

from collections.abc import Mapping
from dataclasses import replace

from openbatchai.dataplane import Storage
from openbatchai.dataplane.copies import Original
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.filecopies import FileCopyWishes, FromSource, check_crc64
from openbatchai.dataplane.integrity import verified
from openbatchai.dataplane.ranges import Span
from openbatchai.dataplane.records import Item
from openbatchai.http.storage.answers import written_headers
from openbatchai.http.storage.app import FROM_SOURCE, Call, Calls, Level
from openbatchai.http.storage.copying import SourceReader, source_checks, without_signature
from openbatchai.http.storage.exchange import Exchange
from openbatchai.http.storage.file_ranges import MOST_RANGE_BYTES, keeps_write_time, written_span
from openbatchai.http.storage.file_smb import flag, invalid_header, smb_of
from openbatchai.http.storage.integrity import CRC64
from openbatchai.http.storage.request import lease_of, metadata_of
from openbatchai.wire.blob_extras import copy_headers

_MOST_FILE_BYTES = 4 << 40
_PERMISSION_MODE = "x-ms-file-permission-copy-mode"


class FileCopyCalls:
    def __init__(self, storage: Storage, reader: SourceReader) -> None:
        self._storage = storage
        self._reader = reader

    def calls(self) -> Calls:
        item = Level.ITEM
        return {
            (item, "PUT", "", FROM_SOURCE): Call("CopyFile", self.copy, "o", "cw"),
            (item, "PUT", "", "copy"): Call("AbortCopyFile", self.abort, "o", "w"),
            (item, "PUT", "", f"range{FROM_SOURCE}"): Call("PutRangeFromURL", self.put_range, "o", "w"),
        }

    async def copy(self, exchange: Exchange) -> None:
        headers = exchange.headers
        permissions = exchange.grant.permissions
        wishes = FileCopyWishes(
            url=without_signature(headers["x-ms-copy-source"]),
            metadata=metadata_of(headers) or None,
            smb=smb_of(headers, directory=False),
            from_source=_from_source(headers),
            archives="x-ms-file-copy-set-archive" not in headers
            or flag(headers, "x-ms-file-copy-set-archive"),
            ignores_read_only=flag(headers, "x-ms-file-copy-ignore-readonly"),
            lease_id=lease_of(headers),
            # As for Create File: with permission to create only, what is there stays.
            only_new=permissions is not None and "w" not in permissions,
        )

        def make(original: Original, _: Span) -> Item:
            return self._storage.file_copies.copy(exchange.ref, original, wishes)

        item = await self._reader.read(exchange, _MOST_FILE_BYTES, make)
        told = copy_headers(item.copy)
        own = {name: told[name] for name in ("x-ms-copy-id", "x-ms-copy-status")}
        await exchange.reply(202, written_headers(item) | own)

    async def abort(self, exchange: Exchange) -> None:
        """Every copy is over when it is answered, so there is never one to abort."""
        if not exchange.query.get("copyid"):
            raise StorageError(StorageCode.MISSING_QUERY, detail={"QueryParameterName": "copyid"})
        if exchange.headers.get("x-ms-copy-action", "").lower() != "abort":
            raise StorageError(StorageCode.MISSING_HEADER, detail={"HeaderName": "x-ms-copy-action"})
        await exchange.run(self._storage.files.properties, exchange.ref)
        raise StorageError(StorageCode.NO_PENDING_COPY)

    async def put_range(self, exchange: Exchange) -> None:
        headers = exchange.headers
        span, keeps, lease = written_span(headers), keeps_write_time(headers), lease_of(headers)
        if headers.get("x-ms-write", "").lower() != "update":
            raise invalid_header("x-ms-write", headers.get("x-ms-write", ""))
        if headers.get("content-length", "0") not in ("0", ""):
            raise invalid_header("Content-Length", headers["content-length"])
        if span.length > MOST_RANGE_BYTES:
            raise StorageError(StorageCode.BODY_TOO_LARGE, detail={"MaxLimit": str(MOST_RANGE_BYTES)})
        checks = source_checks(headers)
        match = headers.get("x-ms-source-if-match-crc64", "")
        none_match = headers.get("x-ms-source-if-none-match-crc64", "")

        def make(original: Original, wanted: Span) -> Item:
            if wanted.length != span.length:
                raise StorageError(
                    StorageCode.INVALID_HEADER,
                    f"The range has {span.length} bytes, that of the source {wanted.length}.",
                    detail={"HeaderName": "x-ms-source-range"},
                )
            data = original.read(wanted)
            check_crc64(data, match=match, none_match=none_match)
            return self._storage.files.put_range(
                exchange.ref, span.start, verified(data, checks), lease_id=lease, keeps_write_time=keeps
            )

        item = await self._reader.read(exchange, MOST_RANGE_BYTES, make)
        sums = {"Content-MD5": checks.md5, CRC64: checks.crc64}
        own = {name: value for name, value in sums.items() if value}
        await exchange.reply(201, written_headers(item) | own)


def _from_source(headers: Mapping[str, str]) -> FromSource:
    taken = FromSource(
        attributes=_is_source(headers, "x-ms-file-attributes"),
        created=_is_source(headers, "x-ms-file-creation-time"),
        written=_is_source(headers, "x-ms-file-last-write-time"),
        changed=_is_source(headers, "x-ms-file-change-time"),
    )
    mode = headers.get(_PERMISSION_MODE, "override").lower()
    if mode not in ("source", "override"):
        raise invalid_header(_PERMISSION_MODE, headers[_PERMISSION_MODE])
    given = headers.get("x-ms-file-permission") or headers.get("x-ms-file-permission-key")
    if mode == "source" and given:
        raise invalid_header(_PERMISSION_MODE, headers[_PERMISSION_MODE])
    if mode == "override" and _PERMISSION_MODE in headers and not given:
        raise StorageError(StorageCode.MISSING_HEADER, detail={"HeaderName": "x-ms-file-permission"})
    return replace(taken, permission=mode == "source")


def _is_source(headers: Mapping[str, str], name: str) -> bool:
    return headers.get(name, "").lower() == "source"
