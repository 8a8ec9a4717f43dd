"""Truncated back-propagation through time: long sequences in pieces, minibatch after minibatch.

As in CNTK a minibatch has a number of slots with room for `length` samples each.  A sequence stays in its
slot until it ends; the next one begins right behind it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
import torch

from ..core import Value
from ..internal.layout import pad_sequences
from .streams import MinibatchData, StreamInformation

Streams = dict[StreamInformation, MinibatchData]


class _Sequence:
    """One sequence: a tensor [length, *sample] per stream, and how far it was delivered."""

    def __init__(self, values: dict[StreamInformation, torch.Tensor]):
        sizes = {len(value) for value in values.values()}
        if len(sizes) > 1:
            raise RuntimeError(
                "Truncated back-propagation needs streams whose sequences are of equal length, not of "
                f"{' and '.join(str(size) for size in sorted(sizes))} samples."
            )
        self.values = values
        self.length = sizes.pop()
        self.done = 0


class Slots:
    """The slots of one source (of one worker)."""

    def __init__(self, count: int, length: int):
        self.count = count
        self._length = length
        self._queues: list[deque[_Sequence]] = [deque() for _ in range(count)]

    def next(self, read: Callable[[], Streams]) -> Streams:
        """The next minibatch; empty when `read`, which delivers the next sequences, and the slots are empty.

        Raises RuntimeError when the streams of a sequence differ in length.
        """
        end_of_sweep = False
        pieces: dict[StreamInformation, list[torch.Tensor]] = {}
        starts: list[bool] = []
        places: list[int] = []
        for place, queue in enumerate(self._queues):
            while sum(s.length - s.done for s in queue) <= self._length:
                got = read()
                if not got:
                    break
                end_of_sweep |= any(data.end_of_sweep for data in got.values())
                queue.extend(_sequences(got))
            room = self._length
            while room and queue:
                sequence = queue[0]
                first, sequence.done = sequence.done, min(sequence.length, sequence.done + room)
                for info, values in sequence.values.items():
                    pieces.setdefault(info, []).append(values[first : sequence.done])
                starts.append(first == 0)
                places.append(place)
                room -= sequence.done - first
                if sequence.done == sequence.length:
                    queue.popleft()
        return {info: _data(info, rows, starts, places, end_of_sweep) for info, rows in pieces.items()}


def _sequences(streams: Streams) -> list[_Sequence]:
    count = next(iter(streams.values())).num_sequences
    return [
        _Sequence({info: data.data.tensor[i, : data.data.lengths[i]] for info, data in streams.items()})
        for i in range(count)
    ]


def _data(
    info: StreamInformation, rows: list[torch.Tensor], starts: list[bool], places: list[int], end: bool
) -> MinibatchData:
    lengths = np.array([len(row) for row in rows], np.int64)
    value = Value(pad_sequences(rows), lengths, info.m_storage_format == 1)
    value.starts = np.array(starts)
    value.slots = np.array(places)
    return MinibatchData(value, len(rows), int(lengths.sum()), end)
