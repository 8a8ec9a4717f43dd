"""What a stream is: its definition, its description, and its part of a minibatch."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core import Value
from ..internal.missing import unavailable
from ..variables import Record, Variable

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
    if any(option is not None for option in (context, scp, mlf, broadcast)):
        raise unavailable("StreamDef with context, scp, mlf or broadcast")
    config: dict[str, Any] = {"stream_alias": field, "is_sparse": is_sparse}
    if shape is not None:
        config["dim"] = shape
    if transforms is not None:
        config["transforms"] = list(transforms)
    config["defines_mb_size"] = defines_mb_size
    config["max_sequence_length"] = max_sequence_length
    return Record(**config)


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
        self.storage_format = storage_format
        self.sample_shape = tuple(shape)

    @property
    def name(self) -> str:
        return self.m_name

    def __repr__(self) -> str:
        dims = " x ".join(str(dim) for dim in self.m_sample_layout)
        return f"{self.m_name}([{dims}], {'sparse' if self.m_storage_format else 'dense'})"


class StreamConfiguration:
    """A stream as older scripts describe it: name, size, sparse or not, field of the file."""

    def __init__(
        self,
        name: str,
        dim: int,
        is_sparse: bool = False,
        stream_alias: str = "",
        defines_mb_size: bool = False,
    ):
        self.m_stream_name = name
        self.m_dim = dim
        self.m_is_sparse = is_sparse
        self.m_stream_alias = stream_alias
        self.m_defines_mb_size = defines_mb_size


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

    @property
    def mask(self) -> np.ndarray:
        return self.data.mask

    def as_string(self) -> str:
        return repr(self)

    def asarray(self) -> Any:
        """The stream's array; of a sparse one, a SciPy CSR matrix."""
        return self.data.asarray()

    def as_sequences(self, variable: Variable | None = None) -> list[Any]:
        return self.data.as_sequences(variable)

    def __len__(self) -> int:
        return self.num_sequences

    def __repr__(self) -> str:
        return f"MinibatchData(data={self.data!r}, samples={self.num_samples}, seqs={self.num_sequences})"
