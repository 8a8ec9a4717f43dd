"""How the sequences of a minibatch lie in a padded tensor [batch, longest, *shape].

Cells behind a sequence's end hold a copy of its last value: kernels may compute on them without meeting a
number that is not one, and nothing of them is ever read.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch


class Layout:
    """The sequence lengths of one dynamic axis; which sequences are new, where some go on from the minibatch
    before; and the slot of each (see `carried`)."""

    def __init__(
        self, lengths: np.ndarray, starts: np.ndarray | None = None, slots: np.ndarray | None = None
    ):
        self.lengths = lengths
        self.starts = starts
        self.tracked = starts is not None or slots is not None  # whether another minibatch may go on
        self.going_on = np.zeros(0, np.int64) if starts is None else np.flatnonzero(~starts)
        self.slots = np.arange(len(lengths)) if slots is None else slots
        self.longest = int(lengths.max()) if len(lengths) else 0
        self.total = int(lengths.sum())
        self.uniform = self.total == len(lengths) * self.longest
        self._masks: dict[torch.device, torch.Tensor] = {}

    @cached_property
    def rows(self) -> dict[int, int]:
        """The row of each slot.  Later pieces of a slot stand behind earlier ones: the last one it is."""
        return {int(slot): row for row, slot in enumerate(self.slots)}

    def of_end(self, steps: int) -> Layout:
        """That of the last steps of sequences which are all of one length; this one when they are not."""
        if not self.uniform or steps == self.longest:
            return self
        return Layout(np.full(len(self.lengths), steps), self.starts, self.slots)

    def mask(self, device: torch.device) -> torch.Tensor:
        """[batch, longest], true where there is data."""
        if device not in self._masks:
            steps = torch.arange(self.longest, device=device)
            self._masks[device] = steps < torch.as_tensor(self.lengths, device=device).unsqueeze(1)
        return self._masks[device]

    def last(self, device: torch.device) -> torch.Tensor:
        """[batch], the index of the last step."""
        return torch.as_tensor(self.lengths, device=device) - 1

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Layout)
            and np.array_equal(self.lengths, other.lengths)
            and np.array_equal(self.going_on, other.going_on)
        )

    def __hash__(self) -> int:
        return hash(self.lengths.tobytes())


def expand_mask(mask: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A [batch, longest] mask with unit axes for the sample axes of `like`."""
    return mask.reshape(*mask.shape, *(1,) * (like.dim() - 2))


def pad_sequences(sequences: list[torch.Tensor]) -> torch.Tensor:
    """[batch, longest, *shape] from sequences [length, *shape]; the last value fills the rest."""
    longest = max((len(s) for s in sequences), default=0)
    if all(len(s) == longest for s in sequences):
        return torch.stack(sequences)
    rows = []
    for sequence in sequences:
        missing = longest - len(sequence)
        if missing and len(sequence):
            tail = sequence[-1:].expand(missing, *sequence.shape[1:])
            sequence = torch.cat([sequence, tail])
        elif missing:
            sequence = sequence.new_zeros((longest, *sequence.shape[1:]))
        rows.append(sequence)
    return torch.stack(rows)
