"""What a deserializer opens: streams, the length of every sequence, and their data on request."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from ..core import Value
from ..internal.sparse import SparseRows, SparseValue, padded_steps
from ..variables import Record, sanitize_shape
from .ctf import Field, StreamData, read_file, read_start
from .streams import MinibatchData, StreamInformation

_CHUNK_BYTES = 32 << 20


class Dataset(Protocol):
    """The data of one deserializer."""

    infos: list[StreamInformation]

    def load(self, frames: bool) -> np.ndarray:
        """Read what is needed; the size in samples of every sequence.  Called once, before `part`."""
        ...

    @property
    def chunks(self) -> int:
        """How many parts that are read in one go the data has (windows of randomisation count in them)."""
        ...

    def part(
        self, info: StreamInformation, sequences: np.ndarray, seed: tuple[int, int], end_of_sweep: bool
    ) -> MinibatchData:
        """One stream of a minibatch; `seed` for random transformations, which differ sweep by sweep."""
        ...


def stream_layout(name: str, definition: Record) -> tuple[int, ...]:
    """The sample shape of a stream's definition.  Raises ValueError when it is missing or not positive."""
    shape = definition.get("dim")
    if shape is None:
        raise ValueError(f"StreamDef of stream '{name}': the shape is required")
    layout = sanitize_shape(shape)
    if any(dim < 1 for dim in layout):
        raise ValueError(f"StreamDef of stream '{name}': the shape must be positive, not {shape}")
    return layout


class CtfDataset:
    """A file in the CNTK text format."""

    def __init__(self, filename: str, streams: dict[str, Record], first_id: int):
        self.filename = filename
        self.infos: list[StreamInformation] = []
        self._fields: list[Field] = []
        for i, (name, definition) in enumerate(streams.items()):
            layout = stream_layout(name, definition)
            sparse = bool(definition["is_sparse"])
            kind = "sparse" if sparse else "dense"
            defines = bool(definition["defines_mb_size"])
            self.infos.append(StreamInformation(name, first_id + i, kind, np.float32, layout, defines))
            alias = definition["stream_alias"]
            self._fields.append(Field(name if alias is None else alias, int(np.prod(layout)), sparse))
        read_start(filename)
        self._data: dict[StreamInformation, StreamData] = {}
        self._size = 0

    @property
    def chunks(self) -> int:
        return -(-self._size // _CHUNK_BYTES)

    def load(self, frames: bool) -> np.ndarray:
        self._size = Path(self.filename).stat().st_size
        parsed = read_file(self.filename, self._fields)
        if frames:
            parsed = [data.as_frames() for data in parsed]
            if len({data.sequence_count for data in parsed}) > 1:
                raise RuntimeError("frame mode: the streams of a sequence differ in length.")
        self._data = dict(zip(self.infos, parsed, strict=True))
        # The size of a sequence is that of its longest stream, unless one stream is declared to define it.
        definers = [data for info, data in self._data.items() if info.m_defines_mb_size]
        lengths: np.ndarray = np.max([data.lengths for data in definers or parsed], axis=0)
        return lengths

    def part(
        self, info: StreamInformation, sequences: np.ndarray, seed: tuple[int, int], end_of_sweep: bool
    ) -> MinibatchData:
        data = self._data[info]
        layout, sparse = info.m_sample_layout, info.m_storage_format == 1
        count = len(sequences)
        if data.indptr is not None and data.indices is not None and data.values is not None:
            starts = sequences if data.offsets is None else data.offsets[sequences]
            lengths = data.lengths_of(sequences)
            steps = padded_steps(starts, lengths)
            rows = SparseRows.gather(
                steps.shape, data.field.dim, steps.ravel(), data.indptr, data.indices, data.values
            )
            return MinibatchData(SparseValue(rows, lengths, layout), count, int(lengths.sum()), end_of_sweep)
        if data.offsets is None:
            # NumPy gathers: torch would share these few rows out to threads, and wait for them.
            picked = torch.from_numpy(data.gather(sequences))
            value = Value(picked.reshape(count, 1, *layout), None, sparse)
            return MinibatchData(value, count, count, end_of_sweep)
        starts = data.offsets[sequences]
        lengths = data.lengths_of(sequences)
        padded = np.zeros((count, int(lengths.max()), data.field.dim), np.float32)
        for i, (start, length) in enumerate(zip(starts, lengths, strict=True)):
            padded[i, :length] = data.gather(np.arange(start, start + length))
        value = Value(torch.from_numpy(padded).reshape(*padded.shape[:2], *layout), lengths, sparse)
        return MinibatchData(value, count, int(lengths.sum()), end_of_sweep)


class CTFDeserializer:
    """A file in the CNTK text format and the streams to take from it."""

    def __init__(self, filename: str, streams: Record):
        self.filename = str(filename)
        self.streams = dict(streams)

    def open(self, first_id: int) -> Dataset:
        return CtfDataset(self.filename, self.streams, first_id)
