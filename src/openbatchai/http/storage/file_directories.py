"""Calls about directories of a share."""

from openbatchai.dataplane import Storage
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.records import Item
from openbatchai.http.storage.answers import written_headers
from openbatchai.http.storage.app import Call, Calls, Level
from openbatchai.http.storage.exchange import Exchange
from openbatchai.http.storage.file_smb import flag, smb_of, smb_of_new
from openbatchai.http.storage.request import includes, list_request, metadata_of, page_limit
from openbatchai.wire import files as wire

_PAGE = 5000
_DETAILS = frozenset({"timestamps", "etag", "attributes", "permissionkey"})


class DirectoryCalls:
    def __init__(self, storage: Storage) -> None:
        self._directories = storage.directories

    def calls(self) -> Calls:
        item = Level.ITEM
        table = {
            (item, "PUT", "directory", ""): Call("CreateDirectory", self.create_directory, "o", "cw"),
            (item, "DELETE", "directory", ""): Call("DeleteDirectory", self.delete_directory, "o", "d"),
            (item, "GET", "directory", "list"): Call(
                "ListDirectoriesAndFiles", self.list_directory, "cl", "l"
            ),
            (item, "PUT", "directory", "metadata"): Call(
                "SetDirectoryMetadata", self.set_directory_metadata, "o", "w"
            ),
            (item, "PUT", "directory", "properties"): Call(
                "SetDirectoryProperties", self.set_directory_properties, "o", "w"
            ),
        }
        for method in ("GET", "HEAD"):
            for comp, what in (("", "Properties"), ("metadata", "Metadata")):
                table[item, method, "directory", comp] = Call(
                    f"GetDirectory{what}", self.directory_properties, "o", "r"
                )
        return table

    async def create_directory(self, exchange: Exchange) -> None:
        headers = exchange.headers
        smb = smb_of_new(headers, directory=True)
        item = await exchange.run(self._directories.create, exchange.ref, metadata_of(headers), smb)
        await exchange.reply(201, written_headers(item) | wire.smb_headers(item, exchange.version))

    async def directory_properties(self, exchange: Exchange) -> None:
        await exchange.reply(200, wire.directory_headers(await self._properties(exchange), exchange.version))

    async def set_directory_properties(self, exchange: Exchange) -> None:
        smb = smb_of(exchange.headers, directory=True)
        item = await exchange.run(self._directories.set_properties, exchange.ref, smb)
        await exchange.reply(200, written_headers(item) | wire.smb_headers(item, exchange.version))

    async def set_directory_metadata(self, exchange: Exchange) -> None:
        metadata = metadata_of(exchange.headers)

        def write() -> Item:
            return self._directories.set_metadata(exchange.ref, metadata)

        await exchange.reply(200, written_headers(await exchange.run(write)))

    async def delete_directory(self, exchange: Exchange) -> None:
        await exchange.run(self._directories.delete, exchange.ref)
        await exchange.reply(202)

    async def list_directory(self, exchange: Exchange) -> None:
        query, ref = exchange.query, exchange.ref
        include = includes(query)
        if not include <= _DETAILS:
            raise StorageError(StorageCode.INVALID_QUERY, detail={"QueryParameterName": "include"})
        # Whoever asks for any detail is told the ids too.
        extended = bool(include & _DETAILS) or flag(exchange.headers, "x-ms-file-extended-info")

        def read() -> bytes:
            directory = self._directories.properties(ref)
            page = self._directories.list(
                ref,
                prefix=query.get("prefix", ""),
                marker=query.get("marker", ""),
                limit=page_limit(query, _PAGE),
                # What a snapshot's entries were is known from their records only.
                recorded=bool(include & _DETAILS) or bool(ref.snapshot),
            )
            return wire.directory_document(
                list_request(exchange),
                ref.container,
                ref.path,
                directory,
                page.entries,
                page.next_marker,
                include=include,
                extended=extended,
                snapshot=ref.snapshot,
            )

        await exchange.reply_xml(await exchange.run(read))

    async def _properties(self, exchange: Exchange) -> Item:
        return await exchange.run(self._directories.properties, exchange.ref)
