"""Values: the data of a minibatch, and arrays on a device."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from .device import DeviceDescriptor, cpu, use_default_device
from .internal.missing import module_getattr

_TYPES = (np.float32, np.float64, np.float16)
_TYPE_NUMBERS = {np.dtype(np.float32): 1, np.dtype(np.float64): 2, np.dtype(np.float16): 4}
DENSE, SPARSE = 0, 1  # what `get_storage_format` says


def _float_type(data: Any) -> Any:
    dtype = np.asarray(data).dtype
    return dtype if dtype in _TYPES else np.float32


def is_csr(data: Any) -> bool:
    """Whether it is one of SciPy's sparse matrices (SciPy itself need not be installed)."""
    return hasattr(data, "todense") and hasattr(data, "tocsr")


def _to_csr(array: np.ndarray) -> Any:
    """A SciPy matrix of the array's rows (its last axis); without SciPy, the array."""
    try:
        from scipy.sparse import csr_matrix  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        return array
    return csr_matrix(array.reshape(-1, array.shape[-1] if array.ndim else 1))


class NDArrayView:
    """An array on a device.  A sparse one is kept dense; only what `asarray` gives is sparse."""

    def __init__(self, shape: Any, data_type: Any = np.float32, device: Any = None):
        self._array = np.zeros(shape, data_type)
        self._sparse = False
        self._read_only = False
        self._is_slice = False
        self._device: DeviceDescriptor = cpu() if device is None else device

    @classmethod
    def _of(
        cls, array: np.ndarray, sparse: bool = False, read_only: bool = False, device: Any = None
    ) -> NDArrayView:
        view = cls((), array.dtype, device)
        view._array, view._sparse, view._read_only = array, sparse, read_only
        return view

    @staticmethod
    def from_dense(
        np_array: Any, device: Any = None, read_only: bool = False, borrow: bool = False
    ) -> NDArrayView:
        """A view of (a copy of) a NumPy array."""
        if not isinstance(np_array, np.ndarray):
            raise TypeError("data must be of type numpy.ndarray")
        array = np.asarray(np_array, _float_type(np_array))
        return NDArrayView._of(array if borrow else array.copy(), False, read_only, device)

    @staticmethod
    def from_csr(
        csr_array: Any, device: Any = None, read_only: bool = False, borrow: bool = False, shape: Any = None
    ) -> NDArrayView:
        """A view of a SciPy CSR matrix, whose rows the last axis of `shape` holds.

        Raises TypeError for other data, ValueError for a shape of another size.
        """
        if not is_csr(csr_array):
            raise TypeError("only CSR is supported as of now. Please convert your data using 'tocsr()'")
        dense = np.asarray(csr_array.todense())
        dense = dense.astype(_float_type(dense))
        shape = dense.shape if shape is None else tuple(shape)
        if dense.shape != (math.prod(shape[:-1]), shape[-1]):
            raise ValueError(f"the CSR matrix of shape {dense.shape} does not fill the shape {shape}")
        return NDArrayView._of(dense.reshape(shape), True, read_only, device)

    @staticmethod
    def from_data(
        data: Any, device: Any = None, read_only: bool = False, borrow: bool = False
    ) -> NDArrayView:
        make = NDArrayView.from_csr if is_csr(data) else NDArrayView.from_dense
        return make(data, device, read_only, borrow)

    @staticmethod
    def random_uniform_float(
        shape: Any, range_start: float, range_end: float, seed: int = 1, device: Any = None
    ) -> NDArrayView:
        return _random(shape, range_start, range_end, seed, np.float32, device)

    @staticmethod
    def random_uniform_double(
        shape: Any, range_start: float, range_end: float, seed: int = 1, device: Any = None
    ) -> NDArrayView:
        return _random(shape, range_start, range_end, seed, np.float64, device)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._array.shape)

    @property
    def dtype(self) -> Any:
        return self._array.dtype.type

    @property
    def device(self) -> DeviceDescriptor:
        return self._device

    @property
    def is_read_only(self) -> bool:
        return self._read_only

    @property
    def is_sparse(self) -> bool:
        return self._sparse

    def is_slice_view(self) -> bool:
        """Whether it shows a part of another view."""
        return self._is_slice

    def get_data_type(self) -> int:
        """CNTK's number of the element type: 1 float32, 2 float64, 4 float16."""
        return _TYPE_NUMBERS[self._array.dtype]

    def get_storage_format(self) -> int:
        return SPARSE if self._sparse else DENSE

    def asarray(self) -> Any:
        """The NumPy array; a sparse view gives a CSR matrix of its rows."""
        return _to_csr(self._array) if self._sparse else self._array

    def to_ndarray(self) -> Any:
        return self.asarray()

    def slice_view(self, start_offset: Any, extent: Any, read_only: bool = True) -> NDArrayView:
        """The part that begins at `start_offset`; `extent` has a size for each of the last axes, those in
        front of them are left out."""
        front = len(start_offset) - len(extent)
        key: list[Any] = [
            *(int(i) for i in start_offset[:front]),
            *(slice(int(i), int(i) + int(n)) for i, n in zip(start_offset[front:], extent, strict=True)),
        ]
        part = NDArrayView._of(self._array[tuple(key)], self._sparse, read_only, self._device)
        part._is_slice = True
        return part

    def as_shape(self, new_shape: Any) -> NDArrayView:
        """The same elements in another shape.  Raises ValueError when their number differs."""
        shape = tuple(int(dim) for dim in new_shape)
        return NDArrayView._of(self._array.reshape(shape), self._sparse, self._read_only, self._device)

    def alias(self, readOnly: bool = False) -> NDArrayView:
        """Another view of the same memory."""
        return NDArrayView._of(self._array, self._sparse, readOnly, self._device)

    def deep_clone(self, *args: Any) -> NDArrayView:
        """A copy, on another device when one is given."""
        device = next((a for a in args if isinstance(a, DeviceDescriptor)), self._device)
        read_only = next((a for a in args if isinstance(a, bool)), False)
        return NDArrayView._of(self._array.copy(), self._sparse, read_only, device)

    def copy_from(self, source: NDArrayView) -> None:
        """Take over the elements of a view of the same shape."""
        if self._read_only:
            raise RuntimeError("NDArrayView: cannot write to a read-only view.")
        if source.shape != self.shape:
            raise ValueError(f"copy_from: the source's shape {source.shape} is not {self.shape}")
        self._array[...] = source._array

    def set_value(self, *args: Any) -> None:
        """Set all elements to a number."""
        if self._read_only:
            raise RuntimeError("NDArrayView: cannot write to a read-only view.")
        self._array[...] = args[0]

    def change_device(self, device: DeviceDescriptor) -> None:
        self._device = device

    def as_string(self) -> str:
        dims = " x ".join(str(dim) for dim in self.shape)
        return f"NDArrayView([{dims}], {self._device})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self._array, dtype)

    def __len__(self) -> int:
        return len(self._array)

    def __repr__(self) -> str:
        return repr(self._array)


def _random(shape: Any, start: float, end: float, seed: int, dtype: Any, device: Any) -> NDArrayView:
    drawn = np.random.default_rng(seed).uniform(start, end, shape)
    return NDArrayView._of(np.asarray(drawn, dtype), device=device)


class Value:
    """A batch: `data` is [sequences, longest, *sample]; `lengths` the number of samples of each sequence.

    A `plain` value is one array, with as many dynamic axes as the variable that it is given to.
    """

    ONE_HOT_SKIP = 2**32 - 1

    def __init__(
        self,
        batch: Any,
        seq_starts: Any = None,
        is_sparse: bool = False,
        plain: bool = False,
        device: Any = None,
        starts: np.ndarray | None = None,
    ):
        lengths = seq_starts if isinstance(seq_starts, np.ndarray) else None
        if not isinstance(batch, torch.Tensor):
            if isinstance(batch, NDArrayView):
                is_sparse = batch.is_sparse
                batch = batch._array
            batch = torch.from_numpy(np.array(batch, dtype=_float_type(batch)))
            plain = True
        self._data: torch.Tensor | None = batch
        self._lengths = lengths
        self._sparse = is_sparse
        self._read_only = False
        self.plain = plain
        self.starts = starts  # False where a sequence goes on from the minibatch before
        self.slots: np.ndarray | None = None  # the place of each sequence, when it is not its row

    @staticmethod
    def one_hot(batch: Any, num_classes: Any, dtype: Any = None, device: Any = None) -> Value:
        """Sequences of one-hot vectors, from lists of class numbers (one list per sequence).

        `num_classes` may be a sample shape, whose last axis is the classes'; a sample then takes as many
        numbers as it has rows.  `ONE_HOT_SKIP` makes a row of zeros.  Raises ValueError for numbers that are
        no integers or no classes.
        """
        sample = (num_classes,) if np.isscalar(num_classes) else tuple(num_classes)
        classes, rows_each = int(sample[-1]), math.prod(sample[:-1])
        rows = [np.atleast_1d(np.asarray(row)) for row in batch]
        if any(row.dtype.kind not in "iu" for row in rows):
            raise ValueError(
                'supplied data to one_hot() must be of type integer and not "float" since it is index data.'
            )
        outside = [int(i) for row in rows for i in row if not 0 <= i < classes and i != Value.ONE_HOT_SKIP]
        if outside:
            raise ValueError(f"one_hot: class {outside[0]} is not one of the {classes} classes")
        if any(len(row) % rows_each for row in rows):
            raise ValueError(f"one_hot: a sequence's number of indices is no multiple of {rows_each}")
        lengths = np.array([len(row) // rows_each for row in rows], dtype=np.int64)
        data = np.zeros((len(rows), int(lengths.max()) * rows_each, classes), dtype or np.float32)
        for i, row in enumerate(rows):
            where = np.nonzero(row != Value.ONE_HOT_SKIP)[0]
            data[i, where, row[where]] = 1
        return Value(torch.from_numpy(data.reshape(len(rows), -1, *sample)), lengths, True)

    @staticmethod
    def create(
        var: Any, data: Any, seq_starts: Any = None, device: Any = None, read_only: bool = False
    ) -> Value:
        """The value of `data` for a variable: of an array as it is; of a list, a sequence for each item.

        `seq_starts`: for each sequence True, or False for one that goes on from the minibatch before, where
        it stood at the same place.  Raises ValueError for data of another shape than the variable's.
        """
        from .internal.carried import as_starts

        if isinstance(data, np.ndarray) and seq_starts is not None and var.has_sequence_axis():
            data = list(data)
        if isinstance(data, NDArrayView) or (isinstance(data, np.ndarray) and data.dtype.kind != "O"):
            return Value(np.asarray(data, var._dtype) if isinstance(data, np.ndarray) else data)
        if is_csr(data):
            return Value(NDArrayView.from_csr(data))
        items = list(data)
        if not var.dynamic_axes:
            return _without_axes(var, items)
        sequences = [_sequence(var, item, i) for i, item in enumerate(items)]
        lengths = np.array([len(s) for s in sequences], dtype=np.int64)
        tail = sequences[0].shape[1:] if sequences else var.shape
        padded = np.zeros((len(sequences), int(lengths.max(initial=0)), *tail), var._dtype)
        for i, sequence in enumerate(sequences):
            padded[i, : len(sequence)] = sequence
        sparse = any(is_csr(item) or getattr(item, "is_sparse", False) is True for item in items)
        starts = as_starts(seq_starts, len(lengths))
        value = Value(torch.from_numpy(padded), lengths, sparse or var.is_sparse, starts=starts)
        value._read_only = read_only
        return value

    @property
    def tensor(self) -> torch.Tensor:
        if self._data is None:
            raise RuntimeError(
                "This Value object is invalid and can no longer be accessed: what eval, forward or backward "
                "return with as_numpy=False holds until the function's next evaluation. Use deep_clone() to "
                "keep it."
            )
        return self._data

    @property
    def is_valid(self) -> bool:
        """False for a temporary value whose function has been evaluated again."""
        return self._data is not None

    def erase(self) -> None:
        self._data = None

    @property
    def data(self) -> NDArrayView:
        """The whole array, with the cells behind shorter sequences."""
        array = self.tensor.detach().cpu().contiguous().numpy()
        return NDArrayView._of(array, self._sparse, self._read_only, self.device)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    @property
    def is_sparse(self) -> bool:
        return self._sparse

    @property
    def is_read_only(self) -> bool:
        return self._read_only

    @property
    def dtype(self) -> type:
        return np.dtype(str(self.tensor.dtype).removeprefix("torch.")).type

    def get_data_type(self) -> int:
        return _TYPE_NUMBERS[np.dtype(self.dtype)]

    def get_storage_format(self) -> int:
        return SPARSE if self._sparse else DENSE

    @property
    def device(self) -> DeviceDescriptor:
        return cpu() if self.tensor.device.type == "cpu" else use_default_device()

    @property
    def lengths(self) -> np.ndarray:
        data = self.tensor
        if self._lengths is None:
            return np.full(len(data), data.shape[1] if data.dim() > 1 else 1)
        return self._lengths

    def asarray(self) -> Any:
        """The whole array; of a sparse value a CSR matrix of its rows."""
        return self.data.asarray()

    def as_sequences(self, variable: Any = None) -> list[Any]:
        """One array [length, *sample] per sequence (of a sparse value a CSR matrix); of a plain value, its
        items."""
        array = self.data._array
        if self.plain:
            if self._sparse:
                return [_to_csr(array)]
            return list(array)
        shape = self.shape[2:] if variable is None else variable.shape
        parts = [array[i, :length].reshape(-1, *shape) for i, length in enumerate(self.lengths)]
        return [_to_csr(part) for part in parts] if self._sparse else parts

    @property
    def mask(self) -> np.ndarray:
        """[sequences, longest]: 2 at a new sequence's first sample, 1 at the others, 0 behind the end."""
        steps = np.arange(self.tensor.shape[1])
        inside = (steps < self.lengths[:, None]).astype(np.float32)
        inside[slice(None) if self.starts is None else self.starts, 0] *= 2
        return inside

    def masked_count(self) -> int:
        """How many cells lie behind the ends of sequences."""
        return 0 if self.plain else int((self.mask == 0).sum())

    def deep_clone(self, *args: Any) -> Value:
        """A copy, which later evaluations leave alone."""
        copy = Value(self.tensor.detach().clone(), self._lengths, self._sparse, self.plain)
        copy.starts, copy.slots = self.starts, self.slots
        return copy

    def alias(self, readOnly: bool = False) -> Value:
        """Another value of the same memory."""
        other = Value(self.tensor, self._lengths, self._sparse, self.plain)
        other.starts, other.slots, other._read_only = self.starts, self.slots, readOnly
        return other

    def copy_from(self, source: Value) -> None:
        """Take over the elements of a value of the same shape."""
        if self.shape != source.shape:
            raise ValueError(f"copy_from: the source's shape {source.shape} is not {self.shape}")
        with torch.no_grad():
            self.tensor.copy_(source.tensor)

    def as_string(self) -> str:
        return repr(self)

    def __len__(self) -> int:
        return len(self.tensor)

    def __repr__(self) -> str:
        return f"Value([{' x '.join(str(dim) for dim in self.shape)}], {self.device})"


def _without_axes(var: Any, items: list[Any]) -> Value:
    if any(is_csr(item) for item in items):
        raise ValueError("a list of CSR matrices is a batch; the variable has no batch axis")
    return Value(np.array(items, dtype=var._dtype))


def _sequence(var: Any, item: Any, index: int) -> np.ndarray:
    """One sequence [length, *shape] from an item of a list."""
    from .variables import shape_text

    shape = var.shape
    if isinstance(item, NDArrayView):
        array = item._array
    elif is_csr(item):
        array = np.asarray(item.todense())
        tail = shape[1:]
        if len(shape) > 1 and len(array) % max(math.prod(shape[:-1]), 1) == 0 and min(tail, default=1) > 0:
            array = array.reshape(-1, *shape)
    else:
        array = np.asarray(item)
    if _fits(array.shape, shape):
        array = array[None]
    if not _fits(array.shape[1:], shape):
        raise ValueError(
            f"Value::Create: The shape '{shape_text(array.shape)}' of sequence #{index} is not compatible "
            f"with the sample shape '{shape_text(shape)}'."
        )
    return array


def _fits(dims: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return len(dims) == len(shape) and all(d == s or s < 0 for d, s in zip(dims, shape, strict=True))


class DeviceKind:
    """What `DeviceDescriptor.type` says."""

    CPU = 0
    GPU = 1


def asarray(variable: Any, value: Any) -> Any:
    """A value of a variable as an array; of a sequence variable, a list of arrays."""
    if not isinstance(value, Value):
        return np.asarray(value)
    if value.is_sparse or (variable.has_sequence_axis() and not value.plain):
        return value.as_sequences(variable)
    return value.asarray()


def asvalue(variable: Any, data_array: Any) -> Value:
    """Data for a variable as a value."""
    return Value.create(variable, data_array)


def user_function(user_func: Any) -> Any:
    """A function of the graph that computes by a `UserFunction`."""
    from .ops.user import user_function as make

    return make(user_func)


__all__ = ["DeviceKind", "NDArrayView", "Value", "asarray", "asvalue", "user_function"]
__getattr__ = module_getattr("cntk.core")
