"""Security descriptors that clients store with a share; items name one by its key (storage.md 7.1)."""

from dataclasses import dataclass

from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.places import Places
from openbatchai.dataplane.smb import (
    DEFAULT_PERMISSION_KEY,
    DEFAULT_SDDL,
    PermissionWish,
    check_permission,
    permission_key,
)
from openbatchai.domain.ports import ItemRef


@dataclass(frozen=True)
class Permission:
    """`text` is SDDL, or the base64 of a self-relative descriptor: in which form it was given."""

    text: str
    is_binary: bool = False


_DEFAULT = Permission(DEFAULT_SDDL)


class Permissions:
    """Kept per account, by the hash of their text: a key stays good for copies between its shares."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def put(self, account: str, text: str, *, is_binary: bool = False) -> str:
        """The key of the descriptor; FileInvalidPermission for what is none."""
        text = "".join(text.split())
        check_permission(text, is_binary=is_binary)
        key = permission_key(text)
        self._places.store(account).database.write(
            "INSERT OR IGNORE INTO permission VALUES (?, ?, ?)", (key, text, int(is_binary))
        )
        return key

    def get(self, account: str, key: str) -> Permission:
        if key == DEFAULT_PERMISSION_KEY:
            return _DEFAULT
        rows = self._places.store(account).database.read(
            "SELECT text, is_binary FROM permission WHERE key = ?", (key,)
        )
        if not rows:
            raise StorageError(StorageCode.INVALID_PERMISSION_KEY)
        return Permission(str(rows[0][0]), bool(rows[0][1]))

    def key_for(self, ref: ItemRef, wish: PermissionWish) -> str:
        """The key that an item gets by what a request says; "" stands for its parent's."""
        if wish.text:
            return self.put(ref.account, wish.text, is_binary=wish.is_binary)
        if wish.key:
            self.get(ref.account, wish.key)
        return wish.key
