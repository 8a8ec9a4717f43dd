"""Reading the headers that set SMB properties of files and directories (storage.md 7.2)."""

from collections.abc import Mapping

from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.smb import (
    Attributes,
    Keep,
    PermissionWish,
    SmbWishes,
    TimeWish,
    parse_attributes,
    parse_time,
)

# Only shares with NFS have these; ours speak SMB.
_NFS_HEADERS = (
    "x-ms-owner",
    "x-ms-group",
    "x-ms-mode",
    "x-ms-file-file-type",
    "x-ms-file-mode-copy-mode",
    "x-ms-file-owner-copy-mode",
)
_ATTRIBUTES = "x-ms-file-attributes"
_PERMISSION = "x-ms-file-permission"
_KEY = "x-ms-file-permission-key"
_SEMANTICS = "x-ms-file-property-semantics"


def smb_of_new(headers: Mapping[str, str], *, directory: bool) -> SmbWishes:
    """What a create asks for; what it leaves out gets the service's default."""
    wishes = smb_of(headers, directory=directory)
    semantics = headers.get(_SEMANTICS, "new").lower()
    if semantics not in ("new", "restore"):
        raise invalid_header(_SEMANTICS, headers[_SEMANTICS])
    attributes = wishes.attributes or Attributes(0)
    if not directory and semantics == "new":
        attributes |= Attributes.Archive
    return SmbWishes(
        attributes,
        _or_now(wishes.created),
        _or_now(wishes.written),
        wishes.changed,
        wishes.permission or PermissionWish(),
    )


def smb_of(headers: Mapping[str, str], *, directory: bool) -> SmbWishes:
    """What a request changes; what it leaves out stays."""
    refuse_nfs(headers)
    text = headers.get(_ATTRIBUTES, "preserve")
    attributes = (
        None if text.lower() in ("preserve", "source") else parse_attributes(text, directory=directory)
    )
    return SmbWishes(
        attributes,
        _time(headers, "x-ms-file-creation-time"),
        _time(headers, "x-ms-file-last-write-time"),
        _time(headers, "x-ms-file-change-time"),
        permission_of(headers),
    )


def permission_of(headers: Mapping[str, str]) -> PermissionWish | None:
    text, key = headers.get(_PERMISSION, ""), headers.get(_KEY, "")
    if text and key:
        raise StorageError(
            StorageCode.INVALID_HEADER,
            "A permission is given by its text or by its key, not by both.",
            detail={"HeaderName": _KEY},
        )
    if text.lower() == "inherit":
        return PermissionWish()
    if text.lower() == "preserve" or not (text or key):
        return None
    return PermissionWish(text, key, is_binary_permission(headers))


def is_binary_permission(headers: Mapping[str, str]) -> bool:
    name = "x-ms-file-permission-format"
    form = headers.get(name, "sddl").lower()
    if form not in ("sddl", "binary"):
        raise invalid_header(name, headers[name])
    return form == "binary"


def refuse_nfs(headers: Mapping[str, str]) -> None:
    for name in _NFS_HEADERS:
        if name in headers:
            raise StorageError(
                StorageCode.UNSUPPORTED_HEADER,
                "The header is for shares with the NFS protocol.",
                detail={"HeaderName": name},
            )


def flag(headers: Mapping[str, str], name: str) -> bool:
    text = headers.get(name, "false").lower()
    if text not in ("true", "false"):
        raise invalid_header(name, headers[name])
    return text == "true"


def invalid_header(name: str, value: str) -> StorageError:
    return StorageError(StorageCode.INVALID_HEADER, detail={"HeaderName": name, "HeaderValue": value})


def _time(headers: Mapping[str, str], name: str) -> TimeWish:
    text = headers.get(name)
    # "source" belongs to copies, which read these headers only where it is not said.
    return Keep.AS_IS if text is None or text.lower() == "source" else parse_time(name, text)


def _or_now(wish: TimeWish) -> TimeWish:
    return Keep.NOW if wish is Keep.AS_IS else wish
