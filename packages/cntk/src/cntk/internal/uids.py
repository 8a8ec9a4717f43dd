"""Process-wide counters: uids of graph objects, and seeds of initialisers and dropout.

Both start the same in every process, so two runs of one script build the same graph with the same values.
"""

from __future__ import annotations

AUTO_SEED = 2**64 - 3  # what CNTK's signatures show as the default seed: "take the next one"


class _Uids:
    next = 3


class _Seeds:
    def __init__(self) -> None:
        self.next = 1
        self.fixed: int | None = None


_seeds = _Seeds()


def new_uid(kind: str) -> str:
    number = _Uids.next
    _Uids.next += 1
    return f"{kind}{number}"


def reserve(number: int) -> None:
    """A loaded model uses this number; new objects get higher ones."""
    _Uids.next = max(_Uids.next, number + 1)


def next_seed() -> int:
    if _seeds.fixed is not None:
        return _seeds.fixed
    seed = _seeds.next
    _seeds.next += 1
    return seed


def set_fixed_random_seed(value: int) -> None:
    """From now on everything random that is created without a seed of its own gets this one."""
    _seeds.fixed = int(value)


def is_random_seed_fixed() -> bool:
    return _seeds.fixed is not None


def reset_random_seed(value: int = 1) -> None:
    """From now on what is created without a seed gets `value`, `value` + 1, ..."""
    _seeds.next, _seeds.fixed = int(value), None


def resolve_seed(seed: int | None) -> int:
    return next_seed() if seed is None or seed == AUTO_SEED else int(seed)
