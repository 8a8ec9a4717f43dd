"""What delays keep of a minibatch for the next one, whose sequences may go on from it.

A sequence's place is its slot: that of its row, or the one that a source for truncated back-propagation
packed it into.  Gradients stop at the border of a minibatch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .layout import Layout

_NO_PAST = (
    "The delay node tries to access past values that are out of bound, possibly because there is no sentence "
    "start marker in the MBLayout."
)


class Memory:
    """The last values of a function's delays: by delay, [rows, offset, *shape] and the slots' rows."""

    def __init__(self) -> None:
        self._kept: dict[Any, tuple[torch.Tensor, dict[int, int]]] = {}

    def before(self, delay: Any, initial: torch.Tensor, steps: int, layout: Layout) -> torch.Tensor:
        """The values in front of each sequence, [batch, steps, *shape]: the initial ones of a new sequence.

        Raises RuntimeError when a sequence goes on of which nothing was kept.
        """
        first = initial.unsqueeze(1).expand(len(initial), steps, *initial.shape[1:])
        going_on = layout.going_on
        if not len(going_on):
            return first
        kept, rows = self._kept.get(delay, (None, {}))
        sources = [rows.get(int(slot), -1) for slot in layout.slots[going_on]]
        if kept is None or min(sources) < 0:
            raise RuntimeError(_NO_PAST)
        result = first.clone()
        result[torch.as_tensor(going_on, device=result.device)] = kept[sources].to(result)
        return result

    def keep(self, delay: Any, before: torch.Tensor, values: torch.Tensor, layout: Layout) -> None:
        """Keep the end of each sequence, given [batch, longest, *shape] and what was before it."""
        if not layout.tracked:
            return
        steps = before.shape[1]
        with torch.no_grad():
            if layout.uniform and layout.longest >= steps:
                end = values[:, layout.longest - steps :].clone()
            else:
                whole = torch.cat([before, values], 1)
                index = (
                    layout.last(values.device).unsqueeze(1) + 1 + torch.arange(steps, device=values.device)
                )
                end = whole[torch.arange(len(whole), device=values.device).unsqueeze(1), index]
        self._kept[delay] = (end.detach(), layout.rows)


def as_starts(starts: Any, count: int) -> np.ndarray | None:
    """Which of the sequences are new ones; None when nothing was said of it.

    Raises ValueError for another number of flags than of sequences.
    """
    if starts is None:
        return None
    flags = np.asarray(list(starts), bool)
    if len(flags) != count:
        raise ValueError(
            f"Value::Create:: The number of sequence start flags ({len(flags)}) does not match the number of "
            f"sequences ({count})."
        )
    return flags
