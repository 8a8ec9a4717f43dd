"""MinibatchSource: minibatches out of files, sweep after sweep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..variables import Record
from .datasets import Dataset
from .streams import MinibatchData, StreamInformation
from .truncation import Slots

INFINITELY_REPEAT = 2**64 - 1
FULL_DATA_SWEEP = 2**64 - 2
DEFAULT_RANDOMIZATION_WINDOW_IN_CHUNKS = 128


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
        if deserializers is None:
            raise TypeError("MinibatchSource: a deserializer or a list of deserializers is required")
        if not isinstance(deserializers, (list, tuple)):
            deserializers = [deserializers]
        if not deserializers:
            raise ValueError("Could not find deserializers in the reader config.")
        for deserializer in deserializers:
            if not hasattr(deserializer, "open"):
                raise TypeError(f"MinibatchSource: {deserializer!r} is not a deserializer")
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
        if truncation_length < 0:
            raise OverflowError("MinibatchSource: truncation_length must not be negative")
        if max_samples < 0 or max_sweeps < 0:
            raise OverflowError("MinibatchSource: max_samples and max_sweeps must not be negative")
        self._datasets: list[Dataset] = []
        self._infos: list[StreamInformation] = []
        for deserializer in deserializers:
            dataset: Dataset = deserializer.open(len(self._infos))
            self._datasets.append(dataset)
            self._infos.extend(dataset.infos)
        names = [info.m_name for info in self._infos]
        if len(set(names)) != len(names):
            raise ValueError("MinibatchSource: two streams have the same name.")
        self._max_sweeps = 1 if max_samples == FULL_DATA_SWEEP else max_sweeps
        self._max_samples = INFINITELY_REPEAT if max_samples == FULL_DATA_SWEEP else max_samples
        windows = (randomization_window_in_samples, randomization_window_in_chunks)
        self._randomize = randomize and any(windows)
        self._window_samples = randomization_window_in_samples
        self._window_chunks = randomization_window_in_chunks
        self._frames = frame_mode
        self._truncation = int(truncation_length)
        self._slots: Slots | None = None  # sequences under way, when they are truncated
        self._seed = randomization_seed
        self._lengths: np.ndarray | None = None
        self._total = 0
        self._order: tuple[int, np.ndarray, np.ndarray | None] | None = None
        self._sweep = self._index = 0

    # Description
    @property
    def streams(self) -> Record:
        return Record(**{info.m_name: info for info in self._infos})

    def stream_infos(self) -> list[StreamInformation]:
        return list(self._infos)

    def stream_info(self, name: str) -> StreamInformation:
        return self[name]

    def __getitem__(self, name: str) -> StreamInformation:
        for info in self._infos:
            if info.m_name == name:
                return info
        raise RuntimeError(f"No stream found matching given name '{name}'.")

    def is_infinite(self) -> bool:
        return self._max_samples == INFINITELY_REPEAT and self._max_sweeps == INFINITELY_REPEAT

    def samples_per_sweep(self) -> int:
        """The samples of one pass over the data, which are read for this."""
        self._load()
        return self._total

    # Position
    @property
    def current_position(self) -> int:
        """The samples passed so far, those of other workers included."""
        return self._position_now()

    @current_position.setter
    def current_position(self, position: int | Mapping[str, Any]) -> None:
        if not isinstance(position, Mapping):
            position = {"minibatchSourcePosition": position}
        self.restore_from_checkpoint(position)

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
        self._slots = None
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
        lengths = [dataset.load(self._frames) for dataset in self._datasets]
        if len({len(sizes) for sizes in lengths}) > 1:
            counts = ", ".join(str(len(sizes)) for sizes in lengths)
            raise RuntimeError(f"The deserializers have different numbers of sequences: {counts}.")
        self._chunks = max(dataset.chunks for dataset in self._datasets)
        defining = [
            sizes
            for sizes, dataset in zip(lengths, self._datasets, strict=True)
            if any(info.m_defines_mb_size for info in dataset.infos)
        ]
        self._lengths = np.max(defining or lengths, axis=0)
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
        # A sweep's order does not depend on how one got there; as in CNTK the next sweep's is that of the
        # next seed.
        generator = np.random.default_rng(self._seed + sweep)
        window = self._window_samples
        if window:
            # Nobody moves further than the window.
            return np.argsort(np.arange(count) + generator.random(count) * window, kind="stable")
        chunks = self._chunks
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
        workers = 1 if num_data_partitions is None else int(num_data_partitions)
        rank = 0 if partition_index is None else int(partition_index)
        if workers < 1 or not 0 <= rank < workers:
            raise ValueError(f"partition {rank} of {workers} does not exist")
        size = int(minibatch_size_in_samples)
        data = self._truncated(size, workers, rank) if self._truncation else self._whole(size, workers, rank)
        if not data:
            return {}
        if input_map is None:
            return data
        by_name = {info.m_name: part for info, part in data.items()}
        for stream in input_map.values():
            if not isinstance(stream, StreamInformation):
                raise KeyError(stream)
        return {variable: by_name[stream.m_name] for variable, stream in input_map.items()}

    get_next_minibatch = next_minibatch

    def _whole(self, size: int, workers: int, rank: int) -> dict[StreamInformation, MinibatchData]:
        """Whole sequences of (at most) that many samples over all workers; nothing at the end."""
        sweep = self._sweep
        parts = list(self._pick(size, workers, rank))
        if not parts:
            return {}
        sequences = parts[0] if len(parts) == 1 else np.concatenate(parts)
        end_of_sweep = self._sweep != sweep
        seed = (self._seed, sweep)
        return {
            info: dataset.part(info, sequences, seed, end_of_sweep)
            for dataset in self._datasets
            for info in dataset.infos
        }

    def _truncated(self, size: int, workers: int, rank: int) -> dict[StreamInformation, MinibatchData]:
        """The next `truncation_length` samples of as many sequences as the size has room for."""
        count = max(1, size // self._truncation)
        if workers > count:
            raise ValueError(
                "Too many workers for minibatch size; please increase minibatch size or decrease number of "
                "workers."
            )
        count = count // workers + (rank < count % workers)
        if self._slots is None or self._slots.count != count:
            self._slots = Slots(count, self._truncation)
        # Of several workers each takes its own part of the sequences: `_pick` shares out a size of one each.
        return self._slots.next(lambda: self._whole(workers, workers, rank))
