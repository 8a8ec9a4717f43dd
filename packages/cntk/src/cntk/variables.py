"""Leaves and edges of the graph: Variable, Parameter, Constant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .axis import Axis
from .core import NDArrayView, Value
from .default_options import default_override_or, get_default_override
from .device import torch_device, use_default_device
from .initializer import Initializer
from .internal.missing import module_getattr
from .internal.operators import TensorOpsMixin
from .internal.uids import new_uid

if TYPE_CHECKING:
    from .ops.functions import PrimitiveFunction

INFERRED = -1
FREE = -3

# An unknown shape (a placeholder before it is replaced) is None; an unknown dimension is INFERRED.
ShapeOrUnknown = tuple[int, ...] | None

_TORCH_TYPES = {
    np.dtype(np.float32): torch.float32,
    np.dtype(np.float64): torch.float64,
    np.dtype(np.float16): torch.float16,
}


_DTYPE = default_override_or(None)  # float32, or the type of the array given


class Record(dict[str, Any]):
    """A dictionary whose items are attributes."""

    def __init__(self, **args_dict: Any):
        super().__init__(args_dict)
        self.__dict__.update(args_dict)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"record has no attribute '{name}'")

    def updated_with(self, **kwargs: Any) -> Record:
        return Record(**{**self, **kwargs})


def is_scalar(value: Any) -> bool:
    """`numpy.isscalar` without its type guard, which turns Any into a union of types no number is."""
    return np.isscalar(value)


def sanitize_shape(shape: Any) -> tuple[int, ...]:
    if is_scalar(shape):
        return (int(shape),)
    return tuple(int(dim) for dim in shape)


# What names, Python's types and CNTK's numbers of types stand for where NumPy takes them otherwise.
_SPELLED: dict[Any, Any] = {
    "float": np.float32, int: np.float32, 1: np.float32, 2: np.float64, 4: np.float16,
}  # fmt: skip
UNKNOWN_TYPE = 0  # CNTK's number of the type that is still to be inferred


def sanitize_dtype(dtype: Any) -> np.dtype:
    if isinstance(dtype, (str, int)) or dtype is int:
        dtype = _SPELLED.get(dtype, dtype)
    try:
        result: np.dtype = np.dtype(dtype)
    except TypeError:
        raise ValueError(f'data type "{dtype}" is not supported') from None
    if result not in _TORCH_TYPES:
        raise ValueError(f'data type "{result.type}" is not supported')
    return result


def torch_dtype(dtype: np.dtype) -> torch.dtype:
    return _TORCH_TYPES[dtype]


def axis_text(axis: Axis) -> str:
    if axis.is_batch_axis:
        return "#"
    return "*" if axis == Axis.default_dynamic_axis() else axis.name


def shape_text(shape: ShapeOrUnknown) -> str:
    if shape is None:
        return "[???]"
    return "[" + " x ".join({INFERRED: "?", FREE: "*"}.get(dim, str(dim)) for dim in shape) + "]"


class _Renaming:
    allowed = False


def allow_renaming() -> None:
    """What has a name may get another one (`cntk_py` has the call)."""
    _Renaming.allowed = True


def check_renaming(old: str, new: str) -> None:
    """Raises ValueError where a function's name must not be changed any more."""
    if old and old != new and not _Renaming.allowed:
        raise ValueError(f"Illegal to set name of a Function with an existing name '{old}'.")


class Variable(TensorOpsMixin):
    """A tensor in the graph: an input, a placeholder, an output, or (subclasses) a parameter or constant."""

    def __init__(
        self,
        shape: Any = None,
        dtype: Any = np.float32,
        needs_gradient: bool = False,
        is_sparse: bool = False,
        dynamic_axes: Sequence[Axis] | None = (),
        name: str = "",
        *,
        kind: str = "Input",
        uid: str | None = None,
        owner: PrimitiveFunction | None = None,
        index: int = 0,
    ):
        self._shape: ShapeOrUnknown = None if shape is None else sanitize_shape(shape)
        self._dtype: np.dtype = np.dtype(dtype)
        self.needs_gradient = needs_gradient
        self.is_sparse = is_sparse
        # None: not known yet (a placeholder, or what depends on one).
        self._dynamic_axes: tuple[Axis, ...] | None = None if dynamic_axes is None else tuple(dynamic_axes)
        self.pending = False  # part of a recurrence whose inference is under way
        self.actual: Variable | None = None  # what a block's placeholder stands for
        self._name = name
        self.kind_name = kind
        self.uid = uid or new_uid(kind)
        self._owner = owner
        self._index = index

    @property
    def shape(self) -> tuple[int, ...]:
        return () if self._shape is None else self._shape

    @property
    def known_shape(self) -> bool:
        return self._shape is not None and INFERRED not in self._shape

    @property
    def dtype(self) -> type:
        kind: type = self._dtype.type
        return kind

    @property
    def dynamic_axes(self) -> tuple[Axis, ...]:
        # CNTK lists the batch axis first in Python, last in the file.
        return self._dynamic_axes or ()

    @property
    def axes_known(self) -> bool:
        return self._dynamic_axes is not None

    @property
    def name(self) -> str:
        return self._name

    @name.setter
    def name(self, value: str) -> None:
        if self._name and self._name != value and not _Renaming.allowed:
            raise ValueError(f"Illegal to set name of a Variable with an existing name '{self._name}'.")
        self._name = value

    @property
    def owner(self) -> PrimitiveFunction | None:
        return self._owner

    @property
    def is_input(self) -> bool:
        return self.kind_name == "Input"

    @property
    def is_output(self) -> bool:
        return self.kind_name == "Output"

    @property
    def is_parameter(self) -> bool:
        return self.kind_name == "Parameter"

    @property
    def is_constant(self) -> bool:
        return self.kind_name == "Constant"

    @property
    def is_placeholder(self) -> bool:
        return self.kind_name == "Placeholder"

    @property
    def kind(self) -> int:
        """0 input, 1 output, 2 parameter, 3 constant, 4 placeholder."""
        return ["Input", "Output", "Parameter", "Constant", "Placeholder"].index(self.kind_name)

    def as_parameter(self) -> Parameter:
        """This variable as the parameter that it is.  Raises TypeError for others."""
        if not isinstance(self, Parameter):
            raise TypeError("cannot be converted into a Parameter")
        return self

    def as_constant(self) -> Constant:
        """This variable as the constant that it is.  Raises TypeError for others."""
        if not isinstance(self, Constant):
            raise TypeError("cannot be converted into a Constant")
        return self

    def as_string(self) -> str:
        return repr(self)

    def get_data_type(self) -> int:
        """CNTK's number of the element type: 1 float32, 2 float64, 4 float16, 0 when it is not known yet."""
        if getattr(self, "type_unknown", False):
            return UNKNOWN_TYPE
        return {"float32": 1, "float64": 2, "float16": 4}[self._dtype.name]

    def has_batch_axis(self) -> bool:
        return any(axis.is_batch_axis for axis in self.dynamic_axes)

    def has_sequence_axis(self) -> bool:
        return any(axis.is_sequence_axis for axis in self.dynamic_axes)

    @property
    def sequence_axis(self) -> Axis | None:
        return next((axis for axis in self.dynamic_axes if axis.is_sequence_axis), None)

    def __repr__(self) -> str:
        axes = ", ".join(axis_text(axis) for axis in self.dynamic_axes) if self.axes_known else "???"
        return f"{self.kind_name}('{self._name or self.uid}', [{axes}], {shape_text(self._shape)})"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


class _Stored(Variable):
    """A variable with a value of its own."""

    def __init__(self, kind: str, shape: Any, init: Any, dtype: Any, name: str, uid: str | None):
        if isinstance(init, NDArrayView):
            init = init._array
        # An array has its own shape, whatever is asked for; only a number fills one.
        if isinstance(init, np.generic | np.ndarray | list | tuple) or (shape is None and is_scalar(init)):
            array = np.asarray(init)
            shape = array.shape if shape is None or array.ndim else shape
            if dtype is None:
                dtype = (
                    array.dtype if array.dtype == np.float64 and isinstance(init, np.ndarray) else np.float32
                )
            init = array
        if shape is None:
            raise ValueError(f"{kind}: a shape or an array of initial values is required")
        self.type_unknown = type(dtype) is int and dtype == UNKNOWN_TYPE
        dtype = sanitize_dtype(np.float32 if dtype is None or self.type_unknown else dtype)
        super().__init__(shape, dtype, kind == "Parameter", name=name, kind=kind, uid=uid)
        if is_scalar(init):
            init = Initializer("constant", value=float(init))
        if FREE in self.shape:
            raise ValueError(
                f"Parameter/Constant '{self!r}' has invalid shape '{shape_text(self._shape)}'; it is illegal "
                "for a Parameter/Constant to have a FreeDimension."
            )
        use_default_device()  # chosen (and said so on stderr) with the first value, as in CNTK
        self._init = init.seeded() if isinstance(init, Initializer) else init
        self._tensor: torch.Tensor | None = None

    def set_inferred_shape(self, shape: tuple[int, ...]) -> None:
        """Fill in dimensions that were left to be inferred; the value is drawn on first use."""
        self._shape = shape

    @property
    def tensor(self) -> torch.Tensor:
        """The value on the default device; training updates it in place."""
        if self._tensor is None:
            if not self.known_shape:
                raise ValueError(
                    f"{self!r}: the shape has not been inferred yet; apply the layer to an input"
                )
            dtype = torch_dtype(self._dtype)
            if isinstance(self._init, Initializer):
                value = self._init.draw(self.shape, dtype)
            else:
                array = np.broadcast_to(np.asarray(self._init, self._dtype), self.shape)
                value = torch.tensor(array, dtype=dtype)
            value = value.to(torch_device())
            self._tensor = value.requires_grad_() if self.is_parameter else value
        return self._tensor

    def prefer_channels_last(self) -> None:
        """Lay a convolution kernel out as the convolution wants it; the values do not change."""
        tensor = self.tensor
        tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)

    @property
    def is_initialized(self) -> bool:
        return self._tensor is not None

    @property
    def value(self) -> np.ndarray:
        # contiguous: a kernel may be laid out channels-last, NumPy users expect C order.
        return self.tensor.detach().cpu().contiguous().numpy().copy()

    @value.setter
    def value(self, new: Any) -> None:
        new = new.data if isinstance(new, Value) else new
        array = np.asarray(new, self._dtype)
        if not self.known_shape and array.ndim == len(self.shape):
            self.set_inferred_shape(array.shape)
        if array.shape != self.shape and array.size != 1:
            raise RuntimeError(
                f"Variable '{self!r}' SetValue(): 'source' shape '{shape_text(array.shape)}' differs "
                f"'destination' shape '{shape_text(self._shape)}'."
            )
        with torch.no_grad():
            self.tensor.copy_(torch.tensor(np.broadcast_to(array, self.shape)))

    def set_value(self, value: Any) -> None:
        self.value = value

    def get_value(self) -> Value:
        """The value, as CNTK's object for values."""
        return Value(self.value)

    def asarray(self) -> np.ndarray:
        return self.value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.value, dtype)

    def retype(self, dtype: np.dtype) -> None:
        """Give a literal the type of the operands it stands with."""
        self.type_unknown = False
        self._dtype = dtype
        self._tensor = None


class Parameter(_Stored):
    """A trainable tensor."""

    def __init__(
        self,
        shape: Any = None,
        init: Any = None,
        dtype: Any = _DTYPE,
        device: Any = None,
        name: str = "",
        *,
        uid: str | None = None,
    ):
        dtype = get_default_override(None, dtype=dtype)
        super().__init__("Parameter", shape, 0.0 if init is None else init, dtype, name, uid)


class Constant(_Stored):
    """A tensor that training does not change (batch normalisation's running statistics excepted)."""

    def __init__(
        self,
        value: Any = None,
        shape: Any = None,
        dtype: Any = _DTYPE,
        device: Any = None,
        name: str = "",
        *,
        uid: str | None = None,
    ):
        self.literal = False  # a number in an expression: it takes the type of the other operands
        if value is None:
            if shape is None:
                raise ValueError("you need to specify at least shape or value")
            value = 0.0
        dtype = get_default_override(None, dtype=dtype)
        super().__init__("Constant", shape, value, dtype, name, uid)

    def clone_as(self, dtype: Any) -> Constant:
        """A constant of the same value and name, of another type."""
        return Constant(self.value, self.shape, sanitize_dtype(dtype), name=self.name)

    @staticmethod
    def scalar(value: Any, dtype: Any = np.float32, device: Any = None) -> Constant:
        """A constant without axes."""
        return Constant(value, (), dtype, device)


__getattr__ = module_getattr("cntk.variables")
