"""Values: the data of a minibatch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .device import DeviceDescriptor, cpu, use_default_device
from .internal.missing import module_getattr


class Value:
    """A batch: `data` is [sequences, longest, *sample]; `lengths` the number of samples of each sequence."""

    def __init__(self, data: torch.Tensor, lengths: np.ndarray | None = None, is_sparse: bool = False):
        self._data = data
        self._lengths = lengths
        self._sparse = is_sparse

    @property
    def tensor(self) -> torch.Tensor:
        return self._data

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._data.shape)

    @property
    def is_sparse(self) -> bool:
        return self._sparse

    @property
    def dtype(self) -> type:
        return np.float64 if self._data.dtype == torch.float64 else np.float32

    @property
    def device(self) -> DeviceDescriptor:
        return cpu() if self._data.device.type == "cpu" else use_default_device()

    @property
    def lengths(self) -> np.ndarray:
        count = len(self._data)
        return np.full(count, self._data.shape[1]) if self._lengths is None else self._lengths

    def asarray(self) -> np.ndarray:
        return self._data.cpu().numpy()

    def as_sequences(self, variable: Any = None) -> list[np.ndarray]:
        """One array [length, *sample] per sequence."""
        shape = self.shape[2:] if variable is None else variable.shape
        array = self.asarray()
        return [array[i, :length].reshape(-1, *shape) for i, length in enumerate(self.lengths)]

    def __len__(self) -> int:
        return len(self._data)

    def __repr__(self) -> str:
        return f"Value([{' x '.join(str(dim) for dim in self.shape)}], {self.device})"


__getattr__ = module_getattr("cntk.core")
