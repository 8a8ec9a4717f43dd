"""Which names of accounts, containers, blobs and files are taken (storage.md 1, 5.2, 7.2). Pure."""

import re

from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.domain.ports import StorageService

_ACCOUNT = re.compile(r"[a-z0-9]{3,24}", re.ASCII)
_CONTAINER = re.compile(r"[a-z0-9](?:-?[a-z0-9])*", re.ASCII)
_SYSTEM_CONTAINERS = frozenset({"$root", "$web", "$logs"})
_ILLEGAL_IN_FILES = frozenset('"\\:|<>*?')
_COMPONENT_BYTES = 255
# Counted as the service does, in UTF-16.
_BLOB_UNITS = 1024
_BLOB_SEGMENTS = 254
_FILE_CHARS = 2048
_FILE_COMPONENT_CHARS = 255


def is_account_name(name: str) -> bool:
    return _ACCOUNT.fullmatch(name) is not None


def is_container_name(name: str) -> bool:
    return name in _SYSTEM_CONTAINERS or (3 <= len(name) <= 63 and _CONTAINER.fullmatch(name) is not None)


def check_container_name(name: str) -> None:
    if is_container_name(name):
        return
    if not 3 <= len(name) <= 63:
        raise StorageError(
            StorageCode.OUT_OF_RANGE_INPUT, "The resource name length is not within 3 to 63 characters."
        )
    raise StorageError(StorageCode.INVALID_RESOURCE_NAME)


def check_path(service: StorageService, path: str) -> None:
    """Refuse what no blob, file or directory can be called."""
    if "\0" in path:
        raise StorageError(StorageCode.INVALID_URI, "A name holds no NUL.")
    try:
        units = len(path) if path.isascii() else len(path.encode("utf-16-le")) // 2
    except UnicodeEncodeError:
        raise StorageError(StorageCode.INVALID_URI, "The name is not valid UTF-8.") from None
    if service is StorageService.BLOB:
        # Whatever it is made of: what no file can be called is escaped (blobnames.py).
        if units > _BLOB_UNITS:
            raise StorageError(StorageCode.INVALID_RESOURCE_NAME, "A blob name has at most 1,024 characters.")
        if path.count("/") >= _BLOB_SEGMENTS:
            raise StorageError(StorageCode.INVALID_RESOURCE_NAME, "A blob name has at most 254 segments.")
        return
    _check_file_path(path, units)


def _check_file_path(path: str, units: int) -> None:
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise StorageError(StorageCode.INVALID_URI, "A path may not hold empty, '.' or '..' parts.")
    too_long = any(len(part.encode("utf-8")) > _COMPONENT_BYTES for part in parts)
    if units > _FILE_CHARS or too_long or any(len(part) > _FILE_COMPONENT_CHARS for part in parts):
        raise StorageError(StorageCode.INVALID_RESOURCE_NAME, "The path is too long.")
    if any(char in _ILLEGAL_IN_FILES or char < " " for char in path):
        raise StorageError(StorageCode.INVALID_RESOURCE_NAME)
