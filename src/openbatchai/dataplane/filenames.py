"""Names of files and directories in Azure Files: which are one, which are legal, how they are ordered. Pure.

Letter case is folded as SMB servers fold it: character by character to its upper case, as long as that is
one character. So `ß` is not `ss`, and `İ` is not `i` with a dot. Letters outside ASCII whose upper case is in
it (`ı`, `ſ`) stay apart from those, and characters beyond the Basic Multilingual Plane have no case.
"""

from openbatchai.dataplane.errors import StorageCode, StorageError

_ILLEGAL = frozenset('"\\:|<>*?')
_COMPONENT_BYTES = 255
_COMPONENT_UNITS = 255
_PATH_UNITS = 2048


def fold(name: str) -> str:
    """The same for all names that are one to Azure Files; works on whole paths as well."""
    return name.upper() if name.isascii() else "".join(map(_upper, name))


def _upper(char: str) -> str:
    upper = char.upper()
    if len(upper) > 1 or char > "\uffff" or (upper.isascii() and not char.isascii()):
        return char
    return upper


def order(name: str) -> tuple[str, str]:
    """Key of the order that listings have: without regard to case, and then by code point."""
    return fold(name), name


def without_trailing_dots(path: str) -> str:
    """As Windows names things; a part of nothing but dots is left as one that no path may hold."""
    return "/".join(part.rstrip(".") or "." for part in path.split("/")) if path else path


def check_path(path: str, units: int) -> None:
    """Refuse what no path can be, whatever is there; `units` is its length in UTF-16."""
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise StorageError(StorageCode.INVALID_URI, "A path may not hold empty, '.' or '..' parts.")
    if units > _PATH_UNITS or any(_is_too_long(part) for part in parts):
        raise StorageError(StorageCode.INVALID_RESOURCE_NAME, "The path is too long.")


def check_legal(path: str) -> None:
    """Refuse names that SMB does not know. A job may have made such a file: that can be read and deleted."""
    if any(char in _ILLEGAL or char < " " for char in path):
        raise StorageError(StorageCode.INVALID_RESOURCE_NAME)


def _is_too_long(part: str) -> bool:
    if part.isascii():
        return len(part) > _COMPONENT_UNITS
    # The service counts UTF-16, a file system bytes.
    return len(part.encode("utf-8")) > _COMPONENT_BYTES
