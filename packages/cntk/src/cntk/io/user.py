"""UserDeserializer: data in any format, read by the user's own class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch

from ..core import Value
from .datasets import Dataset
from .streams import MinibatchData, StreamInformation


def _array(value: Any) -> np.ndarray:
    return np.asarray(value.toarray() if hasattr(value, "toarray") else value)


class UserDeserializer(ABC):
    """Base class: override `stream_infos`, `num_chunks` and `get_chunk`."""

    @abstractmethod
    def stream_infos(self) -> list[StreamInformation]:
        """The streams."""

    @abstractmethod
    def num_chunks(self) -> int:
        """How many chunks there are."""

    @abstractmethod
    def get_chunk(self, chunk_id: int) -> dict[str, Any]:
        """A chunk: by stream name an array or CSR matrix [samples, size], or a list with one array or CSR
        matrix [length, size] per sequence.  All streams of a chunk have as many sequences."""

    def open(self, first_id: int) -> Dataset:
        return _UserDataset(self)


class _UserDataset:
    def __init__(self, source: UserDeserializer):
        self.infos = source.stream_infos()
        self._source = source
        self._chunks = int(source.num_chunks())
        self._place: list[tuple[int, int]] = []  # of each sequence: chunk, place in it
        self._kept: tuple[int, dict[str, Any]] | None = None

    @property
    def chunks(self) -> int:
        return self._chunks

    def _chunk(self, number: int) -> dict[str, Any]:
        """A chunk; the last one is kept, since neighbours in the data are often asked for together."""
        if self._kept is None or self._kept[0] != number:
            chunk = dict(self._source.get_chunk(number))
            missing = [info.m_name for info in self.infos if info.m_name not in chunk]
            if missing:
                raise ValueError(f"UserDeserializer: chunk {number} has no data for {', '.join(missing)}")
            self._kept = (number, chunk)
        return self._kept[1]

    def load(self, frames: bool) -> np.ndarray:
        lengths: list[int] = []
        for number in range(self._chunks):
            chunk = self._chunk(number)
            sizes = []
            for info in self.infos:
                data = chunk[info.m_name]
                is_list = isinstance(data, list)
                sizes.append([v.shape[0] for v in data] if is_list else [1] * int(data.shape[0]))
            if len({len(size) for size in sizes}) != 1:
                raise ValueError(f"UserDeserializer: the streams of chunk {number} differ in length")
            lengths.extend(max(values) for values in zip(*sizes, strict=True))
            self._place.extend((number, i) for i in range(len(sizes[0])))
        return np.array(lengths, np.int64)

    def part(
        self, info: StreamInformation, sequences: np.ndarray, seed: tuple[int, int], end_of_sweep: bool
    ) -> MinibatchData:
        layout, sparse = info.m_sample_layout, info.m_storage_format == 1
        samples: dict[int, np.ndarray] = {}
        # Chunk by chunk, so that each is asked for once.
        for i in sorted(range(len(sequences)), key=lambda i: self._place[int(sequences[i])]):
            number, place = self._place[int(sequences[i])]
            data = self._chunk(number)[info.m_name]
            value = _array(data[place] if isinstance(data, list) else data[place : place + 1])
            samples[i] = value.reshape(-1, *layout)
        lengths = np.array([len(samples[i]) for i in range(len(sequences))])
        padded = np.zeros((len(sequences), int(lengths.max()), *layout), info.m_element_type)
        for i, sample in samples.items():
            padded[i, : len(sample)] = sample
        single = None if (lengths == 1).all() else lengths
        return MinibatchData(
            Value(torch.from_numpy(padded), single, sparse), len(sequences), int(lengths.sum()), end_of_sweep
        )
