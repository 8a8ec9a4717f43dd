"""Blob names as paths of a directory, and back (docs/storage.md, "Names"). Pure.

A blob's name is cut at its slashes, and each component but the last is a directory. A component is stored
as it is where a file system can hold it. Where it cannot, and where its name is already taken by the other
kind (blob `a` beside blobs under `a/`), it is stored escaped: the prefix `.%`, then the component with `%`
as `%25`, and for a directory `%2F` at the end. Thus the escapes of files and of directories never meet, and
each name of a file system stands for one component at most. An escape too long for one name is cut: its
pieces are nested directories, each but the last ending in a single `%`.
"""

from collections.abc import Sequence

PREFIX = ".%"
_DIRECTORY_END = "%2F"
_CUT = "%"
NAME_BYTES = 255
# Room for the prefix, the end and the cut.
_PIECE_BYTES = 248


def is_plain(component: str) -> bool:
    """Whether a file system can hold a component, or an entry's name, as it is."""
    if component in ("", ".", "..") or component.startswith(PREFIX):
        return False
    # Not isascii() alone: a name of a file system that is no UTF-8 comes with surrogates.
    if component.isascii():
        return len(component) <= NAME_BYTES
    try:
        return len(component.encode("utf-8")) <= NAME_BYTES
    except UnicodeEncodeError:
        return False


def is_plain_path(name: str) -> bool:
    return all(map(is_plain, name.split("/")))


def forms(component: str, *, directory: bool) -> tuple[str, ...]:
    """Every path that a component may have on disk, the one that counts first."""
    escaped = escape(component, directory=directory)
    return (component, escaped) if is_plain(component) else (escaped,)


def escape(component: str, *, directory: bool) -> str:
    """The escape of a component: one name, or several joined by slashes where it is long."""
    pieces = _pieces(component)
    cut = "/".join(f"{PREFIX}{piece}{_CUT}" for piece in pieces[:-1])
    last = f"{PREFIX}{pieces[-1]}{_DIRECTORY_END if directory else ''}"
    return f"{cut}/{last}" if cut else last


def unescape(entry: str, *, directory: bool) -> str | None:
    """The component that a name of the file system is the escape of; None where it is nobody's.

    `a` for `.%a`. For a cut one (see is_cut) this is the text so far, and what is in it goes on.
    """
    if not entry.startswith(PREFIX):
        return None
    text = entry[len(PREFIX) :]
    if directory:
        if not text.endswith(_DIRECTORY_END):
            return None
        text = text[: -len(_DIRECTORY_END)]
    return _decoded(text)


def uncut(entry: str) -> str | None:
    """The text of a directory that holds the rest of a cut escape; None for any other name."""
    if not entry.startswith(PREFIX) or not entry.endswith(_CUT):
        return None
    return _decoded(entry[len(PREFIX) : -len(_CUT)]) or None


def is_canonical(component: str, pieces: Sequence[str], *, directory: bool) -> bool:
    """Whether the pieces found on disk are what escape() makes: any others stand for nothing."""
    return escape(component, directory=directory) == "/".join(pieces)


def _decoded(text: str) -> str | None:
    component = text.replace("%25", "%")
    if component.replace("%", "%25") != text:
        return None
    try:
        return component if len(text.encode("utf-8")) <= _PIECE_BYTES else None
    except UnicodeEncodeError:
        return None


def _pieces(component: str) -> list[str]:
    """The component with `%` escaped, cut between characters."""
    text = component.replace("%", "%25")
    if len(text) * 4 <= _PIECE_BYTES or len(text.encode("utf-8")) <= _PIECE_BYTES:
        return [text]
    pieces, piece, size = [], "", 0
    for char in component:
        token = "%25" if char == "%" else char
        length = len(token.encode("utf-8"))
        if size + length > _PIECE_BYTES:
            pieces.append(piece)
            piece, size = "", 0
        piece += token
        size += length
    return [*pieces, piece]
