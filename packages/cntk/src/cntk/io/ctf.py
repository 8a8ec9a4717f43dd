"""The CNTK text format (CTF).

`_parse_rows` is the grammar, row by row.  `_parse_uniform` reads what most files are, rows that all have the
same dense fields, with array operations (about 60 times faster); it gives up (None) on anything it is not
sure about, and the row parser then decides what is legal and what the error is.
"""

from __future__ import annotations

import re
import warnings
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..internal.native import write_stderr

_CHUNK = 4 << 20
_PATTERN = rb"[+-]?[0-9]++(?:\.[0-9]*+)?(?:[eE][+-]?[0-9]++)?"
_NUMBERS = re.compile(rb"(?:" + _PATTERN + rb"(?: ++|\Z))*+\Z")
_NUMBER = re.compile(_PATTERN + rb"\Z")
_INDEX = re.compile(rb"0*([0-9]{1,18})\Z")
_ID = re.compile(rb"[0-9]+")
# Everything that is not printable separates, as a blank does.
_SEPARATE = bytes(c if 32 < c < 127 or c >= 128 else 32 for c in range(256))


@dataclass(frozen=True)
class Field:
    """One stream of a file: where it comes from and what it holds."""

    alias: str
    dim: int
    is_sparse: bool


@dataclass
class StreamData:
    """All samples of one stream; sequence i has the samples offsets[i] to offsets[i+1]."""

    field: Field
    samples: np.ndarray  # dense: [samples, dim], float32 or (pixels) uint8; sparse: no rows
    offsets: np.ndarray | None  # None: every sequence has one sample
    indptr: np.ndarray | None = None
    indices: np.ndarray | None = None
    values: np.ndarray | None = None

    def as_frames(self) -> StreamData:
        """Every sample as a sequence of its own."""
        return replace(self, offsets=None)

    @property
    def sequence_count(self) -> int:
        if self.offsets is not None:
            return len(self.offsets) - 1
        return len(self.samples) if self.indptr is None else len(self.indptr) - 1

    @property
    def lengths(self) -> np.ndarray:
        return np.ones(self.sequence_count, np.int64) if self.offsets is None else np.diff(self.offsets)

    def lengths_of(self, sequences: np.ndarray) -> np.ndarray:
        """The lengths of these sequences."""
        if self.offsets is None:
            return np.ones(len(sequences), np.int64)
        result: np.ndarray = self.offsets[sequences + 1] - self.offsets[sequences]
        return result

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Samples by number, dense."""
        if self.indptr is None or self.indices is None or self.values is None:
            taken = self.samples.take(rows, axis=0)
            return taken if taken.dtype == np.float32 else taken.astype(np.float32)
        result = np.zeros((len(rows), self.field.dim), np.float32)
        for i, row in enumerate(rows):
            part = slice(self.indptr[row], self.indptr[row + 1])
            result[i, self.indices[part]] = self.values[part]
        return result


def read_start(path: str) -> None:
    """The checks that happen when a source is made."""
    if not Path(path).is_file():
        raise RuntimeError(f"Input file '{path}' is not open.")
    with Path(path).open("rb") as file:
        start = file.read(1 << 16)
    if not start.strip():
        raise RuntimeError("Input file is empty")
    if not (start[:1].isdigit() or start[:1] == b"|"):
        raise RuntimeError("Expected a sequence id at the offset 0, none was found.")


def read_file(path: str, fields: list[Field]) -> list[StreamData]:
    """All data of a file, one StreamData per field; from the cache when it was parsed before.

    Raises RuntimeError, with CNTK's words, for a file that is missing, empty or malformed.
    """
    from . import cache  # which is made of what this module defines

    read_start(path)
    folder = cache.directory() if Path(path).stat().st_size >= cache.SMALLEST else None
    if folder is None:
        return parse_file(path, fields)
    key = cache.key_of(path, fields)
    found = cache.load(folder, key, fields)
    if found is None:
        cache.store(folder, key, parse_file(path, fields))
        # The mapped entry takes the place of the parsed data, whose memory is free again.
        found = cache.load(folder, key, fields)
    return parse_file(path, fields) if found is None else found


def parse_file(path: str, fields: list[Field]) -> list[StreamData]:
    """All data of a file, parsed."""
    read_start(path)
    data = Path(path).read_bytes()
    if not data.endswith(b"\n"):
        write_stderr(f"WARNING: A newline is missing at the end of the input file ({path}).\n")
        data += b"\n"
    if data.endswith((b"\n\n", b"\n\r\n")):
        data = data.rstrip() + b"\n"  # blank rows at the end are no rows, and no reason to read row by row
    uniform = _parse_uniform(data, fields)
    return uniform if uniform is not None else _parse_rows(data, path, fields)


# Row by row


def _failed(path: str, offset: int, why: str) -> RuntimeError:
    write_stderr(f"ERROR: {why} at offset {offset} in the input file ({path}).\n")
    return RuntimeError(
        f"Reached the maximum number of allowed errors while reading the input file ({path})."
    )


class _Collector:
    """The samples of one field while rows are read."""

    def __init__(self, field: Field):
        self.field = field
        # Arrays: a list of Python numbers would take ten times the memory.
        self.dense = array("f")
        self.indptr = [0]
        self.indices = array("q")
        self.values = array("f")
        self.offsets = [0]

    @property
    def count(self) -> int:
        return len(self.indptr) - 1 if self.field.is_sparse else len(self.dense) // self.field.dim

    def finish(self) -> StreamData:
        offsets = np.array(self.offsets, np.int64)
        # A sequence per sample needs no offsets; this is the common case.
        single = len(offsets) - 1 == self.count and bool((np.diff(offsets) == 1).all())
        if self.field.is_sparse:
            return StreamData(
                self.field,
                np.zeros((0, self.field.dim), np.float32),
                None if single else offsets,
                np.array(self.indptr, np.int64),
                np.frombuffer(self.indices, np.int64),
                np.frombuffer(self.values, np.float32),
            )
        samples = np.frombuffer(self.dense, np.float32).reshape(-1, self.field.dim)
        return StreamData(self.field, samples, None if single else offsets)


def _parse_rows(data: bytes, path: str, fields: list[Field]) -> list[StreamData]:
    collectors = {field.alias.encode(): _Collector(field) for field in fields}
    has_ids = data[:1].isdigit()
    current: bytes | None = None
    sequence_start = 0
    open_sequence = False

    def close(offset: int, name: str) -> None:
        for collector in collectors.values():
            if collector.count == collector.offsets[-1]:
                write_stderr(
                    f"ERROR: Input ('{collector.field.alias}') is empty in sequence (id = {name}) at offset "
                    f"{offset} "
                    f"in the input file ({path}).\n"
                )
                raise RuntimeError("Malformed input file. Bailing out.")
            collector.offsets.append(collector.count)

    offset = 0
    lines = data.split(b"\n")[:-1]
    while lines and not lines[-1].translate(_SEPARATE).strip():
        lines.pop()  # blank rows at the end are no rows
    for number, line in enumerate(lines):
        row = line.translate(_SEPARATE).strip()
        match = _ID.match(row) if has_ids else None
        if match:
            identity, row = match.group(), row[match.end() :].strip()
        else:
            identity = None
        if not row.startswith(b"|"):
            raise _failed(path, offset, "A row without a sample was found")
        starts_new = not has_ids or (identity is not None and identity != current)
        if starts_new and open_sequence:
            close(sequence_start, current.decode() if current is not None else str(number - 1))
        if starts_new:
            current, sequence_start, open_sequence = identity, offset, True
        seen: set[bytes] = set()
        for sample in row.split(b"|")[1:]:
            if sample.startswith(b"#"):
                continue
            name, _, text = sample.partition(b" ")
            if not name:
                raise _failed(path, offset, "An input name is missing")
            collector = collectors.get(name)
            if collector is None:
                continue
            if name in seen and not has_ids:
                raise _failed(path, offset, f"Input ('{name.decode()}') has more than one sample in the row")
            seen.add(name)
            _add_sample(collector, text, path, offset)
        if not seen:
            raise _failed(path, offset, "A row without a sample of any input was found")
        offset += len(line) + 1
    close(sequence_start, current.decode() if current is not None else str(len(lines) - 1))
    return [collectors[field.alias.encode()].finish() for field in fields]


def _add_sample(collector: _Collector, text: bytes, path: str, offset: int) -> None:
    field = collector.field
    tokens = text.split()
    if field.is_sparse:
        for token in tokens:
            index, colon, value = token.partition(b":")
            digits = _INDEX.match(index)
            if not colon or not digits or not _NUMBER.match(value) or int(digits[1]) >= field.dim:
                raise _failed(path, offset, "An invalid sparse value was found")
            collector.indices.append(int(digits[1]))
            collector.values.append(float(value))
        collector.indptr.append(len(collector.indices))
        return
    if len(tokens) > field.dim or not _NUMBERS.match(text.strip()):
        raise _failed(path, offset, "An invalid dense sample was found")
    if len(tokens) < field.dim:
        write_stderr(
            f"WARNING: A dense sample at offset {offset} in the input file ({path}) has a sparse suffix "
            f"(expected size = {field.dim}, actual size = {len(tokens)}).\n"
        )
    collector.dense.extend(map(float, tokens))
    collector.dense.frombytes(bytes(4 * (field.dim - len(tokens))))


# Uniform dense files

_SEP, _DIGIT, _SIGN, _DOT, _EXP, _BAD = range(6)
_CLASS = np.full(256, _BAD, np.uint8)
_CLASS[[9, 10, 13, 32]] = _SEP
_CLASS[48:58] = _DIGIT
_CLASS[[43, 45]] = _SIGN
_CLASS[46] = _DOT
_CLASS[[69, 101]] = _EXP
# Which class may follow which inside and around a number.
_FOLLOWS = np.zeros(36, bool)
for _before, _after in (
    (_SEP, _SEP), (_SEP, _DIGIT), (_SEP, _SIGN), (_DIGIT, _SEP), (_DIGIT, _DIGIT), (_DIGIT, _DOT), (_DIGIT,
    _EXP),
    (_SIGN, _DIGIT), (_DOT, _SEP), (_DOT, _DIGIT), (_DOT, _EXP), (_EXP, _DIGIT), (_EXP, _SIGN),
):  # fmt: skip
    _FOLLOWS[_before * 6 + _after] = True


def _chunks(data: bytes) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(data):
        end = data.find(b"\n", min(start + _CHUNK, len(data)) - 1) + 1
        yield start, end
        start = end


def _parse_uniform(data: bytes, fields: list[Field]) -> list[StreamData] | None:
    if data[:1] != b"|" or b"#" in data[: data.find(b"\n")]:
        return None
    first = [
        part.split(None, 1)[0] if part.split() else b"" for part in data[1 : data.find(b"\n")].split(b"|")
    ]
    by_name = {field.alias.encode(): field for field in fields}
    if len(first) != len(fields) or set(first) != set(by_name) or any(field.is_sparse for field in fields):
        return None
    order = [by_name[name] for name in first]
    pieces = list(_chunks(data))
    counts = [data.count(b"\n", start, end) for start, end in pieces]
    starts = np.concatenate([[0], np.cumsum(counts)])
    buffer = np.frombuffer(data, np.uint8)

    def attempt(dtype: type) -> list[StreamData] | None:
        results: dict[str, np.ndarray] = {
            field.alias: np.empty((int(starts[-1]), field.dim), dtype) for field in order
        }

        failed: list[int] = []

        def one(i: int) -> bool:
            if failed:
                return False
            good = fill(i)
            if not good:
                failed.append(i)
            return good

        def fill(i: int) -> bool:
            values = _uniform_chunk(buffer[slice(*pieces[i])], counts[i], order, first)
            if values is None:
                refused.append(i)
                return False
            column = 0
            for field in order:
                part = values[:, column : column + field.dim]
                rows = results[field.alias][starts[i] : starts[i + 1]]
                with np.errstate(invalid="ignore"):
                    rows[:] = part
                if dtype is np.uint8 and not np.array_equal(rows, part):
                    return False
                column += field.dim
            return True

        with ThreadPoolExecutor(2) as pool:  # NumPy releases the interpreter lock in these operations
            if not all(pool.map(one, range(len(pieces)))):
                return None
        return [StreamData(field, results[field.alias], None) for field in fields]

    refused: list[int] = []
    # Pixels and one-hot labels fit bytes: a quarter of the memory.
    compact = attempt(np.uint8)
    return compact if compact is not None or refused else attempt(np.float32)


def _uniform_chunk(text: np.ndarray, rows: int, order: list[Field], names: list[bytes]) -> np.ndarray | None:
    """The numbers of a chunk of whole rows as [rows, all dims], or None when it is not as expected."""
    newlines = np.flatnonzero(text == 10)
    bars = np.flatnonzero(text == 124)
    if len(bars) != rows * len(order):
        return None
    pipes = bars.reshape(rows, len(order))
    if (
        not np.array_equal(pipes[1:, 0], newlines[:-1] + 1)
        or pipes[0, 0] != 0
        or (pipes[:, -1] > newlines).any()
    ):
        return None
    work = text.copy()
    work[pipes] = 32
    for column, name in enumerate(names):
        at = pipes[:, column]
        if int(at[-1]) + len(name) + 1 >= len(text):
            return None
        for k, byte in enumerate(name):
            if (work[at + 1 + k] != byte).any():
                return None
            work[at + 1 + k] = 32
        if (work[at + 1 + len(name)] != 32).any():
            return None
    classes = _CLASS[work]
    top = int(classes.max())
    total = sum(field.dim for field in order)
    if top == _BAD:
        return None
    values = _integers(work, classes, rows * total) if top == _DIGIT else None
    if values is None:
        values = _floats(work, classes)
    if values is None:
        return None
    numbers, ends = values
    if len(numbers) != rows * total:
        return None
    # Every field must have exactly its own number of values between its bar and the next one.
    ends = ends.reshape(rows, total)
    column = 0
    for k, field in enumerate(order):
        limit = pipes[:, k + 1] if k + 1 < len(order) else newlines
        if (ends[:, column] < pipes[:, k]).any() or (ends[:, column + field.dim - 1] > limit).any():
            return None
        column += field.dim
    return numbers.reshape(rows, total)


def _integers(work: np.ndarray, classes: np.ndarray, expected: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Unsigned numbers of up to three digits, such as pixels."""
    digit = classes.view(bool)  # only separators (0) and digits (1) are left
    pair = digit[1:] & digit[:-1]
    if (pair[3:] & pair[2:-1] & pair[1:-2]).any():
        return None
    ends = np.flatnonzero(digit[:-1] & ~digit[1:])
    if len(ends) != expected:
        return None
    units = (work - 48).astype(np.uint16) * digit
    values = units.copy()
    values[1:] += 10 * units[:-1]
    values[2:] += 100 * units[:-2] * digit[1:-1]
    return values[ends].astype(np.float32), ends


def _floats(work: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    if not _FOLLOWS[classes[:-1] * np.uint8(6) + classes[1:]].all():
        return None
    ends = np.flatnonzero((classes[:-1] != _SEP) & (classes[1:] == _SEP))
    with warnings.catch_warnings():
        # A malformed number ends the conversion early with a warning; the count then does not match.
        warnings.simplefilter("ignore", DeprecationWarning)
        numbers = np.fromstring(work.tobytes(), dtype=np.float64, sep=" ")
    return (numbers.astype(np.float32), ends) if len(numbers) == len(ends) else None
