"""State machines as tables: `(state, event) -> (new state, effects)`.

The tables live beside their objects (clusters.py, jobs.py); effects are names that the services carry out.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Generic, TypeVar

S = TypeVar("S", bound=StrEnum)
V = TypeVar("V", bound=StrEnum)
F = TypeVar("F", bound=StrEnum)


class ImpossibleTransitionError(Exception):
    """An event that the table does not allow in this state: a bug of ours, told with the object's story."""

    def __init__(self, kind: str, name: str, state: str, event: str, story: str) -> None:
        super().__init__(f"{kind} {name}: {event} is impossible in state {state}. Story: {story or 'none'}")


class Machine(Generic[S, V, F]):
    """One table. `kind` names the object in events and errors."""

    def __init__(self, kind: str, table: Mapping[tuple[S, V], tuple[S, tuple[F, ...]]]) -> None:
        self.kind = kind
        self.table = table

    def allows(self, state: S, event: V) -> bool:
        return (state, event) in self.table

    def step(self, name: str, state: S, event: V, story: Callable[[], str] = str) -> tuple[S, tuple[F, ...]]:
        """The new state and the effects. Raises ImpossibleTransitionError; only that asks for the story."""
        try:
            return self.table[state, event]
        except KeyError:
            raise ImpossibleTransitionError(self.kind, name, state, event, story()) from None

    def diagram(self) -> str:
        """The table as a Mermaid state diagram."""
        rows = [f"    {a} --> {b}: {event}" for (a, event), (b, _) in self.table.items()]
        return "\n".join(["stateDiagram-v2", *rows])
