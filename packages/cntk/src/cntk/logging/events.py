"""TensorBoard event files: a record file of protobuf messages (tensorflow's `Event`), written without it.

A record is its length, a checksum of the length, the data, and a checksum of the data (CRC-32C, masked).
"""

from __future__ import annotations

import os
import socket
import struct
import time
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def _table() -> tuple[int, ...]:
    result = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        result.append(value)
    return tuple(result)


_CRC = _table()


def masked_crc32c(data: bytes) -> int:
    """The checksum of the record format."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _CRC[(value ^ byte) & 0xFF] ^ value >> 8
    value ^= 0xFFFFFFFF
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


def record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, wire: int, payload: bytes) -> bytes:
    head = _varint(number << 3 | wire)
    return head + (_varint(len(payload)) if wire == _BYTES else b"") + payload


def _text(number: int, value: str) -> bytes:
    return _field(number, _BYTES, value.encode())


def _event(step: int, payload: bytes) -> bytes:
    return _field(1, _FIXED64, struct.pack("<d", time.time())) + _field(2, _VARINT, _varint(step)) + payload


def scalar_event(name: str, value: float, step: int) -> bytes:
    """One number."""
    entry = _text(1, name) + _field(2, _FIXED32, struct.pack("<f", value))
    return _event(step, _field(5, _BYTES, _field(1, _BYTES, entry)))


def png(pixels: np.ndarray) -> bytes:
    """An image [height, width, channels] of bytes (1 grey, 3 RGB or 4 RGBA channels) as PNG."""
    height, width, channels = pixels.shape
    colour = {1: 0, 3: 2, 4: 6}[channels]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = np.zeros((height, 1 + width * channels), np.uint8)  # a filter byte (none) before each row
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows.tobytes()))
        + chunk(b"IEND", b"")
    )


def image_event(name: str, pixels: np.ndarray, step: int) -> bytes:
    """One image [height, width, channels] of bytes."""
    height, width, channels = pixels.shape
    image = b"".join(
        _field(i + 1, _VARINT, _varint(value)) for i, value in enumerate((height, width, channels))
    )
    image += _field(4, _BYTES, png(pixels))
    entry = _text(1, name) + _field(4, _BYTES, image)
    return _event(step, _field(5, _BYTES, _field(1, _BYTES, entry)))


def graph_event(nodes: Iterable[tuple[str, str, Sequence[str]]]) -> bytes:
    """A graph of (name, operation, names of inputs)."""
    definitions = b""
    for name, operation, inputs in nodes:
        node = _text(1, name) + _text(2, operation) + b"".join(_text(3, source) for source in inputs)
        definitions += _field(1, _BYTES, node)
    versions = _field(4, _BYTES, _field(1, _VARINT, _varint(22)))
    return _event(0, _field(4, _BYTES, definitions + versions))


class EventFile:
    """A file of events in a directory; TensorBoard finds it by its name."""

    def __init__(self, directory: str | os.PathLike[str]):
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
        path, number = folder / name, 0
        while True:
            try:
                self._file = path.open("xb")
                break
            except FileExistsError:  # another writer of this process in the same second
                number += 1
                path = folder / f"{name}.{number}"
        self.path = path
        self.write(_event(0, _text(3, "brain.Event:2")))
        self.flush()

    def write(self, event: bytes) -> None:
        self._file.write(record(event))

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()
