"""Axes of a tensor: dynamic (batch, sequence) and static."""

from __future__ import annotations

from .internal.missing import module_getattr

_DYNAMIC = 2**31 - 1
_ALL_STATIC = 2**31 - 2
_ALL = 2**31 - 5
_END_STATIC = 0  # behind the last static axis
_NEW_LEADING = 2**31 - 4


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
        """Its position; `_DYNAMIC` for a dynamic axis when not checked."""
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

    def as_string(self) -> str:
        return repr(self)

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
    def unknown_dynamic_axes() -> tuple[Axis, ...]:
        return (_UNKNOWN,)

    @staticmethod
    def all_axes() -> Axis:
        return _EVERY

    @staticmethod
    def all_static_axes() -> Axis:
        return _STATIC

    @staticmethod
    def end_static_axis() -> Axis:
        return _END

    @staticmethod
    def new_leading_axis() -> Axis:
        return _NEW

    @staticmethod
    def new_unique_dynamic_axis(name_prefix: str, is_ordered: bool = True) -> Axis:
        """A dynamic axis that no other object has."""
        from .internal.uids import new_uid

        return Axis(None, new_uid(name_prefix), is_ordered)


_BATCH = Axis(None, "defaultBatchAxis", is_ordered=False)
_SEQUENCE = Axis(None, "defaultDynamicAxis", is_ordered=True)
_UNKNOWN = Axis(None, "unknownDynamicAxes", is_ordered=True)
_EVERY = Axis(_ALL, "AllAxes", is_ordered=False)
_STATIC = Axis(_ALL_STATIC, "AllStaticAxes", is_ordered=False)
_END = Axis(_END_STATIC, f"staticAxisIdx={_END_STATIC}")
_NEW = Axis(_NEW_LEADING, f"staticAxisIdx={_NEW_LEADING}")

__getattr__ = module_getattr("cntk.axis")
