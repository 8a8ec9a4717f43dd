"""A copy of a file that later changes of the original do not reach, as cheap as the file system allows."""

import errno
import fcntl
import os

from openbatchai.dataplane.holes import data_ranges
from openbatchai.dataplane.uploads import copy_bytes

_FICLONE = 0x40049409
# What file systems answer that cannot share blocks, or not between these two files.
_CANNOT = frozenset({errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EXDEV, errno.ENOSYS, errno.EPERM})
# How often a job may cut the file short while it is copied.
_ATTEMPTS = 8


def clone(source: int, target: int) -> None:
    """Give the empty open file `target` the content of `source`: shared blocks (reflink) where the file
    system has them, else a copy that keeps holes as holes. OSError when the source becomes shorter again
    and again."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
    else:
        return
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _copy(source, target)
            return
        except OSError as error:
            if error.errno is not None or attempt == _ATTEMPTS:
                raise
            os.ftruncate(target, 0)


def _copy(source: int, target: int) -> None:
    size = os.fstat(source).st_size
    for start, end in data_ranges(source, 0, size):
        copy_bytes(source, start, target, start, end - start)
    os.ftruncate(target, size)
