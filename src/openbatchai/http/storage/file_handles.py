"""Calls about handles, which SMB clients hold: there are none here, so none is listed and none closed."""

from openbatchai.dataplane import Storage
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.http.storage.app import Call, Calls, Level
from openbatchai.http.storage.exchange import Exchange
from openbatchai.http.storage.file_smb import flag, invalid_header
from openbatchai.http.storage.request import page_limit
from openbatchai.wire import files as wire

_PAGE = 5000
_HANDLE_ID = "x-ms-handle-id"


class HandleCalls:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def calls(self) -> Calls:
        item = Level.ITEM
        return {
            (item, "GET", "", "listhandles"): Call("ListHandles", self.list, "o", "l"),
            (item, "PUT", "", "forceclosehandles"): Call("ForceCloseHandles", self.close, "o", "w"),
        }

    async def list(self, exchange: Exchange) -> None:
        page_limit(exchange.query, _PAGE)
        flag(exchange.headers, "x-ms-recursive")
        await self._demand_item(exchange)
        await exchange.reply_xml(wire.no_handles_document())

    async def close(self, exchange: Exchange) -> None:
        handle = exchange.headers.get(_HANDLE_ID)
        if handle is None:
            raise StorageError(StorageCode.MISSING_HEADER, detail={"HeaderName": _HANDLE_ID})
        if handle != "*" and not handle.isdecimal():
            raise invalid_header(_HANDLE_ID, handle)
        flag(exchange.headers, "x-ms-recursive")
        await self._demand_item(exchange)
        none = {"x-ms-number-of-handles-closed": "0", "x-ms-number-of-handles-failed": "0"}
        await exchange.reply(200, none)

    async def _demand_item(self, exchange: Exchange) -> None:
        """404 for what is neither a file nor a directory."""

        def look() -> None:
            try:
                self._storage.directories.properties(exchange.ref)
            except StorageError as error:
                if error.code is not StorageCode.RESOURCE_NOT_FOUND:
                    raise
                self._storage.files.properties(exchange.ref)

        await exchange.run(look)
