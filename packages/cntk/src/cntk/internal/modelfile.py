"""Model files: the Function graph as a CNTK v2 dictionary and back."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..axis import Axis
from ..variables import FREE, INFERRED, Constant, Parameter, ShapeOrUnknown, Variable, _Stored
from . import proto, uids
from .checks import check_function, required, typed, vector
from .graph import leaves, preorder, producers_first
from .missing import unavailable
from .opcodes import Op
from .proto import FREE_DIMENSION, INFERRED_DIMENSION, AxisValue, Shape, SizeT

if TYPE_CHECKING:
    from ..ops.functions import CompositeFunction, Function, PrimitiveFunction

_COMPOSITE_VERSION, _FUNCTION_VERSION, _VARIABLE_VERSION = 3, 24, 1
_UNKNOWN_SHAPE = 2**64 - 2
_DYNAMIC = 2**31 - 1
_KINDS = {"Input": 0, "Output": 1, "Parameter": 2, "Constant": 3, "Placeholder": 4}
_DATA_TYPES = {np.dtype(np.float32): 1, np.dtype(np.float64): 2, np.dtype(np.float16): 4}
_MARKERS = {INFERRED: INFERRED_DIMENSION, FREE: FREE_DIMENSION}


# Writing


class _Writer:
    def __init__(self, root: PrimitiveFunction):
        self.functions = preorder(root)
        self._names: dict[Any, str] = {}
        self._taken: set[str] = set()
        self.root = root

    def uid(self, thing: Any) -> str:
        """The object's uid; a second object with the same one (from another loaded file) gets a new one."""
        if isinstance(thing, Variable) and thing.owner is not None:
            return f"{self.uid(thing.owner)}_Output_{thing._index}"
        if thing not in self._names:
            name = thing.uid
            while name in self._taken:
                name = uids.new_uid(name.rstrip("0123456789"))
            self._names[thing] = name
            self._taken.add(name)
        return self._names[thing]

    def model(self) -> dict[str, Any]:
        position = {function: i for i, function in enumerate(self.functions)}
        inputs: dict[Variable, dict[str, Any]] = {}
        for i, function in enumerate(self.functions):
            for variable in function.operands:
                if variable in inputs:
                    continue
                if variable.owner is None:
                    inputs[variable] = self.variable(variable)
                elif position[variable.owner] < i:
                    # Its function stands later in the file: a placeholder of that uid holds its place.
                    inputs[variable] = self.variable(variable)
        model: dict[str, Any] = self.composite_head(self.root.composite())
        model["inputs"] = list(inputs.values())
        model["primitive_functions"] = [self.function(f) for f in reversed(self.functions)]
        return model

    def composite_head(self, composite: CompositeFunction) -> dict[str, Any]:
        head: dict[str, Any] = {
            "version": SizeT(_COMPOSITE_VERSION),
            "type": "CompositeFunction",
            "uid": self.uid(composite),
            "root": self.uid(composite.root),
        }
        if composite is self.root.composite() and composite.name:
            head["name"] = composite.name
        return head

    def variable(self, variable: Variable) -> dict[str, Any]:
        kind = "Placeholder" if variable.is_output else variable.kind_name
        entry: dict[str, Any] = {
            "version": SizeT(_VARIABLE_VERSION),
            "type": "Variable",
            "uid": self.uid(variable),
            "kind": SizeT(_KINDS[kind]),
            "data_type": SizeT(_DATA_TYPES[variable._dtype]),
            # Batch axis last, as the file has it.
            "dynamic_axis": [
                AxisValue(_DYNAMIC, axis.name, axis.is_ordered) for axis in reversed(variable.dynamic_axes)
            ],
            "is_sparse": variable.is_sparse,
            "needs_gradient": bool(variable.needs_gradient) and not variable.is_output,
            "shape": _file_shape(variable._shape),
        }
        if variable.name:
            entry["name"] = variable.name
        if isinstance(variable, _Stored):
            entry["value"] = variable.value
        return entry

    def function(self, function: PrimitiveFunction) -> dict[str, Any]:
        from ..ops.user import UserFunction, stored_form

        entry: dict[str, Any] = {
            "version": SizeT(_FUNCTION_VERSION),
            "type": "PrimitiveFunction",
            "uid": self.uid(function),
            "op": SizeT(function.op),
            "inputs": [self.uid(v) for v in function.operands],
            "attributes": function.raw_attributes,
        }
        if function.name:
            entry["name"] = function.name
        if isinstance(function, UserFunction):
            del entry["op"], entry["attributes"]
            entry = {**entry, "type": _USER_FUNCTION, **stored_form(function)}
        if function.own_notes:
            entry["custom_attributes"] = function.own_notes
        if function.body is not None:
            entry["block_function_op_name"] = function.block_name
            entry["block_function_composite"] = self.composite_head(function.body)
            entry["block_function_composite_arguments_map_keys"] = [
                self.uid(v) for v in function.block_arguments
            ]
            entry["block_function_composite_arguments_map_values"] = [
                self.uid(v) for v in function.block_arguments.values()
            ]
        return entry


def _file_shape(shape: ShapeOrUnknown) -> Shape:
    if shape is None:
        return Shape([_UNKNOWN_SHAPE])
    return Shape(_MARKERS.get(dim, dim) for dim in reversed(shape))


def describe(function: PrimitiveFunction) -> dict[str, Any]:
    """What a model file says of one function."""
    return _Writer(function).function(function)


def dump_model(root: PrimitiveFunction) -> bytes:
    """The bytes of a model file."""
    return proto.dump(_Writer(root).model())


def save_model(root: PrimitiveFunction, filename: str | os.PathLike[str]) -> None:
    """Write the file in one step: a reader never sees half a model, a crash leaves the old one.

    What is no plain file (a pipe, a device) is written to as it is.
    """
    if filename is None:
        raise ValueError(
            "invalid null reference in method 'Function_save', argument 2 of type 'std::wstring const &'"
        )
    data = dump_model(root)
    path = Path(filename)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RuntimeError(f"mkdir: error creating intermediate directory {path.parent}") from error
    target = Path(os.path.realpath(path))  # a link stays one
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        if target.exists() and not target.is_file():
            target.write_bytes(data)
            return
        temporary.write_bytes(data)
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RuntimeError(f"Cannot open file '{filename}' for writing.") from error


# Reading


def _python_shape(shape: Shape) -> ShapeOrUnknown:
    if tuple(shape) == (_UNKNOWN_SHAPE,):
        return None
    markers = {value: key for key, value in _MARKERS.items()}
    return tuple(markers.get(dim, dim) for dim in reversed(shape))


_COMPOSITE, _PRIMITIVE, _VARIABLE = (
    "N4CNTK17CompositeFunctionE",
    "N4CNTK17PrimitiveFunctionE",
    "N4CNTK8VariableE",
)
_USER_FUNCTION = "UserDefinedFunction"
_REPEATS = 1000  # how often a file's functions may be gone through, as parts of nested blocks


class _Reader:
    def __init__(self, model: dict[str, Any], user_functions: bool):
        self._model = model
        self._user_functions = user_functions
        self._variables: dict[str, Variable] = {}
        self._functions: dict[str, PrimitiveFunction] = {}
        self._stand_ins: dict[Variable, Variable] = {}
        self._arguments: dict[Variable, Variable] = {}  # of all blocks
        self._sizes: dict[PrimitiveFunction, int] = {}  # of blocks, with all that is nested in them

    def build(self) -> PrimitiveFunction:
        def get(key: str) -> Any:
            return required(self._model, key, _COMPOSITE, _COMPOSITE_VERSION)

        get("version")
        kind = typed(get("type"), str)
        if kind != "CompositeFunction":
            raise RuntimeError(f"Unexpected 'type':'{kind}' in place of 'CompositeFunction'.")
        root_uid, inputs, functions = typed(get("root"), str), get("inputs"), get("primitive_functions")
        for entry in vector(inputs, dict):
            variable = self._variable(entry)
            self._variables[variable.uid] = variable
        for entry in vector(functions, dict):
            self._function(entry)
        for function in self._functions.values():
            function.operands = [self._stand_ins.get(v, v) for v in function.operands]
            function.block_arguments = {
                k: self._stand_ins.get(v, v) for k, v in function.block_arguments.items()
            }
            if function.op is Op.Combine:
                function.results = list(function.operands)
        self._check_order()
        root = self._functions.get(root_uid)
        if root is None:
            raise RuntimeError(f"The root function '{root_uid}' is not found in the dictionary.")
        # Stand-ins carry the stored shape; now the real operands decide.
        for function in producers_first([root]):
            function.infer()
        return root

    def _check_order(self) -> None:
        """A value must not depend on itself, unless through a delay."""
        values = {k: self._stand_ins.get(v, v) for k, v in self._arguments.items()}

        def sources(node: Any) -> list[Any]:
            if isinstance(node, Variable):
                return [values[node]] if node in values else [node.owner] if node.owner is not None else []
            body = [node.body.root] if node.body is not None else []
            operands = node.operands[1:] if node.op in (Op.PastValue, Op.FutureValue) else node.operands
            return [*body, *operands, *node.block_arguments.values()]

        done: set[Any] = set()
        for start in self._functions.values():
            path: list[tuple[Any, Iterator[Any]]] = [(start, iter(sources(start)))]
            open_nodes = {start}
            while path:
                node, following = path[-1]
                source = next(following, None)
                if source is None:
                    path.pop()
                    open_nodes.discard(node)
                    done.add(node)
                elif source in open_nodes:
                    raise RuntimeError(f"The value of '{start.uid}' in a model depends on itself.")
                elif source not in done:
                    open_nodes.add(source)
                    path.append((source, iter(sources(source))))

    def _variable(self, entry: dict[str, Any]) -> Variable:
        def get(key: str) -> Any:
            return required(entry, key, _VARIABLE, _VARIABLE_VERSION)

        uid, kind = typed(get("uid"), str), int(typed(get("kind"), SizeT, int))
        name = typed(entry.get("name", ""), str)
        if uid in self._variables:
            raise RuntimeError(f"The uid '{uid}' occurs more than once in a model.")
        _reserve(uid)
        if kind in (_KINDS["Parameter"], _KINDS["Constant"]):
            value = typed(get("value"), np.ndarray)
            if value.dtype not in _DATA_TYPES:
                raise unavailable(f"a {value.dtype} value in a model")
            if kind == _KINDS["Parameter"]:
                return Parameter(value.shape, value, value.dtype, name=name, uid=uid)
            return Constant(value, value.shape, value.dtype, name=name, uid=uid)
        if kind not in (_KINDS["Input"], _KINDS["Placeholder"]):
            raise RuntimeError(f"A variable of kind {kind} cannot be stored in a model.")
        axes = [
            Axis(None, axis.name, axis.is_ordered)
            for axis in reversed(vector(entry.get("dynamic_axis", []), AxisValue))
        ]  # the file has the batch axis last
        types = {code: dtype for dtype, code in _DATA_TYPES.items()}
        dtype = types.get(int(typed(get("data_type"), SizeT, int)), np.dtype(np.float32))
        return Variable(
            _python_shape(typed(get("shape"), Shape)),
            dtype,
            typed(entry.get("needs_gradient", False), bool),
            typed(entry.get("is_sparse", False), bool),
            axes,
            name,
            kind="Input" if kind == _KINDS["Input"] else "Placeholder",
            uid=uid,
        )

    def _lookup(self, uid: str) -> Variable:
        if uid not in self._variables:
            raise RuntimeError(f"The input '{uid}' of a function is not found in the dictionary.")
        return self._variables[uid]

    def _function(self, entry: dict[str, Any]) -> None:
        from ..ops.functions import CompositeFunction, PrimitiveFunction
        from ..ops.user import StoredUserFunction

        def get(key: str) -> Any:
            return required(entry, key, _PRIMITIVE, _FUNCTION_VERSION)

        kind = typed(get("type"), str)
        if kind == _USER_FUNCTION:
            self._user_function(entry)
            return
        if kind != "PrimitiveFunction":
            raise unavailable(f"the function type '{kind}' in a model")
        uid, code = typed(get("uid"), str), int(typed(get("op"), SizeT, int))
        name = typed(entry.get("name", ""), str)
        if code not in Op.__members__.values():
            raise RuntimeError(f"Unknown operation code {code} in a model.")
        op = Op(code)
        _reserve(uid)
        if uid in self._functions:
            raise RuntimeError(f"The uid '{uid}' occurs more than once in a model.")
        operands = [self._lookup(v) for v in vector(get("inputs"), str)]
        attributes = typed(get("attributes"), dict)
        check_function(op, len(operands), attributes)
        options: dict[str, Any] = {}
        size = 1
        if op is Op.Block:
            keys, values = (
                [self._lookup(v) for v in vector(get(f"block_function_composite_arguments_map_{part}"), str)]
                for part in ("keys", "values")
            )
            head = get("block_function_composite")
            inner = self._functions.get(typed(required(head, "root", _COMPOSITE, _COMPOSITE_VERSION), str))
            if inner is None:
                raise RuntimeError(f"The body of block '{uid}' is not found in the dictionary.")
            if len(keys) != len(values) or len(set(keys)) != len(keys):
                raise RuntimeError(f"The arguments of block '{uid}' do not match its placeholders.")
            if any(not key.is_placeholder or key in self._arguments for key in keys):
                raise RuntimeError(f"The arguments of block '{uid}' are not placeholders of its own.")
            arguments = dict(zip(keys, values, strict=True))
            self._arguments.update(arguments)
            size = self._size(inner)
            options = {
                "body": CompositeFunction(inner, uid=typed(head.get("uid", ""), str) or None),
                "block_name": typed(get("block_function_op_name"), str),
                "block_arguments": arguments,
            }
        if op is Op.CustomProxyOp and self._user_functions:
            function: PrimitiveFunction = StoredUserFunction(operands, name, uid)
        else:
            function = PrimitiveFunction(op, operands, attributes, name, uid=uid, **options)
        function.own_notes = dict(typed(entry.get("custom_attributes", {}), dict))
        self._add(uid, function, size)

    def _user_function(self, entry: dict[str, Any]) -> None:
        from ..ops.user import StoredUserFunction, from_stored

        def get(key: str) -> Any:
            return required(entry, key, _PRIMITIVE, _FUNCTION_VERSION)

        uid, name = typed(get("uid"), str), typed(entry.get("name", ""), str)
        _reserve(uid)
        if uid in self._functions:
            raise RuntimeError(f"The uid '{uid}' occurs more than once in a model.")
        operands = [self._lookup(v) for v in vector(get("inputs"), str)]
        function: PrimitiveFunction
        if self._user_functions:
            function = StoredUserFunction(operands, name, uid)
        else:
            function = from_stored(entry, operands, name)
            function.uid = uid
        function.own_notes = dict(typed(entry.get("custom_attributes", {}), dict))
        self._add(uid, function, 1)

    def _add(self, uid: str, function: PrimitiveFunction, size: int) -> None:
        self._functions[uid] = function
        self._sizes[function] = size
        op = function.op
        for i, result in enumerate(function.results):
            if op is Op.Combine:
                self._variables.setdefault(f"{uid}_Output_{i}", result)
                continue
            stand_in = self._variables.get(result.uid)
            if stand_in is not None:
                self._stand_ins[stand_in] = result
            self._variables[result.uid] = result

    def _size(self, inner: PrimitiveFunction) -> int:
        """The functions in a body, counting those of its blocks; bodies in bodies could grow that number
        exponentially."""
        size = 1 + sum(self._sizes[function] for function in producers_first([inner]))
        if sum(self._sizes.values()) + size > _REPEATS * (len(self._functions) + 1):
            raise RuntimeError("The blocks of a model are nested too deeply.")
        return size


def _reserve(uid: str) -> None:
    # A number of more digits than any counter reaches is no number of ours.
    match = re.search(r"(?<!\d)(\d{1,15})(?:_Output_\d+)?$", uid[-40:])
    if match:
        uids.reserve(int(match.group(1)))


def read_model(data: bytes, user_functions: bool = False) -> PrimitiveFunction:
    """The graph in a model file's bytes; `user_functions`: with places for them, which cannot be computed.

    Raises RuntimeError for damaged data.
    """
    try:
        model = proto.load(data)
    except proto.ParseError as error:
        raise RuntimeError("Failed to parse Dictionary from the input stream.") from error
    if not model:
        raise RuntimeError("Failed to parse Dictionary from the input stream.")
    return _Reader(model, user_functions).build()


def load_model_file(model: Any) -> PrimitiveFunction:
    """From a path, or from the bytes of a file."""
    if isinstance(model, (bytes, bytearray, memoryview)):
        return read_model(bytes(model))
    if not isinstance(model, (str, os.PathLike)) or not os.fspath(model) or not Path(model).exists():
        raise ValueError(f"Cannot load the model {model} that is neither a file nor a byte buffer.")
    if Path(model).is_dir():
        raise RuntimeError("basic_filebuf::underflow error reading the file: Is a directory")
    return read_model(Path(model).read_bytes())


def _kind(function: PrimitiveFunction) -> tuple[Op, str]:
    # A file does not say which class a user function is of.
    return function.op, "" if function.op is Op.CustomProxyOp else function.display_name


def restore_model(
    function: Function, filename: str | os.PathLike[str], check_only: bool = False
) -> Callable[[], None]:
    """Take over the values of a saved model of the same structure; or, with `check_only`, return the call
    that does it.

    Raises RuntimeError for a missing or damaged file, ValueError for a model of another structure.
    """
    if not Path(filename).is_file():
        raise RuntimeError(f"Cannot open file '{filename}' for reading.")
    loaded = read_model(Path(filename).read_bytes(), user_functions=True)
    mine = function.root_function
    ours, theirs = preorder(mine), preorder(loaded)
    stored, restored = leaves(mine), leaves(loaded)
    same = [_kind(f) for f in ours] == [_kind(f) for f in theirs] and [
        (v.kind_name, v.shape, v.name) for v in stored
    ] == [(v.kind_name, v.shape, v.name) for v in restored]
    if not same:
        raise ValueError(
            f"Function '{function!r}' being restored is not equivalent (isomorphic) to the Function "
            f"'{loaded.composite()!r}' loaded from checkpoint."
        )

    def take_over() -> None:
        for old, new in zip(stored, restored, strict=True):
            if isinstance(old, _Stored) and isinstance(new, _Stored):
                old.value = new.value

    if not check_only:
        take_over()
    return take_over
