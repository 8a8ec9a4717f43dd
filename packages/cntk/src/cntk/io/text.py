"""Writing the CNTK text format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def _sample(value: Any) -> str:
    if hasattr(value, "tocoo"):  # one row of a sparse matrix
        row = value.tocoo()
        return " ".join(f"{int(index)}:{number:g}" for index, number in zip(row.col, row.data, strict=True))
    return " ".join(f"{number:g}" for number in np.asarray(value, np.float64).ravel())


def sequence_to_cntk_text_format(seq_idx: int, alias_tensor_map: Mapping[str, Any]) -> str:
    """The rows of one sequence: `alias_tensor_map` has an array [length, *shape] or a sparse matrix
    [length, size] for every field.  Fields may differ in length.

    Raises ValueError when there is no field or a value has no samples.
    """
    if not alias_tensor_map:
        raise ValueError("alias_tensor_map is empty")
    for alias, value in alias_tensor_map.items():
        if not hasattr(value, "shape"):
            raise ValueError(f"expected a NumPy array or a sparse matrix for '{alias}', not {type(value)}")
    if all(value.shape[0] == 0 for value in alias_tensor_map.values()):
        return ""
    lengths = {alias: value.shape[0] for alias, value in alias_tensor_map.items()}
    if 0 in lengths.values():
        raise ValueError("a field has no samples")
    rows = []
    for i in range(max(lengths.values())):
        parts = [
            f"|{alias} {_sample(value[i])}"
            for alias, value in sorted(alias_tensor_map.items())
            if i < lengths[alias]
        ]
        rows.append(f"{seq_idx}\t" + " ".join(parts))
    return "\n".join(rows)
