"""Headers about the integrity of bodies: what a request demands, what its answer tells (storage.md 6)."""

from collections.abc import Mapping

from openbatchai.dataplane import crc64
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.integrity import Checks
from openbatchai.dataplane.structured import KIND, MOST_OVERHEAD, check_kind
from openbatchai.dataplane.uploads import Upload
from openbatchai.http.storage.request import md5_header, required_size

STRUCTURED = "x-ms-structured-body"
CRC64 = "x-ms-content-crc64"


def checks_of(headers: Mapping[str, str]) -> Checks:
    """400 when the headers contradict one another or are malformed."""
    md5, crc = md5_header(headers, "content-md5"), headers.get(CRC64, "")
    if md5 and crc:
        raise StorageError(StorageCode.BOTH_HASHES)
    if crc and not crc64.is_base64(crc):
        raise StorageError(StorageCode.INVALID_HEADER, detail={"HeaderName": CRC64, "HeaderValue": crc})
    if STRUCTURED not in headers:
        return Checks(md5, crc)
    check_kind(headers[STRUCTURED])
    return Checks(md5, crc, required_size(headers, "x-ms-structured-content-length"))


def body_limit(checks: Checks, limit: int) -> int:
    """How long the body may be for content of `limit` bytes; RequestBodyTooLarge when it says it is more."""
    if checks.enveloped is None:
        return limit
    if checks.enveloped > limit:
        raise StorageError(StorageCode.BODY_TOO_LARGE)
    return checks.enveloped + MOST_OVERHEAD


def sum_headers(checks: Checks, upload: Upload) -> dict[str, str]:
    """What the answer to an upload tells about it."""
    headers = {"Content-MD5": upload.md5, CRC64: upload.crc64}
    if checks.enveloped is not None:
        headers[STRUCTURED] = KIND
    return {name: value for name, value in headers.items() if value}
