"""MinibatchSource: minibatches out of files, sweep after sweep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..core import Value
from ..internal.missing import unavailable
from ..variables import Record, sanitize_shape
from .ctf import Field, StreamData, parse_file, read_start
from .streams import MinibatchData, StreamInformation

INFINITELY_REPEAT = 2**64 - 1
FULL_DATA_SWEEP = 2**64 - 2
DEFAULT_RANDOMIZATION_WINDOW_IN_CHUNKS = 128
_CHUNK_BYTES = 32 << 20


class CTFDeserializer:
    """A file in the CNTK text format and the streams to take from it."""

    def __init__(self, filename: str, streams: Record):
        self.filename = str(filename)
        self.streams = dict(streams)


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
        both = randomization_window_in_samples and randomization_window_in_chunks
        if randomize and both and randomization_window_in_chunks != DEFAULT_RANDOMIZATION_WINDOW_IN_CHUNKS:
            raise RuntimeError(
                "MinibatchSourceConfig: randomization window in chunks and randomization window in "
                "samples are mutually exclusive options and cannot have non-zero values at the same "
                "time."
            )
        if frame_mode and truncation_length:
            raise RuntimeError(
                "MinibatchSourceConfig: truncation and frame mode are mutually exclusive options."
            )
        if truncation_length:
            raise unavailable("MinibatchSource(truncation_length=)")
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
        windows = (randomization_window_in_samples, randomization_window_in_chunks)
        self._randomize = randomize and any(windows)
        self._window_samples = randomization_window_in_samples
        self._window_chunks = randomization_window_in_chunks
        self._frames = frame_mode
        self._seed = randomization_seed
        self._lengths: np.ndarray | None = None
        self._total = 0
        self._order: tuple[int, np.ndarray, np.ndarray | None] | None = None
        self._sweep = self._index = 0

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
        """The samples passed so far, those of other workers included."""
        return self._position_now()

    def get_checkpoint_state(self) -> dict[str, int]:
        return {"minibatchSourcePosition": self._position_now()}

    def restore_from_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Go to the place where a source had delivered that many samples.

        Raises ValueError for a dictionary without a position.
        """
        if "minibatchSourcePosition" not in checkpoint:
            raise ValueError("Checkpoint misses required field minibatchSourcePosition")
        position = int(checkpoint["minibatchSourcePosition"])
        if position < 0:
            raise ValueError("Checkpoint misses required field minibatchSourcePosition")
        self._load()
        self._sweep, within = divmod(position, self._total)
        if within:
            # In the middle of a sequence: that one was delivered.
            ends = self._order_of_sweep()[1]
            self._index = within if ends is None else int(np.searchsorted(ends, within, side="left")) + 1
        else:
            self._index = 0

    def _position_now(self) -> int:
        return self._sweep * self._total + self._samples_before(self._index)

    def _samples_before(self, index: int) -> int:
        if not index:
            return 0
        ends = self._order_of_sweep()[1]
        return index if ends is None else int(ends[index - 1])

    # Data
    def _load(self) -> None:
        if self._lengths is not None:
            return
        fields = [stream.field for stream in self._streams]
        parsed = parse_file(self._deserializer.filename, fields)
        for stream, data in zip(self._streams, parsed, strict=True):
            stream.data = data
        if self._frames:
            parsed = [data.as_frames() for data in parsed]
            for stream, data in zip(self._streams, parsed, strict=True):
                stream.data = data
            if len({data.sequence_count for data in parsed}) > 1:
                raise RuntimeError("frame mode: the streams of a sequence differ in length.")
        definers = [d for s, d in zip(self._streams, parsed, strict=True) if s.info.m_defines_mb_size]
        # The size of a sequence is that of its longest stream, unless one stream is declared to define it.
        self._bytes = Path(self._deserializer.filename).stat().st_size
        self._lengths = np.max([data.lengths for data in definers or parsed], axis=0)
        self._total = int(self._lengths.sum())

    def _order_of_sweep(self) -> tuple[np.ndarray, np.ndarray | None]:
        """(sequence numbers of this sweep, where each one ends in samples, or None when every size is 1)."""
        assert self._lengths is not None
        key = self._sweep if self._randomize else 0
        if self._order is None or self._order[0] != key:
            count = len(self._lengths)
            order = self._shuffled(count, key) if self._randomize else np.arange(count)
            ends = None if self._total == count else np.cumsum(self._lengths[order])
            self._order = (key, order, ends)
        return self._order[1], self._order[2]

    def _shuffled(self, count: int, sweep: int) -> np.ndarray:
        # A generator per (seed, sweep): a sweep's order does not depend on how one got there.
        generator = np.random.default_rng([self._seed, sweep])
        window = self._window_samples
        if window:
            # Nobody moves further than the window.
            return np.argsort(np.arange(count) + generator.random(count) * window, kind="stable")
        chunks = -(-self._bytes // _CHUNK_BYTES)
        if chunks <= self._window_chunks:
            return generator.permutation(count)
        # Chunks in any order, sequences within the window of chunks.
        parts = np.array_split(np.arange(count), min(chunks, count))
        order = np.concatenate([parts[i] for i in generator.permutation(len(parts))])
        reach = count * self._window_chunks / chunks
        return order[np.argsort(np.arange(count) + generator.random(count) * reach, kind="stable")]

    def _pick(self, size: int, workers: int, rank: int) -> Iterator[np.ndarray]:
        """Whole sequences for this worker's part of `size` samples (at least one sequence), across sweeps.

        Every worker takes the sequences of its own remainder, so together they deliver each one once a sweep.
        """
        size = size // workers + (rank < size % workers)
        taken = 0
        while taken < size and self._sweep < self._max_sweeps:
            order, ends = self._order_of_sweep()
            left = self._max_samples - self._position_now()
            if left <= 0:
                return
            stop = self._index  # behind the last sequence that is looked at
            if workers == 1:
                limit = min(size - taken, left)
                stop = self._stop(ends, limit, taken == 0)
                chosen = order[self._index : stop]
                if not len(chosen):
                    return
            else:
                first = self._index + (rank - self._index) % workers
                mine = np.arange(first, len(order), workers)
                lengths = None if ends is None else np.diff(ends, prepend=0)[mine]
                if lengths is None:
                    count = min(len(mine), size - taken)
                else:
                    count = int(np.searchsorted(np.cumsum(lengths), size - taken, side="right"))
                    count = max(count, int(taken == 0 and len(mine) > 0))
                    if not count and len(mine):
                        return
                before = np.array([self._samples_before(int(i)) for i in mine[:count]], np.int64)
                count = int((before - self._samples_before(self._index) < left).sum())
                chosen = order[mine[:count]]
                full = count < len(mine) or (count and self._taken(chosen) + taken >= size)
                stop = int(mine[count - 1]) + 1 if full and count else len(order)
            taken += self._taken(chosen)
            self._index = stop
            if stop == len(order):
                self._sweep += 1
                self._index = 0
            if len(chosen):
                yield chosen

    def _taken(self, sequences: np.ndarray) -> int:
        assert self._lengths is not None
        return int(self._lengths[sequences].sum())

    def _stop(self, ends: np.ndarray | None, limit: int, at_least_one: bool) -> int:
        assert self._lengths is not None
        if ends is None:
            return min(self._index + limit, len(self._lengths))
        stop = int(np.searchsorted(ends, self._samples_before(self._index) + limit, side="right"))
        return max(stop, self._index + 1) if at_least_one else stop

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
        workers = 1 if num_data_partitions is None else int(num_data_partitions)
        rank = 0 if partition_index is None else int(partition_index)
        if workers < 1 or not 0 <= rank < workers:
            raise ValueError(f"partition {rank} of {workers} does not exist")
        parts = list(self._pick(int(minibatch_size_in_samples), workers, rank))
        if not parts:
            return {}
        sequences = parts[0] if len(parts) == 1 else np.concatenate(parts)
        end_of_sweep = self._sweep != sweep
        data = {stream.info: stream.minibatch(sequences, end_of_sweep) for stream in self._streams}
        if input_map is None:
            return data
        by_name = {stream.info.m_name: data[stream.info] for stream in self._streams}
        for stream in input_map.values():
            if not isinstance(stream, StreamInformation):
                raise KeyError(stream)
        return {variable: by_name[stream.m_name] for variable, stream in input_map.items()}
