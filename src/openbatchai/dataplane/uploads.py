"""An upload in progress: a file in staging that a rename makes a blob or a block."""

import base64
import hashlib
import os
from contextlib import suppress
from pathlib import Path

from openbatchai.dataplane.beneath import FILE_MODE
from openbatchai.dataplane.integrity import NO_CHECKS, Checks, Sums

_COPY_BYTES = 64 << 20
# The kernel takes at most 1,024 (IOV_MAX).
_PIECES = 1024


class Upload:
    """Bytes arriving in order. `discard` is safe at any time, also after the file was taken by a rename."""

    def __init__(self, path: str | Path, *, hashing: bool, checks: Checks = NO_CHECKS) -> None:
        """`hashing`: compute the MD5 even when `checks` do not need it."""
        # Text: a Path costs as much as what is done to the file, and hardly anybody asks for one.
        self._path = os.fspath(path)
        self.is_staged = True
        self.size = 0
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        # The umask of the service must not keep the jobs of its group from writing.
        os.fchmod(self.fd, FILE_MODE)
        self._sums = Sums(checks, hashing=hashing)

    @property
    def path(self) -> Path:
        """Where the file is staged."""
        return Path(self._path)

    @path.setter
    def path(self, path: Path) -> None:
        self._path = os.fspath(path)

    def write(self, *pieces: bytes) -> None:
        content = [self._sums.add(piece) for piece in pieces]
        for index in range(0, len(content), _PIECES):
            self.size += _write_all(self.fd, content[index : index + _PIECES], self.size)

    def append_from(self, source: int, offset: int, length: int) -> None:
        """Copy bytes of an open file to the end, inside the kernel."""
        copy_bytes(source, offset, self.fd, self.size, length)
        self.size += length

    def extend(self, length: int) -> None:
        """Add zeros at the end, as a hole."""
        self.size += length
        os.ftruncate(self.fd, self.size)

    @property
    def md5(self) -> str:
        """Base64 of the content's MD5; empty when it was not computed."""
        return self._sums.md5

    @property
    def crc64(self) -> str:
        """Base64 of the content's CRC64; empty when no check needed it."""
        return self._sums.crc64

    def verify(self) -> None:
        """After the last byte: 400 when the content is not what `checks` say."""
        self._sums.verify()

    def rename(self, name: str | os.PathLike[str], directory: int | None = None) -> None:
        """Give the file its name, beneath the open `directory` or as a path."""
        os.rename(self._path, name, dst_dir_fd=directory)
        self.is_staged = False

    def discard(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if self.is_staged:
            self.is_staged = False
            with suppress(FileNotFoundError):
                self.path.unlink()


def write_at(fd: int, data: bytes | memoryview, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view = view[written:]
        offset += written


def _write_all(fd: int, pieces: list[bytes], offset: int) -> int:
    """Write the pieces one behind the other; the bytes written."""
    length = sum(map(len, pieces))
    written = os.pwritev(fd, pieces, offset)
    if written < length:
        write_at(fd, memoryview(b"".join(pieces))[written:], offset + written)
    return length


def copy_bytes(source: int, source_offset: int, target: int, target_offset: int, length: int) -> None:
    """Copy between open files; OSError when the source has become shorter."""
    left = length
    while left:
        count = min(left, _COPY_BYTES)
        try:
            copied = os.copy_file_range(source, target, count, source_offset, target_offset)
        except OSError:
            # Not every file system can (overlay, some FUSE): then through our memory.
            data = os.pread(source, min(count, 1 << 20), source_offset)
            write_at(target, data, target_offset)
            copied = len(data)
        if not copied:
            raise OSError("the source of a copy became shorter")
        left -= copied
        source_offset += copied
        target_offset += copied


def md5_of(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode("ascii")
