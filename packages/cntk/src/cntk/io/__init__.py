"""Readers: text files to minibatches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ..core import Value
from ..internal.missing import module_getattr, unavailable
from ..variables import Record, Variable, sanitize_shape
from .ctf import Field, StreamData, parse_file, read_start

INFINITELY_REPEAT = 2**64 - 1
FULL_DATA_SWEEP = 2**64 - 2
DEFAULT_RANDOMIZATION_WINDOW_IN_CHUNKS = 128

StreamDefs = Record


def StreamDef(
    field: str | None = None,
    shape: Any = None,
    is_sparse: bool = False,
    transforms: Any = None,
    context: Any = None,
    scp: Any = None,
    mlf: Any = None,
    broadcast: bool | None = None,
    defines_mb_size: bool = False,
    max_sequence_length: int = 65535,
) -> Record:
    """What to read for one stream: a field of the file, its size, dense or sparse."""
    if any(option is not None for option in (transforms, context, scp, mlf, broadcast)):
        raise unavailable("StreamDef with transforms, context, scp, mlf or broadcast")
    config: dict[str, Any] = {"stream_alias": field, "is_sparse": is_sparse}
    if shape is not None:
        config["dim"] = shape
    config["defines_mb_size"] = defines_mb_size
    config["max_sequence_length"] = max_sequence_length
    return Record(**config)


class CTFDeserializer:
    """A file in the CNTK text format and the streams to take from it."""

    def __init__(self, filename: str, streams: Record):
        self.filename = str(filename)
        self.streams = dict(streams)


class StreamInformation:
    """A stream of a source."""

    def __init__(
        self,
        name: str,
        stream_id: int,
        storage_format: str,
        dtype: Any,
        shape: tuple[int, ...],
        defines_mb_size: bool = False,
    ):
        self.m_name = name
        self.m_id = stream_id
        self.m_storage_format = {"dense": 0, "sparse": 1}[storage_format]
        self.m_element_type = np.dtype(dtype)
        self.m_sample_layout = tuple(shape)
        self.m_defines_mb_size = defines_mb_size

    def __repr__(self) -> str:
        dims = " x ".join(str(dim) for dim in self.m_sample_layout)
        return f"{self.m_name}([{dims}], {'sparse' if self.m_storage_format else 'dense'})"


class MinibatchData:
    """One stream of a minibatch."""

    def __init__(self, value: Value, num_sequences: int, num_samples: int, sweep_end: bool):
        self.data = value
        self.num_sequences = num_sequences
        self.num_samples = num_samples
        self.end_of_sweep = sweep_end

    number_of_sequences = property(lambda self: self.num_sequences)
    number_of_samples = property(lambda self: self.num_samples)
    sweep_end = property(lambda self: self.end_of_sweep)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def is_sparse(self) -> bool:
        return self.data.is_sparse

    def asarray(self) -> np.ndarray:
        return self.data.asarray()

    def as_sequences(self, variable: Variable | None = None) -> list[np.ndarray]:
        return self.data.as_sequences(variable)

    def __len__(self) -> int:
        return self.num_sequences

    def __repr__(self) -> str:
        return f"MinibatchData(data={self.data!r}, samples={self.num_samples}, seqs={self.num_sequences})"


class _Stream:
    """A stream's description, its place in the file and (once read) its data."""

    def __init__(self, name: str, index: int, definition: Record):
        shape = definition.get("dim")
        if shape is None:
            raise ValueError(f"StreamDef of stream '{name}': the shape is required")
        layout = sanitize_shape(shape)
        if any(dim < 1 for dim in layout):
            raise ValueError(f"StreamDef of stream '{name}': the shape must be positive, not {shape}")
        self.sparse = bool(definition["is_sparse"])
        self.info = StreamInformation(
            name,
            index,
            "sparse" if self.sparse else "dense",
            np.float32,
            layout,
            definition["defines_mb_size"],
        )
        alias = definition["stream_alias"]
        self.field = Field(name if alias is None else alias, int(np.prod(layout)), self.sparse)
        self.data: StreamData | None = None

    def minibatch(self, sequences: np.ndarray, end_of_sweep: bool) -> MinibatchData:
        assert self.data is not None
        layout = self.info.m_sample_layout
        count = len(sequences)
        if self.data.offsets is None:
            # NumPy gathers: torch would share these few rows out to threads, and wait for them.
            picked = torch.from_numpy(self.data.gather(sequences))
            value = Value(picked.reshape(count, 1, *layout), None, self.sparse)
            return MinibatchData(value, count, count, end_of_sweep)
        starts = self.data.offsets[sequences]
        lengths = self.data.offsets[sequences + 1] - starts
        longest = int(lengths.max())
        padded = np.zeros((count, longest, self.field.dim), np.float32)
        for i, (start, length) in enumerate(zip(starts, lengths, strict=True)):
            padded[i, :length] = self.data.gather(np.arange(start, start + length))
        value = Value(torch.from_numpy(padded).reshape(count, longest, *layout), lengths, self.sparse)
        return MinibatchData(value, count, int(lengths.sum()), end_of_sweep)


class MinibatchSource:
    """Delivers minibatches, sweep after sweep, each sweep in an order of its own when randomising."""

    def __init__(
        self,
        deserializers: Any,
        max_samples: int = INFINITELY_REPEAT,
        max_sweeps: int = INFINITELY_REPEAT,
        randomization_window_in_chunks: int = DEFAULT_RANDOMIZATION_WINDOW_IN_CHUNKS,
        randomization_window_in_samples: int = 0,
        randomization_seed: int = 0,
        trace_level: int = 1,
        multithreaded_deserializer: bool | None = None,
        frame_mode: bool = False,
        truncation_length: int = 0,
        randomize: bool = True,
        max_errors: int = 0,
    ):
        if isinstance(deserializers, CTFDeserializer):
            deserializers = [deserializers]
        if deserializers is None:
            raise TypeError("MinibatchSource: a deserializer or a list of deserializers is required")
        if not deserializers:
            raise ValueError("Could not find deserializers in the reader config.")
        if len(deserializers) != 1 or not isinstance(deserializers[0], CTFDeserializer):
            raise unavailable("a MinibatchSource of anything but one CTFDeserializer")
        if max_samples != INFINITELY_REPEAT and max_sweeps != INFINITELY_REPEAT:
            raise RuntimeError(
                "MinibatchSourceConfig: max samples and max sweeps are mutually exclusive options and "
                "cannot have non-default values at the same time."
            )
        if randomize and randomization_window_in_samples:
            if randomization_window_in_chunks not in (0, DEFAULT_RANDOMIZATION_WINDOW_IN_CHUNKS):
                raise RuntimeError(
                    "MinibatchSourceConfig: randomization window in chunks and randomization window in "
                    "samples are mutually exclusive options and cannot have non-zero values at the same "
                    "time."
                )
            raise unavailable("randomization_window_in_samples")
        if frame_mode and truncation_length:
            raise RuntimeError(
                "MinibatchSourceConfig: truncation and frame mode are mutually exclusive options."
            )
        if frame_mode or truncation_length:
            raise unavailable("frame_mode and truncation_length")
        if max_samples < 0 or max_sweeps < 0:
            raise OverflowError("MinibatchSource: max_samples and max_sweeps must not be negative")
        self._deserializer: CTFDeserializer = deserializers[0]
        self._streams = [
            _Stream(name, i, definition)
            for i, (name, definition) in enumerate(self._deserializer.streams.items())
        ]
        read_start(self._deserializer.filename)
        self._max_sweeps = 1 if max_samples == FULL_DATA_SWEEP else max_sweeps
        self._max_samples = INFINITELY_REPEAT if max_samples == FULL_DATA_SWEEP else max_samples
        self._randomize = randomize and randomization_window_in_chunks > 0
        self._seed = randomization_seed
        self._lengths: np.ndarray | None = None
        self._total = 0
        self._order: tuple[int, np.ndarray, np.ndarray | None] | None = None
        self._sweep = self._index = self._position = 0

    # Description
    @property
    def streams(self) -> Record:
        return Record(**{stream.info.m_name: stream.info for stream in self._streams})

    def stream_infos(self) -> list[StreamInformation]:
        return [stream.info for stream in self._streams]

    def stream_info(self, name: str) -> StreamInformation:
        return self[name]

    def __getitem__(self, name: str) -> StreamInformation:
        for stream in self._streams:
            if stream.info.m_name == name:
                return stream.info
        raise RuntimeError(f"No stream found matching given name '{name}'.")

    def is_infinite(self) -> bool:
        return self._max_samples == INFINITELY_REPEAT and self._max_sweeps == INFINITELY_REPEAT

    # Position
    @property
    def current_position(self) -> int:
        return self._position

    def get_checkpoint_state(self) -> dict[str, int]:
        return {"minibatchSourcePosition": self._position}

    def restore_from_checkpoint(self, checkpoint: dict[str, int]) -> None:
        """Go to the place where a source had delivered that many samples."""
        if "minibatchSourcePosition" not in checkpoint:
            raise ValueError("Checkpoint misses required field minibatchSourcePosition")
        self._load()
        self._position = int(checkpoint["minibatchSourcePosition"])
        self._sweep, within = divmod(self._position, self._total)
        _, cumulative = self._current_order()
        self._index = within if cumulative is None else int(np.searchsorted(cumulative, within, side="left"))
        if cumulative is not None and within:
            self._index += 1

    # Data
    def _load(self) -> None:
        if self._lengths is not None:
            return
        fields = [stream.field for stream in self._streams]
        parsed = parse_file(self._deserializer.filename, fields)
        for stream, data in zip(self._streams, parsed, strict=True):
            stream.data = data
        definers = [d for s, d in zip(self._streams, parsed, strict=True) if s.info.m_defines_mb_size]
        # The size of a sequence is that of its longest stream, unless one stream is declared to define it.
        self._lengths = np.max([data.lengths for data in definers or parsed], axis=0)
        self._total = int(self._lengths.sum())

    def _current_order(self) -> tuple[np.ndarray, np.ndarray | None]:
        """(sequence numbers of this sweep, cumulative sizes or None when every size is 1)."""
        assert self._lengths is not None
        key = self._sweep if self._randomize else 0
        if self._order is None or self._order[0] != key:
            count = len(self._lengths)
            if self._randomize:
                # A generator per (seed, sweep): a sweep's order does not depend on how one got there.
                order = np.random.default_rng([self._seed, key]).permutation(count)
            else:
                order = np.arange(count)
            cumulative = None if self._total == count else np.cumsum(self._lengths[order])
            self._order = (key, order, cumulative)
        return self._order[1], self._order[2]

    def _pick(self, size: int) -> Iterator[np.ndarray]:
        """Whole sequences for `size` samples (at least one sequence), across sweeps; updates the position."""
        limit = min(size, self._max_samples - self._position)
        taken = 0
        while taken < limit and self._sweep < self._max_sweeps:
            order, cumulative = self._current_order()
            if cumulative is None:
                end = min(self._index + limit - taken, len(order))
                added = end - self._index
            else:
                before = int(cumulative[self._index - 1]) if self._index else 0
                end = int(np.searchsorted(cumulative, before + limit - taken, side="right"))
                if end == self._index and taken == 0:
                    end += 1
                added = (int(cumulative[end - 1]) - before) if end > self._index else 0
            if end == self._index:
                return
            yield order[self._index : end]
            taken += added
            self._position += added
            self._index = end
            if end == len(order):
                self._sweep += 1
                self._index = 0

    def next_minibatch(
        self,
        minibatch_size_in_samples: int,
        input_map: dict[Any, StreamInformation] | None = None,
        device: Any = None,
        num_data_partitions: int | None = None,
        partition_index: int | None = None,
    ) -> dict[Any, MinibatchData]:
        """The next minibatch by stream, or by variable with `input_map`; empty at the end."""
        if isinstance(minibatch_size_in_samples, bool) or not isinstance(
            minibatch_size_in_samples, (int, np.integer)
        ):
            raise NotImplementedError(
                "Wrong number or type of arguments for overloaded function "
                "'MinibatchSource_get_next_minibatch'."
            )
        if minibatch_size_in_samples <= 0:
            raise ValueError("GetNextMinibatch: Requested minibatch size must be > 0.")
        if self._max_samples == 0:
            raise RuntimeError("Epoch size cannot be 0.")
        self._load()
        sweep = self._sweep
        parts = list(self._pick(int(minibatch_size_in_samples)))
        if not parts:
            return {}
        sequences = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if num_data_partitions is not None and num_data_partitions > 1:
            sequences = sequences[int(partition_index or 0) :: num_data_partitions]
            if not len(sequences):
                return {}
        end_of_sweep = self._sweep != sweep
        data = {stream.info: stream.minibatch(sequences, end_of_sweep) for stream in self._streams}
        if input_map is None:
            return data
        by_name = {stream.info.m_name: data[stream.info] for stream in self._streams}
        for stream in input_map.values():
            if not isinstance(stream, StreamInformation):
                raise KeyError(stream)
        return {variable: by_name[stream.m_name] for variable, stream in input_map.items()}


__all__ = [
    "DEFAULT_RANDOMIZATION_WINDOW_IN_CHUNKS", "FULL_DATA_SWEEP", "INFINITELY_REPEAT", "CTFDeserializer",
    "MinibatchData", "MinibatchSource", "StreamDef", "StreamDefs", "StreamInformation",
]  # fmt: skip

__getattr__ = module_getattr("cntk.io")
