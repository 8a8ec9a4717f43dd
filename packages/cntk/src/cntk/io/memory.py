"""Minibatch sources that are no files: arrays in memory, and classes that the user writes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ..core import Value
from ..variables import Record
from .streams import MinibatchData, StreamInformation

_INFINITE = 2**64 - 1


class UserMinibatchSource(ABC):
    """Base class of sources written by the user: `stream_infos` and `next_minibatch` must be overridden."""

    def __init__(self) -> None:
        self._streams_by_name: dict[str, StreamInformation] | None = None

    @abstractmethod
    def stream_infos(self) -> list[StreamInformation]:
        """The streams this source delivers."""

    @abstractmethod
    def next_minibatch(
        self, num_samples: int, number_of_workers: int, worker_rank: int, device: Any = None
    ) -> dict[StreamInformation, MinibatchData]:
        """The next minibatch by stream; an empty dictionary at the end.

        `num_samples` is the size over all workers; this worker's part is to be returned.
        """

    def is_infinite(self) -> bool:
        """Whether there is no end; overridden where there is none."""
        return False

    def get_checkpoint_state(self) -> dict[str, Any]:
        """What a checkpoint keeps of the position; overridden by sources that can go back."""
        return {}

    def restore_from_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Go to the position of a state that `get_checkpoint_state` returned."""
        return

    def _by_name(self) -> dict[str, StreamInformation]:
        if getattr(self, "_streams_by_name", None) is None:
            self._streams_by_name = {info.m_name: info for info in self.stream_infos()}
        streams: dict[str, StreamInformation] = self._streams_by_name or {}
        return streams

    def stream_info(self, name: str) -> StreamInformation:
        """The stream of that name.  Raises RuntimeError when there is none."""
        streams = self._by_name()
        if name not in streams:
            raise RuntimeError(f"No stream found matching given name '{name}'.")
        return streams[name]

    __getitem__ = stream_info

    @property
    def streams(self) -> Record:
        return Record(**self._by_name())


def _is_csr(value: Any) -> bool:
    return hasattr(value, "indptr") and hasattr(value, "toarray")


def _dense(value: Any) -> np.ndarray:
    return np.asarray(value.toarray() if _is_csr(value) else value)


class MinibatchSourceFromData(UserMinibatchSource):
    """Arrays in memory as a minibatch source.

    `data_streams` maps names to arrays [samples, *shape], SciPy CSR matrices [samples, size], or lists with
    one array [length, *shape] (or CSR matrix [length, size]) per sequence; a pair (data, type) names the type
    as the layers' `Tensor[...]` and `Sequence[...]` do.  A minibatch ends at the end of the data; its size is
    that of the longest stream.

    Raises TypeError when the streams differ in length.
    """

    def __init__(self, data_streams: Mapping[str, Any], max_samples: int = _INFINITE):
        super().__init__()
        if not data_streams:
            raise ValueError(
                "at least one stream must be specified, in the form name=data or name=(data, type)"
            )
        self._data: dict[str, Any] = {}
        self._sequences: dict[str, bool] = {}
        self._infos: dict[str, StreamInformation] = {}
        count = -1
        for index, (name, given) in enumerate(data_streams.items()):
            value, kind = given if isinstance(given, tuple) else (given, None)
            if isinstance(value, Value):
                value = value.as_sequences() if any(value.lengths != 1) else value.asarray()[:, 0]
            sequence = isinstance(value, list) or bool(
                kind is not None and getattr(kind, "is_sequence", False)
            )
            if not _is_csr(value) and not isinstance(value, (np.ndarray, list)):
                raise TypeError(
                    f"data must be a numpy.array, a SciPy CSR matrix or a list of them, not {type(value)}"
                )
            length = value.shape[0] if _is_csr(value) else len(value)
            if not length:
                raise ValueError("data is empty")
            if count >= 0 and length != count:
                raise TypeError("all data items must have the same first dimension")
            count = length
            first = value[0] if isinstance(value, list) else value
            sparse = _is_csr(first)
            shape = tuple(int(dim) for dim in np.shape(first)[1:]) if not sparse else (int(first.shape[1]),)
            dtype = np.float64 if first.dtype == np.float64 else np.float32
            self._data[name], self._sequences[name] = value, sequence
            self._infos[name] = StreamInformation(name, index, "sparse" if sparse else "dense", dtype, shape)
        self._count = count
        self._max_samples = int(max_samples)
        lengths = [
            np.array([item.shape[0] for item in value])
            if isinstance(value, list)
            else np.ones(count, np.int64)
            for value in self._data.values()
        ]
        self._lengths = np.max(lengths, axis=0)
        self._cursor = self._delivered = 0

    @property
    def samples_per_sweep(self) -> int:
        """The samples of one pass over the data."""
        return int(self._lengths.sum())

    def stream_infos(self) -> list[StreamInformation]:
        return list(self._infos.values())

    def is_infinite(self) -> bool:
        return self._max_samples == _INFINITE

    def next_minibatch(
        self, num_samples: int, number_of_workers: int = 1, worker_rank: int = 0, device: Any = None
    ) -> dict[StreamInformation, MinibatchData]:
        limit = min(int(num_samples), self._max_samples - self._delivered)
        if limit <= 0:
            return {}
        end, taken = self._cursor, 0
        while end < self._count and (not taken or taken + self._lengths[end] <= limit):
            taken += int(self._lengths[end])
            end += 1
        rows = np.arange(self._cursor, end)[worker_rank::number_of_workers]
        self._delivered += taken
        at_end = end == self._count
        self._cursor = 0 if at_end else end
        if not len(rows):
            return {}
        return {info: self._part(name, rows, at_end) for name, info in self._infos.items()}

    def _part(self, name: str, rows: np.ndarray, at_end: bool) -> MinibatchData:
        data, info = self._data[name], self._infos[name]
        sparse = info.m_storage_format == 1
        dtype = info.m_element_type
        if not isinstance(data, list):
            array = np.ascontiguousarray(_dense(data[rows]), dtype)
            tensor = torch.from_numpy(array).reshape(len(rows), 1, *info.m_sample_layout)
            return MinibatchData(Value(tensor, None, sparse), len(rows), len(rows), at_end)
        parts = [_dense(data[row]) for row in rows]
        lengths = np.array([len(part) for part in parts])
        padded = np.zeros((len(rows), int(lengths.max()), *info.m_sample_layout), dtype)
        for i, part in enumerate(parts):
            padded[i, : len(part)] = part.reshape(len(part), *info.m_sample_layout)
        value = Value(torch.from_numpy(padded), lengths, sparse)
        return MinibatchData(value, len(rows), int(lengths.sum()), at_end)

    def get_checkpoint_state(self) -> dict[str, Any]:
        return {"cursor": self._cursor, "total_num_samples": self._delivered}

    def restore_from_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Raises ValueError for a state that is not of this source."""
        cursor, delivered = state.get("cursor"), state.get("total_num_samples")
        if not isinstance(cursor, int) or not isinstance(delivered, int) or not 0 <= cursor < self._count:
            raise ValueError("Checkpoint misses required fields cursor and total_num_samples")
        self._cursor, self._delivered = int(cursor), int(delivered)
