"""Axes of a tensor: dynamic (batch, sequence) and static."""

from __future__ import annotations

from .internal.missing import module_getattr

_DYNAMIC = 2**31 - 1


class Axis:
    """A static axis by index, or a dynamic axis by name."""

    def __init__(self, index: int | str | None = None, name: str | None = None, is_ordered: bool = True):
        if isinstance(index, str):
            name, index = index, None
        self._index = index
        self._name = name if name is not None else f"staticAxisIdx={index}"
        self._ordered = is_ordered

    @property
    def name(self) -> str:
        return self._name

    @property
    def is_ordered(self) -> bool:
        return self._ordered

    def static_axis_index(self, checked: bool = True) -> int:
        if self._index is None:
            if checked:
                raise ValueError("Cannot query the static axis index for a non-static axis")
            return _DYNAMIC
        return self._index

    @property
    def is_static_axis(self) -> bool:
        return self._index is not None

    @property
    def is_dynamic_axis(self) -> bool:
        return self._index is None

    @property
    def is_batch_axis(self) -> bool:
        return self._index is None and not self._ordered

    @property
    def is_sequence_axis(self) -> bool:
        return self._index is None and self._ordered

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Axis) and (self._index, self._name, self._ordered) == (
            other._index,
            other._name,
            other._ordered,
        )

    def __hash__(self) -> int:
        return hash((self._index, self._name, self._ordered))

    def __repr__(self) -> str:
        return f"Axis('{self._name}')"

    @staticmethod
    def default_batch_axis() -> Axis:
        return _BATCH

    @staticmethod
    def default_dynamic_axis() -> Axis:
        return _SEQUENCE

    @staticmethod
    def default_input_variable_dynamic_axes() -> tuple[Axis, ...]:
        return (_BATCH,)

    @staticmethod
    def all_axes() -> Axis:
        return _EVERY

    @staticmethod
    def all_static_axes() -> Axis:
        return _ALL


_BATCH = Axis(None, "defaultBatchAxis", is_ordered=False)
_SEQUENCE = Axis(None, "defaultDynamicAxis", is_ordered=True)
_EVERY = Axis(2**31 - 5, "AllAxes", is_ordered=False)
_ALL = Axis(2**31 - 2, "AllStaticAxes", is_ordered=False)

__getattr__ = module_getattr("cntk.axis")
