"""PUT comp=rename: files and directories get another name within their share."""

from openbatchai.dataplane import Storage
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.records import Item
from openbatchai.dataplane.sharemoves import Rename
from openbatchai.http.storage.answers import written_headers
from openbatchai.http.storage.app import Call, Calls, Level
from openbatchai.http.storage.exchange import Exchange
from openbatchai.http.storage.file_smb import flag, smb_of
from openbatchai.http.storage.request import guid_header, metadata_of
from openbatchai.http.storage.sources import source_of
from openbatchai.wire import files as wire

_SOURCE = "x-ms-file-rename-source"
_REPLACE = "x-ms-file-rename-replace-if-exists"


class MoveCalls:
    def __init__(self, storage: Storage) -> None:
        self._moves = storage.moves

    def calls(self) -> Calls:
        item = Level.ITEM
        return {
            (item, "PUT", "", "rename"): Call("RenameFile", self.rename_file, "o", "cw"),
            (item, "PUT", "directory", "rename"): Call("RenameDirectory", self.rename_directory, "o", "cw"),
        }

    async def rename_file(self, exchange: Exchange) -> None:
        await self._rename(exchange, directory=False)

    async def rename_directory(self, exchange: Exchange) -> None:
        await self._rename(exchange, directory=True)

    async def _rename(self, exchange: Exchange, *, directory: bool) -> None:
        headers, target = exchange.headers, exchange.ref
        how = Rename(
            directory=directory,
            replaces=flag(headers, _REPLACE),
            ignores_read_only=flag(headers, "x-ms-file-rename-ignore-readonly"),
            source_lease=guid_header(headers, "x-ms-source-lease-id"),
            target_lease=guid_header(headers, "x-ms-destination-lease-id"),
            metadata=metadata_of(headers) or None,
            content_type="" if directory else headers.get("x-ms-content-type", ""),
            smb=smb_of(headers, directory=directory),
        )
        permissions = exchange.grant.permissions
        if how.replaces and permissions is not None and "w" not in permissions:
            raise StorageError(StorageCode.PERMISSION_MISMATCH)
        # The source loses its name, so to read it is not enough.
        source = (await source_of(exchange, _SOURCE, "wd")).ref
        if (source.service, source.account, source.container) != (
            target.service,
            target.account,
            target.container,
        ) or source.snapshot:
            raise StorageError(
                StorageCode.INVALID_HEADER,
                "A file or directory is renamed within its share.",
                detail={"HeaderName": _SOURCE},
            )

        def rename() -> Item:
            return self._moves.rename(source, target, how)

        item = await exchange.run(rename)
        await exchange.reply(200, written_headers(item) | wire.smb_headers(item, exchange.version))
