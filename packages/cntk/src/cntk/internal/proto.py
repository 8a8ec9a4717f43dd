"""The protobuf message `Dictionary` of CNTK's v2 files, read and written without a protobuf library.

The schema is a dozen messages and three wire types, so a codec of its own is smaller than the dependency.
Python values stand for the oneof of `DictionaryValue`; types that Python cannot tell apart are marked by the
small wrapper classes below (`SizeT`, `Float`).  Arrays are `numpy.ndarray` in Python axis order: a file
stores the reversed shape and the C-order bytes of the Python-shaped array.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

MASK64 = (1 << 64) - 1

INFERRED_DIMENSION = MASK64  # Python -1
FREE_DIMENSION = MASK64 - 2  # Python -3

_MAX_RANK = 64  # NumPy's own; more would be a damaged file
_MAX_DEPTH = 100  # of nested messages, as in the protobuf libraries


class ParseError(ValueError):
    """The bytes are not a CNTK v2 dictionary."""


class SizeT(int):
    """An unsigned 64-bit count; a plain int is CNTK's signed 32-bit Int."""


class Float(float):
    """A single-precision value; a plain float is CNTK's Double."""


class Shape(tuple[int, ...]):
    """An NDShape, in the order of the file (the reverse of the Python shape)."""


class AxisValue(NamedTuple):
    static_axis_idx: int
    name: str
    is_ordered: bool


# DictionaryValue.Type and the oneof field that carries it.
_NONE, _BOOL, _INT, _SIZET, _FLOAT, _DOUBLE, _STRING, _SHAPE, _AXIS, _VECTOR, _DICT, _ARRAY = range(12)

_DATA_TYPES: dict[int, np.dtype] = {
    1: np.dtype("<f4"),
    2: np.dtype("<f8"),
    4: np.dtype("<f2"),
    5: np.dtype("i1"),
    6: np.dtype("<i2"),
}
_DATA_CODES = {dtype: code for code, dtype in _DATA_TYPES.items()}


def _varint(value: int) -> bytes:
    value &= MASK64
    out = bytearray()
    while value > 0x7F:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _key(field: int, wire: int) -> bytes:
    return _varint(field << 3 | wire)


def _int_field(field: int, value: int) -> bytes:
    return _key(field, 0) + _varint(value)


def _bytes_field(field: int, value: bytes) -> bytes:
    return _key(field, 2) + _varint(len(value)) + value


def _write_shape(shape: tuple[int, ...]) -> bytes:
    packed = b"".join(_varint(dim) for dim in shape)
    return _bytes_field(1, packed) if packed else b""


def _write_array(array: np.ndarray) -> bytes:
    code = _DATA_CODES.get(array.dtype)
    if code not in (1, 2, 4):
        raise TypeError(f"arrays of type {array.dtype} cannot be stored in a CNTK model")
    # Half precision stands in the field of single precision, as single precision.
    field, stored = (5, array) if code == 2 else (4, array.astype("<f4"))
    data = np.ascontiguousarray(stored).tobytes()
    values = _bytes_field(1, data) if data else b""
    shape = _bytes_field(3, _write_shape(tuple(reversed(array.shape))))
    return _int_field(1, code) + shape + _bytes_field(field, values)


def _write_value(value: Any) -> bytes:
    head = _int_field(1, 2)

    def body(kind: int, payload: bytes) -> bytes:
        return head + _int_field(2, kind) + payload

    if isinstance(value, bool):
        return body(_BOOL, _int_field(3, int(value)))
    if isinstance(value, SizeT):
        return body(_SIZET, _int_field(5, value))
    if isinstance(value, int):
        return body(_INT, _int_field(4, value))
    if isinstance(value, Float):
        return body(_FLOAT, _key(6, 5) + struct.pack("<f", value))
    if isinstance(value, float):
        return body(_DOUBLE, _key(7, 1) + struct.pack("<d", value))
    if isinstance(value, str):
        return body(_STRING, _bytes_field(8, value.encode()))
    if isinstance(value, Shape):
        return body(_SHAPE, _bytes_field(9, _write_shape(value)))
    if isinstance(value, AxisValue):
        axis = b""
        if value.static_axis_idx:
            axis += _int_field(1, value.static_axis_idx)
        if value.name:
            axis += _bytes_field(2, value.name.encode())
        if value.is_ordered:
            axis += _int_field(3, 1)
        return body(_AXIS, _bytes_field(10, axis))
    if isinstance(value, list):
        return body(
            _VECTOR, _bytes_field(11, b"".join(_bytes_field(1, _write_value(item)) for item in value))
        )
    if isinstance(value, dict):
        return body(_DICT, _bytes_field(12, dump(value)))
    if isinstance(value, np.ndarray):
        return body(_ARRAY, _bytes_field(13, _write_array(value)))
    raise TypeError(f"a value of type {type(value).__name__} cannot be stored in a CNTK dictionary")


def dump(dictionary: dict[str, Any]) -> bytes:
    """Serialise one `Dictionary`."""
    parts = [_int_field(1, 2)]
    for key, value in dictionary.items():
        entry = _bytes_field(1, key.encode()) + _bytes_field(2, _write_value(value))
        parts.append(_bytes_field(2, entry))
    return b"".join(parts)


def _read_varint(buf: memoryview, pos: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if pos >= len(buf) or shift > 63:
            raise ParseError("truncated or oversized number")
        byte = buf[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & MASK64, pos
        shift += 7


def _fields(buf: memoryview) -> Iterator[tuple[int, int, Any]]:
    """Yield (field number, wire type, int or memoryview) of one message."""
    pos = 0
    while pos < len(buf):
        key, pos = _read_varint(buf, pos)
        field, wire = key >> 3, key & 7
        if wire == 0:
            value, pos = _read_varint(buf, pos)
            yield field, wire, value
            continue
        if wire == 2:
            size, pos = _read_varint(buf, pos)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ParseError(f"wire type {wire}")
        if field == 0 or pos + size > len(buf):
            raise ParseError("truncated field")
        yield field, wire, buf[pos : pos + size]
        pos += size


def _need(wire: int, expected: int) -> None:
    if wire != expected:
        raise ParseError("field with the wrong wire type")


def _text(value: Any, wire: int) -> str:
    _need(wire, 2)
    try:
        return bytes(value).decode()
    except UnicodeDecodeError as error:
        raise ParseError("a string is not UTF-8") from error


def _signed32(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


def _message(value: Any, wire: int) -> memoryview:
    _need(wire, 2)
    message: memoryview = value
    return message


def _read_shape(buf: memoryview) -> Shape:
    dims: list[int] = []
    for field, wire, value in _fields(buf):
        if field != 1:
            continue
        # A reader accepts numbers that are not packed too.
        numbers, pos = (memoryview(_varint(value)) if wire == 0 else _message(value, wire)), 0
        while pos < len(numbers):
            dim, pos = _read_varint(numbers, pos)
            dims.append(dim)
            if len(dims) > _MAX_RANK:
                raise ParseError("a shape with too many dimensions")
    return Shape(dims)


def _read_axis(buf: memoryview) -> AxisValue:
    index, name, ordered = 0, "", False
    for field, wire, value in _fields(buf):
        if field == 1:
            _need(wire, 0)
            index = _signed32(value)
        elif field == 2:
            name = _text(value, wire)
        elif field == 3:
            _need(wire, 0)
            ordered = bool(value)
    return AxisValue(index, name, ordered)


def _zigzag(buf: memoryview) -> list[int]:
    out, pos = [], 0
    while pos < len(buf):
        value, pos = _read_varint(buf, pos)
        out.append((value >> 1) ^ -(value & 1))
    return out


def _read_array(buf: memoryview) -> np.ndarray:
    code, shape = 0, Shape()
    values: np.ndarray | None = None
    for field, wire, value in _fields(buf):
        if field == 1:
            _need(wire, 0)
            code = value
        elif field == 3:
            shape = _read_shape(_message(value, wire))
        elif field in (4, 5, 6, 7):
            parts = _fields(_message(value, wire))
            payload = b"".join(bytes(v) for f, w, v in parts if f == 1 and w in (1, 2, 5))
            if field == 7:
                values = np.array(_zigzag(memoryview(payload)))
            else:
                dtype = {4: _DATA_TYPES[1], 5: _DATA_TYPES[2]}.get(field) or _DATA_TYPES.get(
                    code, _DATA_TYPES[5]
                )
                if len(payload) % dtype.itemsize:
                    raise ParseError("an array ends inside a value")
                values = np.frombuffer(payload, dtype)
    if code not in _DATA_TYPES:
        raise ParseError(f"array of unknown data type {code}")
    dims = tuple(reversed(shape))
    count = 1
    for dim in dims:
        count *= dim
    if values is None:
        values = np.zeros(0, _DATA_TYPES[code])
    if values.size != count:
        raise ParseError("an array's values do not fill its shape")
    try:
        return values.astype(_DATA_TYPES[code]).reshape(dims)
    except ValueError as error:  # an empty array with a dimension no array can have
        raise ParseError("an array with an impossible shape") from error


def _read_value(buf: memoryview, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise ParseError("messages are nested too deeply")
    kind = _NONE
    body: Any = None
    body_wire = 0
    for field, wire, value in _fields(buf):
        if field == 2:
            _need(wire, 0)
            kind = value
        elif field >= 3:
            body, body_wire = value, wire
    empty = memoryview(b"")
    if kind in (_BOOL, _INT, _SIZET):
        number = 0 if body is None else body
        if body_wire != 0:
            raise ParseError("number with the wrong wire type")
        return bool(number) if kind == _BOOL else _signed32(number) if kind == _INT else SizeT(number)
    if kind == _FLOAT:
        return Float(struct.unpack("<f", body)[0] if body is not None and body_wire == 5 else 0.0)
    if kind == _DOUBLE:
        return float(struct.unpack("<d", body)[0] if body is not None and body_wire == 1 else 0.0)
    if kind == _NONE:
        return None
    payload = empty if body is None else body
    if body is not None:
        _need(body_wire, 2)
    if kind == _STRING:
        return _text(payload, 2)
    if kind == _SHAPE:
        return _read_shape(payload)
    if kind == _AXIS:
        return _read_axis(payload)
    if kind == _VECTOR:
        return [
            _read_value(value, depth + 2)
            for field, wire, value in _fields(payload)
            if field == 1 and wire == 2
        ]
    if kind == _DICT:
        return _read_dictionary(payload, depth + 1)
    if kind == _ARRAY:
        return _read_array(payload)
    raise ParseError(f"value of unknown type {kind}")


def _read_dictionary(buf: memoryview, depth: int) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for field, wire, value in _fields(buf):
        if field != 2:
            continue
        _need(wire, 2)
        key, item = "", None
        for entry_field, entry_wire, entry in _fields(value):
            if entry_field == 1:
                key = _text(entry, entry_wire)
            elif entry_field == 2:
                _need(entry_wire, 2)
                item = _read_value(entry, depth + 2)
        out[key] = item
    return out


def load(data: bytes) -> dict[str, Any]:
    """Parse one `Dictionary`; raises `ParseError` when `data` is something else."""
    return _read_dictionary(memoryview(data), 0)
