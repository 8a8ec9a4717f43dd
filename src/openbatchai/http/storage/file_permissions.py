"""Calls about security descriptors, which a share keeps for its items (storage.md 7.1)."""

import json

from openbatchai.dataplane import Storage
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.permissions import Permission
from openbatchai.dataplane.smb import converted
from openbatchai.http.storage.app import Call, Calls, Level
from openbatchai.http.storage.exchange import Exchange
from openbatchai.http.storage.file_smb import is_binary_permission

# The text has at most 8 KiB; JSON may escape each of its characters.
_BODY_BYTES = 64 << 10
_KEY = "x-ms-file-permission-key"


class PermissionCalls:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def calls(self) -> Calls:
        share = Level.CONTAINER
        return {
            (share, "PUT", "share", "filepermission"): Call("CreatePermission", self.create, "co", "w"),
            (share, "GET", "share", "filepermission"): Call("GetPermission", self.get, "co", "r"),
        }

    async def create(self, exchange: Exchange) -> None:
        text, is_binary = _permission_in(await exchange.read_body(_BODY_BYTES))

        def write() -> str:
            self._storage.containers.get(exchange.ref)
            return self._storage.permissions.put(exchange.ref.account, text, is_binary=is_binary)

        key = await exchange.run(write)
        await exchange.reply(201, {_KEY: key, "x-ms-request-server-encrypted": "true"})

    async def get(self, exchange: Exchange) -> None:
        key = exchange.headers.get(_KEY, "")
        if not key:
            raise StorageError(StorageCode.MISSING_HEADER, detail={"HeaderName": _KEY})
        wants_binary = is_binary_permission(exchange.headers)

        def read() -> Permission:
            self._storage.containers.get(exchange.ref)
            return self._storage.permissions.get(exchange.ref.account, key)

        found = await exchange.run(read)
        text = found.text
        if found.is_binary is not wants_binary:
            text = converted(text, is_binary=found.is_binary)
        body = {"permission": text} | ({"format": "binary"} if wants_binary else {})
        await exchange.reply(200, {"Content-Type": "application/json"}, json.dumps(body).encode())


def _permission_in(body: bytes) -> tuple[str, bool]:
    """The descriptor of a request's document, and whether it is in the binary form."""
    try:
        document = json.loads(body)
        fields = {str(name).lower(): value for name, value in document.items()}
    except (ValueError, AttributeError, RecursionError):
        raise StorageError(StorageCode.INVALID_INPUT, "The body is not a JSON document.") from None
    text, form = fields.get("permission"), fields.get("format", "sddl")
    if not isinstance(text, str) or not isinstance(form, str) or form.lower() not in ("sddl", "binary"):
        raise StorageError(StorageCode.INVALID_INPUT, "The body holds no permission.")
    return text, form.lower() == "binary"
