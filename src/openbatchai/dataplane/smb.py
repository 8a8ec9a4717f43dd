"""SMB properties of files and directories: attributes, times, security descriptors (storage.md 7.2). Pure.

Of the four times two are the file system's own: the last-write time is its mtime, so a job sees it, and the
change time its ctime unless a client set another one since. Creation time and attributes lie in the record.
"""

import base64
import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, IntFlag

from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.sddl import from_binary, to_binary

_NS = 1_000_000_000
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,7}))?Z?", re.ASCII)
_PERMISSION_BYTES = 8 << 10
# An owner, a group, a DACL and a SACL, each at most once and in this order; entries may hold conditions.
_ENTRIES = r"(?:\([^()]*(?:\([^()]*\)[^()]*)*\))*"
_SDDL = re.compile(
    rf"(?=[OGDS]:)(?:O:[A-Za-z0-9-]+?)?(?:G:[A-Za-z0-9-]+?)?(?:D:[A-Z_]*{_ENTRIES})?(?:S:[A-Z_]*{_ENTRIES})?",
    re.ASCII,
)
_DESCRIPTOR_HEAD = 20
# What Azure gives the root of a share that nobody set a descriptor on: full control for system and
# administrators, change for authenticated users.
DEFAULT_SDDL = (
    "O:SYG:SYD:(A;OICI;FA;;;BA)(A;OICIIO;FA;;;CO)(A;OICI;FA;;;SY)(A;OICI;0x1301bf;;;AU)(A;OICI;0x1200a9;;;BU)"
)


class Attributes(IntFlag):
    """Values are those of the NTFS attributes, so that the answer lists them in the service's order."""

    ReadOnly = 0x1
    Hidden = 0x2
    System = 0x4
    Directory = 0x10
    Archive = 0x20
    Temporary = 0x100
    Offline = 0x1000
    NotContentIndexed = 0x2000
    NoScrubData = 0x20000


_BY_NAME = {attribute.name.lower(): attribute for attribute in Attributes if attribute.name}
_DIRECTORIES_ONLY = Attributes.Directory
_FILES_ONLY = Attributes.Temporary


class Keep(Enum):
    """What a request may say of a property instead of giving a value."""

    AS_IS = "preserve"
    NOW = "now"


# Nanoseconds since 1970, or one of the words.
TimeWish = int | Keep


@dataclass(frozen=True)
class PermissionWish:
    """A security descriptor by its text or by the key of one that the share knows; neither: the parent's."""

    text: str = ""
    key: str = ""
    is_binary: bool = False


@dataclass(frozen=True)
class SmbWishes:
    """What a request sets of an item's SMB properties; None or Keep.AS_IS leaves what is there."""

    attributes: Attributes | None = None
    created: TimeWish = Keep.AS_IS
    written: TimeWish = Keep.AS_IS
    changed: TimeWish = Keep.AS_IS
    permission: PermissionWish | None = None


NO_WISHES = SmbWishes()


def parse_attributes(text: str, *, directory: bool) -> Attributes:
    """`ReadOnly | Archive`; `None` is no attribute (a directory always has its own)."""
    found = Attributes(0)
    for part in text.split("|"):
        name = part.strip().lower()
        if name == "none":
            continue
        attribute = _BY_NAME.get(name)
        if attribute is None:
            raise _invalid("x-ms-file-attributes", text)
        found |= attribute
    if found & (_FILES_ONLY if directory else _DIRECTORIES_ONLY):
        raise _invalid("x-ms-file-attributes", text)
    return found


def attributes_text(attributes: int, *, directory: bool) -> str:
    names = [
        attribute.name
        for attribute in Attributes
        if attribute.name and (attribute & attributes or (directory and attribute is Attributes.Directory))
    ]
    return " | ".join(names) or "None"


def parse_time(header: str, text: str) -> TimeWish:
    """`now`, `preserve` or a time with up to seven digits after the second, in UTC."""
    word = text.strip().lower()
    for keep in Keep:
        if word == keep.value:
            return keep
    found = _TIME.fullmatch(text.strip())
    try:
        moment = datetime.fromisoformat(found[1]).replace(tzinfo=UTC) if found else None
    except ValueError:
        moment = None
    # The first day that SMB can express.
    if found is None or moment is None or moment.year < 1601:
        raise _invalid(header, text)
    seconds = round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    return seconds * _NS + int((found[2] or "").ljust(7, "0")) * 100


def check_permission(text: str, *, is_binary: bool) -> None:
    """FileInvalidPermission for what is no descriptor; one with entries that we do not know is one."""
    if len(text.encode("utf-8")) > _PERMISSION_BYTES:
        raise StorageError(
            StorageCode.INVALID_PERMISSION, "A permission in a header or body has at most 8 KiB."
        )
    if not text or not (_is_descriptor(text) if is_binary else _SDDL.fullmatch(text)):
        raise StorageError(StorageCode.INVALID_PERMISSION)


def _is_descriptor(text: str) -> bool:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return False
    return len(data) >= _DESCRIPTOR_HEAD and data[0] == 1


def converted(text: str, *, is_binary: bool) -> str:
    """A stored descriptor in its other form: SDDL from the binary one, or that, as base64, from SDDL."""
    try:
        if is_binary:
            return from_binary(base64.b64decode(text))
        return base64.b64encode(to_binary(text)).decode("ascii")
    except ValueError:
        raise StorageError(
            StorageCode.CANNOT_CONVERT_PERMISSION,
        ) from None


def permission_key(text: str) -> str:
    """Two numbers, as the service's keys look; the same descriptor has the same key in every share."""
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()
    return f"{int.from_bytes(digest[:8])}*{int.from_bytes(digest[8:])}"


DEFAULT_PERMISSION_KEY = permission_key(DEFAULT_SDDL)


def _invalid(header: str, value: str) -> StorageError:
    return StorageError(StorageCode.INVALID_HEADER, detail={"HeaderName": header, "HeaderValue": value})
