"""Which names of accounts, containers, blobs and files are taken (storage.md 1, 5.2, 7.2). Pure."""

import re

from openbatchai.dataplane import filenames
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.domain.ports import StorageService

_ACCOUNT = re.compile(r"[a-z0-9]{3,24}", re.ASCII)
_CONTAINER = re.compile(r"[a-z0-9](?:-?[a-z0-9])*", re.ASCII)
_SYSTEM_CONTAINERS = frozenset({"$root", "$web", "$logs"})
# Counted as the service does, in UTF-16.
_BLOB_UNITS = 1024
_BLOB_SEGMENTS = 254


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
    filenames.check_path(path, units)
