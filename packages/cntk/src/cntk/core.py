"""Values: the data of a minibatch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .device import DeviceDescriptor, cpu, use_default_device
from .internal.missing import module_getattr


def _float_type(data: Any) -> Any:
    dtype = np.asarray(data).dtype
    return dtype if dtype in (np.float32, np.float64, np.float16) else np.float32


class NDArrayView:
    """An array on a device."""

    def __init__(self, shape: Any, data_type: Any = np.float32, device: Any = None):
        self._array = np.zeros(shape, data_type)

    @staticmethod
    def from_dense(
        np_array: Any, device: Any = None, read_only: bool = False, borrow: bool = False
    ) -> NDArrayView:
        """A view of (a copy of) a NumPy array."""
        array = np.asarray(np_array, _float_type(np_array))
        view = NDArrayView(())
        view._array = array if borrow else array.copy()
        return view

    @staticmethod
    def from_data(
        data: Any, device: Any = None, read_only: bool = False, borrow: bool = False
    ) -> NDArrayView:
        return NDArrayView.from_csr(data) if hasattr(data, "todense") else NDArrayView.from_dense(data)

    @staticmethod
    def from_csr(
        csr_array: Any, device: Any = None, read_only: bool = False, borrow: bool = False, shape: Any = None
    ) -> NDArrayView:
        """A view of a SciPy sparse matrix, made dense."""
        return NDArrayView.from_dense(np.asarray(csr_array.todense()))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._array.shape)

    @property
    def dtype(self) -> Any:
        return self._array.dtype.type

    def asarray(self) -> np.ndarray:
        return self._array

    def __repr__(self) -> str:
        return repr(self._array)


class Value:
    """A batch: `data` is [sequences, longest, *sample]; `lengths` the number of samples of each sequence.

    A `plain` value has no dynamic axes (or, when a user made it of one array, whichever the array has).
    """

    def __init__(
        self,
        data: Any,
        lengths: np.ndarray | None = None,
        is_sparse: bool = False,
        plain: bool = False,
    ):
        if not isinstance(data, torch.Tensor):
            if isinstance(data, NDArrayView):
                data = data.asarray()
            data = torch.from_numpy(np.array(data, dtype=_float_type(data)))
            plain = True
        self._data: torch.Tensor = data
        self._lengths = lengths
        self._sparse = is_sparse
        self.plain = plain
        self.starts: np.ndarray | None = None  # False where a sequence goes on from the minibatch before
        self.slots: np.ndarray | None = None  # the place of each sequence, when it is not its row

    @staticmethod
    def one_hot(batch: Any, num_classes: int, dtype: Any = None, device: Any = None) -> Value:
        """Sequences of one-hot vectors, from lists of class numbers (one list per sequence)."""
        if isinstance(num_classes, (tuple, list)):
            num_classes = int(num_classes[-1])
        rows = [np.atleast_1d(np.asarray(row)) for row in batch]
        if any(row.dtype.kind not in "iu" for row in rows):
            raise ValueError(
                'supplied data to one_hot() must be of type integer and not "float" since it is index data.'
            )
        outside = [int(i) for row in rows for i in row if not 0 <= i < num_classes]
        if outside:
            raise ValueError(f"one_hot: class {outside[0]} is not one of the {num_classes} classes")
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        data = np.zeros((len(rows), int(lengths.max()), num_classes), dtype or np.float32)
        for i, row in enumerate(rows):
            data[i, np.arange(len(row)), row] = 1
        return Value(torch.from_numpy(data), lengths, True)

    @staticmethod
    def create(
        var: Any, data: Any, seq_starts: Any = None, device: Any = None, read_only: bool = False
    ) -> Value:
        """The value that feeds `data` (as `eval` takes it) to a variable.

        `seq_starts`: for each sequence True, or False for one that goes on from the minibatch before, where
        it stood at the same place.
        """
        from .internal.carried import as_starts
        from .internal.feeding import feed

        tensor, layout = feed(var, data)
        if layout is not None:
            value = Value(tensor, layout.lengths)
            value.starts = as_starts(seq_starts, len(layout.lengths))
            return value
        return Value(tensor.unsqueeze(1)) if var.has_batch_axis() else Value(tensor, plain=True)

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
        return np.dtype(str(self._data.dtype).removeprefix("torch.")).type

    @property
    def device(self) -> DeviceDescriptor:
        return cpu() if self._data.device.type == "cpu" else use_default_device()

    @property
    def lengths(self) -> np.ndarray:
        count = len(self._data)
        return (
            np.full(count, self._data.shape[1] if self._data.dim() > 1 else 1)
            if self._lengths is None
            else self._lengths
        )

    def asarray(self) -> np.ndarray:
        return self._data.cpu().numpy()

    def as_sequences(self, variable: Any = None) -> list[np.ndarray]:
        """One array [length, *sample] per sequence."""
        shape = self.shape[2:] if variable is None else variable.shape
        array = self.asarray()
        return [array[i, :length].reshape(-1, *shape) for i, length in enumerate(self.lengths)]

    @property
    def mask(self) -> np.ndarray:
        """[sequences, longest]: 2 at the first sample of a sequence, 1 at the others, 0 behind the end."""
        steps = np.arange(self._data.shape[1])
        inside = (steps < self.lengths[:, None]).astype(np.float32)
        inside[slice(None) if self.starts is None else self.starts, 0] *= 2
        return inside

    def __len__(self) -> int:
        return len(self._data)

    def __repr__(self) -> str:
        return f"Value([{' x '.join(str(dim) for dim in self.shape)}], {self.device})"


class DeviceKind:
    """What `DeviceDescriptor.type` says."""

    CPU = 0
    GPU = 1


def asarray(variable: Any, value: Any) -> np.ndarray:
    """A value of a variable as an array."""
    result: np.ndarray = value.asarray() if isinstance(value, Value) else np.asarray(value)
    return result


def asvalue(variable: Any, data_array: Any) -> Value:
    """Data for a variable as a value."""
    return Value.create(variable, data_array)


def user_function(user_func: Any) -> Any:
    """A function of the graph that computes by a `UserFunction`."""
    from .ops.user import user_function as make

    return make(user_func)


__getattr__ = module_getattr("cntk.core")
