"""Sparse data of a minibatch: vectors of which only the places that are not zero are kept.

Products with them look up rows of the other factor, so that a vocabulary's one-hot vectors are never a dense
matrix of the vocabulary's width.  Whatever else wants such a value gets it made dense.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from ..core import Value


class SparseRows:
    """Vectors [*lead, dim] by their places: those of row i are `columns[offsets[i] : offsets[i + 1]]`."""

    def __init__(
        self,
        lead: tuple[int, ...],
        dim: int,
        offsets: torch.Tensor,
        columns: torch.Tensor,
        values: torch.Tensor,
        single: bool,
    ):
        self.lead, self.dim = lead, dim
        self.offsets, self.columns, self.values = offsets, columns, values
        self.single = single  # one place per row: a one-hot vector, if the value is 1
        self.requires_grad = False

    @staticmethod
    def gather(
        lead: tuple[int, ...],
        dim: int,
        rows: np.ndarray,
        indptr: np.ndarray,
        indices: np.ndarray,
        values: np.ndarray,
    ) -> SparseRows:
        """The rows of these numbers of a CSR matrix, as many as `lead` has room for."""
        starts = indptr[rows]
        counts = indptr[rows + 1] - starts
        offsets = np.concatenate([[0], np.cumsum(counts)])
        single = bool((counts == 1).all())
        at = starts if single else np.repeat(starts - offsets[:-1], counts) + np.arange(offsets[-1])
        return SparseRows(
            lead,
            dim,
            torch.from_numpy(offsets.astype(np.int64)),
            torch.from_numpy(indices[at].astype(np.int64)),
            torch.from_numpy(values[at].astype(np.float32)),
            single,
        )

    def to(self, device: torch.device, dtype: torch.dtype) -> SparseRows:
        return SparseRows(
            self.lead,
            self.dim,
            self.offsets.to(device, non_blocking=True),
            self.columns.to(device, non_blocking=True),
            self.values.to(device, dtype, non_blocking=True),
            self.single,
        )

    def flat(self) -> SparseRows:
        """The same without the time axis, which is one step long."""
        return SparseRows(self.lead[:1], self.dim, self.offsets, self.columns, self.values, self.single)

    def turned(self) -> SparseRows:
        """The steps of one sequence as a batch."""
        return SparseRows(self.lead[1:], self.dim, self.offsets, self.columns, self.values, self.single)

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.lead, self.dim)

    def __len__(self) -> int:
        return self.lead[0]

    def dense(self) -> torch.Tensor:
        """[*lead, dim]."""
        count = len(self.offsets) - 1
        result = self.values.new_zeros((count, self.dim))
        rows = torch.arange(count, device=self.columns.device)
        if not self.single:
            rows = rows.repeat_interleave(self.offsets.diff())
        result.index_put_((rows, self.columns), self.values, accumulate=not self.single)
        return result.reshape(self.shape)

    def times(self, weight: torch.Tensor) -> torch.Tensor:
        """The product with a matrix [dim, width]: [*lead, width]."""
        if self.single:
            result = functional.embedding(self.columns, weight) * self.values.unsqueeze(1)
        else:
            result = functional.embedding_bag(
                self.columns, weight, self.offsets[:-1], mode="sum", per_sample_weights=self.values
            )
        return result.reshape(*self.lead, -1)


class SparseValue(Value):
    """A value whose data is sparse; what asks for its tensor gets it made dense."""

    def __init__(self, rows: SparseRows, lengths: np.ndarray, sample_shape: Sequence[int]):
        self.rows = rows
        self._sample_shape = tuple(sample_shape)
        self._made: torch.Tensor | None = None
        self._of_each = lengths
        super().__init__(torch.zeros(0), lengths, True)

    @property
    def _data(self) -> torch.Tensor:
        if self._made is None:
            self._made = self.rows.dense().reshape(self.shape)
        return self._made

    @_data.setter
    def _data(self, value: torch.Tensor) -> None:
        """The base class sets it, to what is not needed."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.rows.lead, *self._sample_shape)

    @property
    def lengths(self) -> np.ndarray:
        return self._of_each

    def __len__(self) -> int:
        return len(self.rows)


def padded_steps(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """[batch, longest] row numbers of sequences that begin there; a sequence's last one fills the rest."""
    steps = np.minimum(np.arange(int(lengths.max())), lengths[:, None] - 1)
    result: np.ndarray = starts[:, None] + steps
    return result


def of_matrices(matrices: Sequence[Any], dim: int) -> tuple[SparseRows, np.ndarray] | None:
    """Sequences given as SciPy matrices [length, dim], and their lengths; None when one has another shape."""
    parts = [matrix.tocsr() for matrix in matrices]
    if not parts or any(part.shape[1] != dim or part.shape[0] < 1 for part in parts):
        return None
    parts = [part if part.has_canonical_format else part.copy() for part in parts]
    for part in parts:
        part.sum_duplicates()
    lengths = np.array([part.shape[0] for part in parts], np.int64)
    ends = np.cumsum([part.indptr[-1] for part in parts])
    indptr = np.concatenate(
        [[0], *(part.indptr[1:] + end - part.indptr[-1] for part, end in zip(parts, ends, strict=True))]
    )
    indices = np.concatenate([part.indices for part in parts])
    values = np.concatenate([part.data for part in parts])
    rows = padded_steps(np.cumsum(lengths) - lengths, lengths)
    return SparseRows.gather(rows.shape, dim, rows.ravel(), indptr, indices, values), lengths
