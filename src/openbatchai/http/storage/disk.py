"""What clients are told when the file system refuses."""

import errno

from openbatchai.dataplane.errors import StorageCode, StorageError

_OS_ERRORS = {
    errno.ENOSPC: StorageCode.DISK_FULL,
    errno.EDQUOT: StorageCode.DISK_FULL,
    errno.ENAMETOOLONG: StorageCode.INVALID_URI,
    errno.EFBIG: StorageCode.OUT_OF_RANGE_INPUT,
    errno.EINVAL: StorageCode.INVALID_INPUT,
    errno.EACCES: StorageCode.AUTHORIZATION_FAILURE,
    errno.EPERM: StorageCode.AUTHORIZATION_FAILURE,
    errno.EROFS: StorageCode.AUTHORIZATION_FAILURE,
    errno.ENOENT: StorageCode.RESOURCE_NOT_FOUND,
    errno.ENOTDIR: StorageCode.RESOURCE_NOT_FOUND,
    errno.EISDIR: StorageCode.TYPE_MISMATCH,
    errno.ENOTEMPTY: StorageCode.DIRECTORY_NOT_EMPTY,
    errno.EEXIST: StorageCode.RESOURCE_EXISTS,
}


def of_file_system(error: OSError) -> StorageError | None:
    """None for what is a fault of ours."""
    code = _OS_ERRORS.get(error.errno or 0)
    return None if code is None else StorageError(code)
