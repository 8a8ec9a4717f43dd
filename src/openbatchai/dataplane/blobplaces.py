"""Where in a container's directory a blob lies, or goes when it is new (blobnames.py says what names may be).

The name as it is comes first. Only when nothing is there, the escapes are looked for; as long as no part of
the name has one, that is a look per component. Jobs move files and directories about at the same time, so
what was true a moment ago is tried, and tried again when it no longer holds.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from openbatchai.dataplane import beneath, blobnames
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.places import remove_empty_directories

_ATTEMPTS = 8


@dataclass(frozen=True)
class Found:
    """A blob's file: its path below the container, and the stat of what that leads to."""

    path: str
    stat: os.stat_result


def find(container: int, name: str) -> Found | None:
    if blobnames.is_plain_path(name):
        found = _file(container, name)
        if found is not None or not _has_escapes(container, name):
            return found
    for path in _candidates(container, name):
        found = _file(container, path)
        if found is not None:
            return found
    return None


def open_file(container: int, name: str, flags: int = os.O_RDONLY) -> int:
    """Open the file of an existing blob; FileNotFoundError when there is none."""
    if blobnames.is_plain_path(name):
        try:
            return beneath.open_file(container, name, flags)
        except FileNotFoundError:
            if not _has_escapes(container, name):
                raise
    for path in _candidates(container, name):
        with suppress(FileNotFoundError):
            return beneath.open_file(container, path, flags)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def directories(container: int, components: Sequence[str]) -> list[str]:
    """Every directory that holds blobs whose names begin with these components, each with its slash.

    The one whose blobs count first comes first.
    """
    found = [""]
    for component in components:
        paths = (_join(base, form) for base in found for form in blobnames.forms(component, directory=True))
        found = [path for path in paths if _is_directory(container, path)]
    return found


def remove(
    container: int, name: str, present: Found, sync: Callable[[int], None], *, is_folder: bool
) -> None:
    """Unlink every file that stands for a blob; `sync` gets the directories it was in.

    With the mark of a folder goes the directory, when nothing is in it.
    """
    done: set[str] = set()
    found: Found | None = present
    while found is not None and found.path not in done:
        parent_path, entry = beneath.split(found.path)
        with (
            suppress(FileNotFoundError, NotADirectoryError),
            beneath.directory_beneath(container, parent_path) as parent,
        ):
            os.unlink(entry, dir_fd=parent)
            sync(parent)
        done.add(found.path)
        # A job may have made a file of the plain name beside the escape, which must not come up again.
        found = find(container, name)
    if is_folder:
        for path in directories(container, name.removesuffix("/").split("/")):
            parent_path, entry = beneath.split(path)
            with suppress(OSError), beneath.directory_beneath(container, parent_path) as parent:
                os.rmdir(entry, dir_fd=parent)


def _file(container: int, path: str) -> Found | None:
    found = beneath.stat_beneath(container, path)
    return Found(path, found) if found is not None and stat.S_ISREG(found.st_mode) else None


def _is_directory(container: int, path: str) -> bool:
    found = beneath.stat_beneath(container, path)
    return found is not None and stat.S_ISDIR(found.st_mode)


def _has_escapes(container: int, name: str) -> bool:
    """Whether any part of a plain name is there in its escaped form.

    Only a look: it follows links wherever they lead, and what it finds is then opened beneath.
    """
    base, rest = "", name
    while True:
        component, slash, rest = rest.partition("/")
        escape = blobnames.escape(component, directory=bool(slash))
        if os.access(base + escape, os.F_OK, dir_fd=container):
            return True
        if not slash:
            return False
        base += component + slash


def _candidates(container: int, name: str) -> Iterator[str]:
    *parents, last = name.split("/")
    for base in directories(container, parents):
        for form in blobnames.forms(last, directory=False):
            yield _join(base, form)


class NewPlace:
    """Where a blob that is put goes.

    `move` gets a name and the descriptor of the directory it goes to, and raises IsADirectoryError when
    that is a directory's; `sync` gets the descriptors of directories in which something was made.
    """

    def __init__(
        self, container: int, name: str, move: Callable[[str, int], None], sync: Callable[[int], None]
    ) -> None:
        self._container = container
        self._name = name
        self._move_to = move
        self._sync = sync

    def take(self, present: Found | None, *, is_folder: bool) -> None:
        """Put the file in its place, which is that of the `present` one when there is one.

        A blob that marks a folder lies beside a directory of its name, which jobs see.
        """
        for attempt in range(_ATTEMPTS):
            try:
                if present is not None and not attempt:
                    self._move(present.path)
                else:
                    self._take_new(is_folder=is_folder)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError, FileExistsError):
                continue
            return
        raise StorageError(StorageCode.PATH_CONFLICT)

    def _take_new(self, *, is_folder: bool) -> None:
        if not is_folder and blobnames.is_plain_path(self._name):
            # By far the commonest: the directory is there, and no other takes the name.
            with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                self._move(self._name)
                return
        *parents, last = self._name.split("/")
        base = ""
        for component in parents:
            base = self._directory(base, component)
        places = blobnames.forms(last, directory=False)
        if is_folder and len(places) > 1 and self._makes(_join(base, last)):
            places = places[1:]
        for form in places[:-1]:
            with suppress(IsADirectoryError):
                self._move(_join(base, form))
                return
        self._make_cuts(base, places[-1])
        self._move(_join(base, places[-1]))

    def _move(self, path: str) -> None:
        parent_path, entry = beneath.split(path)
        if not parent_path:
            self._move_within(self._container, entry)
            return
        with beneath.directory_beneath(self._container, parent_path) as parent:
            self._move_within(parent, entry)

    def _move_within(self, parent: int, entry: str) -> None:
        try:
            self._move_to(entry, parent)
        except IsADirectoryError:
            # Deleting the last blob under a prefix leaves its directories; empty ones give way.
            if not _gives_way(parent, entry):
                raise
            self._move_to(entry, parent)
        self._sync(parent)

    def _directory(self, base: str, component: str) -> str:
        """The directory for blobs below a component; NotADirectoryError when jobs hold every form of it."""
        forms = blobnames.forms(component, directory=True)
        for form in forms:
            if _is_directory(self._container, _join(base, form)):
                return _join(base, form)
        for form in forms:
            self._make_cuts(base, form)
            if self._makes(_join(base, form)):
                return _join(base, form)
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), component)

    def _make_cuts(self, base: str, form: str) -> None:
        """The directories that the pieces of a long escape are nested in."""
        *cuts, _ = form.split("/")
        for cut in cuts:
            base = _join(base, cut)
            self._makes(base)

    def _makes(self, path: str) -> bool:
        """Whether there is a directory now."""
        parent_path, entry = beneath.split(path)
        with (
            suppress(FileExistsError),
            beneath.directory_beneath(self._container, parent_path) as parent,
        ):
            beneath.make_directory(parent, entry)
            self._sync(parent)
            return True
        return _is_directory(self._container, path)


def _gives_way(parent: int, entry: str) -> bool:
    try:
        remove_empty_directories(parent, entry)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.ELOOP):
            return False
        raise
    return True


def _join(base: str, form: str) -> str:
    return f"{base}/{form}" if base else form
