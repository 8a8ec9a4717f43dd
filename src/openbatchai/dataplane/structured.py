"""Structured bodies (`x-ms-structured-body: XSM/1.0; properties=crc64`): content in segments, each followed
by its CRC64, and the CRC64 of all at the end (storage.md 6.3). Numbers are little endian.

    message: version 1 (1 byte), length of the message (8), flags (2; 1 = CRC64), number of segments (2)
    segment: number from 1 (2), length (8), content, CRC64 of the content (8)
    at the end: CRC64 of all content (8)
"""

import struct

from openbatchai.dataplane.crc64 import LENGTH, crc64, to_bytes
from openbatchai.dataplane.errors import StorageCode, StorageError

KIND = "XSM/1.0; properties=crc64"
_VERSION = 1
_FLAG_CRC64 = 1
_MESSAGE = struct.Struct("<BQHH")
_SEGMENT = struct.Struct("<HQ")
_SEGMENT_BYTES = 4 << 20
_MOST_SEGMENTS = 0xFFFF
# What a message is longer than its content, at most.
MOST_OVERHEAD = _MESSAGE.size + LENGTH + _MOST_SEGMENTS * (_SEGMENT.size + LENGTH)


def check_kind(text: str) -> None:
    """UnsupportedHeader for any other kind of message than the one with CRC64."""
    parts = [part.strip().lower() for part in text.split(";")]
    if parts != ["xsm/1.0", "properties=crc64"]:
        raise StorageError(
            StorageCode.UNSUPPORTED_HEADER,
            detail={"HeaderName": "x-ms-structured-body", "HeaderValue": text},
        )


class Decoder:
    """Takes a message in pieces and gives its content; raises InvalidInput or Crc64Mismatch."""

    def __init__(self, content_length: int) -> None:
        self._content_length = content_length
        self._held = bytearray()
        self._header_read = False
        self._message_length = 0
        self._taken = 0
        self._segments = 0
        self._number = 0
        self._left: int | None = None
        self._segment_crc = 0
        self._crc = 0
        self._given = 0
        self._done = False

    def feed(self, data: bytes) -> bytes:
        """The content that `data` completes."""
        if self._left and not self._held and len(data) < self._left:
            # All of it is content of the present segment: no copy.
            self._count(data)
            self._left -= len(data)
            return data
        self._held += data
        found = bytearray()
        while self._step(found):
            pass
        return bytes(found)

    def finish(self) -> None:
        if not self._done or self._held or self._given != self._content_length:
            raise _malformed("The structured message ends before its content is complete.")

    def _step(self, found: bytearray) -> bool:
        """Read the next part of the message; whether there was one."""
        if self._done:
            if self._held:
                raise _malformed("The structured message is followed by something else.")
            return False
        if not self._header_read:
            return self._read_header()
        if self._left is None:
            return self._read_segment_header() if self._number < self._segments else self._read_end()
        if self._left:
            piece = self._take(min(self._left, len(self._held)))
            self._count(piece)
            self._left -= len(piece)
            found += piece
            return bool(piece)
        if len(self._held) < LENGTH:
            return False
        if self._take(LENGTH) != to_bytes(self._segment_crc):
            raise StorageError(StorageCode.CRC64_MISMATCH)
        self._left = None
        return True

    def _read_header(self) -> bool:
        if len(self._held) < _MESSAGE.size:
            return False
        version, length, flags, segments = _MESSAGE.unpack(self._take(_MESSAGE.size))
        expected = message_length(self._content_length, segments)
        if version != _VERSION or flags != _FLAG_CRC64 or not segments or length != expected:
            raise _malformed("The header of the structured message is not valid.")
        self._header_read, self._segments = True, segments
        return True

    def _read_segment_header(self) -> bool:
        if len(self._held) < _SEGMENT.size:
            return False
        number, length = _SEGMENT.unpack(self._take(_SEGMENT.size))
        if number != self._number + 1 or self._given + length > self._content_length:
            raise _malformed("A segment of the structured message is not valid.")
        self._number, self._left, self._segment_crc = number, length, 0
        return True

    def _read_end(self) -> bool:
        if len(self._held) < LENGTH:
            return False
        if self._take(LENGTH) != to_bytes(self._crc):
            raise StorageError(StorageCode.CRC64_MISMATCH)
        self._done = True
        return True

    def _take(self, count: int) -> bytes:
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken

    def _count(self, piece: bytes) -> None:
        self._segment_crc = crc64(piece, self._segment_crc)
        self._crc = crc64(piece, self._crc)
        self._given += len(piece)


class Encoder:
    """Makes a message of content given in pieces of any size."""

    def __init__(self, content_length: int) -> None:
        self._length = content_length
        self._segment = _segment_bytes(content_length)
        self._segments = _segments(content_length)
        self._number = 0
        self._given = 0
        self._left = 0
        self._segment_crc = 0
        self._crc = 0

    def feed(self, data: bytes) -> bytes:
        parts = []
        if not self._number:
            header = message_length(self._length, self._segments)
            parts += [_MESSAGE.pack(_VERSION, header, _FLAG_CRC64, self._segments), self._next_segment()]
        at = 0
        while at < len(data):
            if not self._left:
                parts.append(self._next_segment())
            piece = data[at : at + self._left]
            self._segment_crc = crc64(piece, self._segment_crc)
            self._crc = crc64(piece, self._crc)
            self._left -= len(piece)
            self._given += len(piece)
            at += len(piece)
            parts.append(piece)
            if not self._left:
                parts.append(to_bytes(self._segment_crc))
        if self._given == self._length:
            parts += [to_bytes(0)] * (not self._length) + [to_bytes(self._crc)]
        return b"".join(parts)

    def _next_segment(self) -> bytes:
        self._number += 1
        self._left = min(self._segment, self._length - self._given)
        self._segment_crc = 0
        return _SEGMENT.pack(self._number, self._left)


def encoded_length(content_length: int) -> int:
    """How long the message is that Encoder makes."""
    return message_length(content_length, _segments(content_length))


def message_length(content_length: int, segments: int) -> int:
    return _MESSAGE.size + content_length + segments * (_SEGMENT.size + LENGTH) + LENGTH


def _segment_bytes(content_length: int) -> int:
    return max(_SEGMENT_BYTES, -(-content_length // _MOST_SEGMENTS))


def _segments(content_length: int) -> int:
    return -(-content_length // _segment_bytes(content_length)) or 1


def _malformed(reason: str) -> StorageError:
    return StorageError(StorageCode.INVALID_INPUT, reason)
