"""Sums of bytes on their way in, and what a request says they must come to (storage.md 6)."""

import base64
import hashlib
from dataclasses import dataclass

from openbatchai.dataplane.crc64 import crc64, to_base64
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.structured import Decoder


@dataclass(frozen=True)
class Checks:
    """Sums that a body must have (base64; "" when not told). `enveloped` is the length of the content of a
    structured body, None for a plain one."""

    md5: str = ""
    crc64: str = ""
    enveloped: int | None = None


NO_CHECKS = Checks()


class Sums:
    """What a body comes to, and the envelope it came in."""

    def __init__(self, checks: Checks, *, hashing: bool) -> None:
        """`hashing`: compute the MD5 though no check needs it."""
        self._checks = checks
        self._md5 = hashlib.md5(usedforsecurity=False) if hashing or checks.md5 else None
        self._decoder = None if checks.enveloped is None else Decoder(checks.enveloped)
        # Who tells one sum is told both.
        self._crc: int | None = 0 if checks.crc64 or checks.md5 else None

    def add(self, data: bytes) -> bytes:
        """Count a piece of the body; the content in it."""
        if self._decoder is not None:
            data = self._decoder.feed(data)
        if self._md5 is not None:
            self._md5.update(data)
        if self._crc is not None:
            self._crc = crc64(data, self._crc)
        return data

    @property
    def md5(self) -> str:
        """Base64, of all bytes so far; "" when it was not computed."""
        return base64.b64encode(self._md5.digest()).decode("ascii") if self._md5 else ""

    @property
    def crc64(self) -> str:
        return "" if self._crc is None else to_base64(self._crc)

    def verify(self) -> None:
        """After the last piece: 400 when the body is not what the request said."""
        if self._decoder is not None:
            self._decoder.finish()
        if self._checks.md5 and self._checks.md5 != self.md5:
            raise StorageError(StorageCode.MD5_MISMATCH)
        if self._checks.crc64 and self._checks.crc64 != self.crc64:
            raise StorageError(StorageCode.CRC64_MISMATCH)


def verified(body: bytes, checks: Checks) -> bytes:
    """The content of a body held in memory; 400 when it is not what the request said."""
    sums = Sums(checks, hashing=False)
    content = sums.add(body)
    sums.verify()
    return content
