"""ONNX export: the graph, operation by operation, with a free batch dimension.

A value with a batch axis is a tensor [batch, *shape], one without is just [*shape].  Building the file needs
the package `onnx` (`pip install openbatchai-cntk[onnx]`), which also checks it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..variables import Variable, _Stored
from .graph import preorder
from .infer.reductions import Over, reduced_over, reduction_axes
from .infer.shapes import permutation, slice_ranges, splice_axis
from .infer.windows import convolution_windows, pooling_windows
from .missing import NotAvailableError, unavailable
from .opcodes import Op

if TYPE_CHECKING:
    from ..ops.nodes import PrimitiveFunction

_OPSET = 17

_SAME = {
    Op.Negate: "Neg", Op.Sigmoid: "Sigmoid", Op.StableSigmoid: "Sigmoid", Op.Tanh: "Tanh", Op.ReLU: "Relu",
    Op.Exp: "Exp", Op.Log: "Log", Op.Sqrt: "Sqrt", Op.Floor: "Floor", Op.Abs: "Abs",
    Op.Reciprocal: "Reciprocal",
    Op.Sin: "Sin", Op.Cos: "Cos", Op.Sinh: "Sinh", Op.Cosh: "Cosh", Op.Asin: "Asin", Op.Acos: "Acos",
    Op.StopGradient: "Identity", Op.Dropout: "Identity", Op.NoOp: "Identity", Op.Pass: "Identity",
}  # fmt: skip
_BINARY = {Op.Plus: "Add", Op.Minus: "Sub", Op.ElementTimes: "Mul", Op.Pow: "Pow"}
_COMPARED = {
    Op.Less: "Less", Op.LessEqual: "LessOrEqual", Op.Greater: "Greater", Op.GreaterEqual: "GreaterOrEqual",
    Op.Equal: "Equal",
}  # fmt: skip
_REDUCED = {
    "Sum": "ReduceSum", "Mean": "ReduceMean", "Max": "ReduceMax", "Min": "ReduceMin",
    "LogSum": "ReduceLogSumExp", "Prod": "ReduceProd",
}  # fmt: skip


class _Exporter:
    def __init__(self, root: PrimitiveFunction):
        try:
            import onnx
        except ImportError:
            raise NotAvailableError(
                "ONNX files need the package onnx: pip install openbatchai-cntk[onnx]"
            ) from None
        self.onnx: Any = onnx
        self.root = root
        self.nodes: list[Any] = []
        self.initial: list[Any] = []
        self.inputs: list[Variable] = []
        self._names: dict[Variable, str] = {}
        self._taken: set[str] = set()
        self._bound: dict[Variable, Variable] = {}
        for function in preorder(root):
            self._bound.update(function.block_arguments)
            if any(v.has_sequence_axis() for v in (*function.operands, *function.results)):
                raise unavailable("ONNX export of a model over sequences")

    # Values
    def _real(self, variable: Variable) -> Variable:
        """What a block's argument or result stands for."""
        while True:
            if variable in self._bound:
                variable = self._bound[variable]
            elif variable.owner is not None and variable.owner.body is not None:
                variable = variable.owner.body.outputs[variable._index]
            else:
                return variable

    def _new(self, wish: str) -> str:
        name, number = wish, 1
        while name in self._taken:
            number += 1
            name = f"{wish}_{number}"
        self._taken.add(name)
        return name

    def emit(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        """A node with one output; returns the output's name."""
        output = self._new(f"{kind}_{len(self.nodes)}")
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, value: Any, dtype: Any) -> str:
        name = self._new(f"constant_{len(self.initial)}")
        self.initial.append(self.onnx.numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def reshaped(self, name: str, shape: Sequence[int], batched: bool) -> str:
        dims = [0, *shape] if batched else list(shape)  # 0: as it is
        return self.emit("Reshape", [name, self.constant(dims, np.int64)])

    def name(self, variable: Variable) -> str:
        """The name of a variable's value, which is computed before if it has not been."""
        stack = [self._real(variable)]
        while stack:
            current = stack[-1]
            if current in self._names:
                stack.pop()
                continue
            owner = current.owner
            if owner is None:
                self._leaf(current)
                continue
            waiting = [real for v in owner.operands if (real := self._real(v)) not in self._names]
            if waiting:
                stack.extend(waiting)
                continue
            self._names[current] = self._operation(owner, current)
            stack.pop()
        return self._names[self._real(variable)]

    def _leaf(self, variable: Variable) -> None:
        name = self._new(variable.name or variable.uid)
        self._names[variable] = name
        if isinstance(variable, _Stored):
            self.initial.append(self.onnx.numpy_helper.from_array(variable.value, name))
        else:
            self.inputs.append(variable)

    # Operations
    def _operation(self, function: PrimitiveFunction, result: Variable) -> str:
        make: dict[Op, Callable[[PrimitiveFunction, Variable], str]] = {
            Op.Times: self._times,
            Op.Convolution: self._convolution,
            Op.Pooling: self._pooling,
            Op.ReduceElements: self._reduce,
            Op.Reshape: self._reshape,
            Op.TransposeAxes: self._transpose,
            Op.Slice: self._slice,
            Op.Splice: self._splice,
            Op.BatchNormalization: self._normalization,
            Op.Clip: lambda f, r: self.emit("Clip", self._aligned(f, r)),
            Op.Select: self._select,
            Op.Softmax: lambda f, r: self._columns("Softmax", f, r),
            Op.LogSoftmax: lambda f, r: self._columns("LogSoftmax", f, r),
            Op.Hardmax: lambda f, r: self._columns("Hardmax", f, r),
            Op.ELU: lambda f, r: self.emit("Elu", self._aligned(f, r), alpha=1.0),
            Op.TransposeTimes: self._transpose_times,
        }
        operation = function.op
        if operation in _SAME:
            return self.emit(_SAME[operation], [self._names[self._real(function.operands[0])]])
        if operation in _BINARY:
            return self.emit(_BINARY[operation], self._aligned(function, result))
        if operation in _COMPARED or operation is Op.NotEqual:
            compared = self.emit(_COMPARED.get(operation, "Equal"), self._aligned(function, result))
            compared = self.emit("Not", [compared]) if operation is Op.NotEqual else compared
            return self._cast(compared, result)
        if operation not in make:
            raise unavailable(f"ONNX export of the operation {operation.name}")
        return make[operation](function, result)

    def _cast(self, name: str, like: Variable) -> str:
        return self.emit("Cast", [name], to=self.onnx.helper.np_dtype_to_tensor_dtype(like._dtype))

    def _operand(self, function: PrimitiveFunction, index: int) -> tuple[Variable, str]:
        variable = self._real(function.operands[index])
        return variable, self._names[variable]

    def _aligned(self, function: PrimitiveFunction, result: Variable) -> list[str]:
        """Operands with unit axes after the batch axis where their rank is lower."""
        names = []
        for i in range(len(function.operands)):
            variable, name = self._operand(function, i)
            missing = len(result.shape) - len(variable.shape)
            if variable.has_batch_axis() and missing > 0:
                name = self.reshaped(name, (1,) * missing + variable.shape, True)
            names.append(name)
        return names

    def _select(self, function: PrimitiveFunction, result: Variable) -> str:
        names = self._aligned(function, result)
        condition = self.emit("Cast", [names[0]], to=self.onnx.TensorProto.BOOL)
        return self.emit("Where", [condition, *names[1:]])

    def _columns(self, kind: str, function: PrimitiveFunction, result: Variable) -> str:
        """Over all static axes together."""
        _, name = self._operand(function, 0)
        batched = result.has_batch_axis()
        flat = self.reshaped(name, (math.prod(result.shape),), batched)
        return self.reshaped(self.emit(kind, [flat], axis=-1), result.shape, batched)

    def _times(self, function: PrimitiveFunction, result: Variable) -> str:
        (weight, w), (data, x) = self._operand(function, 0), self._operand(function, 1)
        reduced = len(weight.shape) - int(function.raw_attributes["outputRank"])
        inner = math.prod(weight.shape[:reduced])
        rows = math.prod(data.shape[: len(data.shape) - reduced])
        w = self.reshaped(w, (inner, math.prod(weight.shape[reduced:])), weight.has_batch_axis())
        x = self.reshaped(x, (rows, inner), data.has_batch_axis())
        return self.reshaped(self.emit("MatMul", [x, w]), result.shape, result.has_batch_axis())

    def _transpose_times(self, function: PrimitiveFunction, result: Variable) -> str:
        """A product with the transpose; of vectors in the usual case, a sum of products."""
        (right, b), (left, a) = self._operand(function, 0), self._operand(function, 1)
        if len(left.shape) != 1 or len(right.shape) != 1:
            raise unavailable("ONNX export of times_transpose of matrices")
        product = self.emit("Mul", [a, b])
        summed = self.emit("ReduceSum", [product, self.constant([-1], np.int64)], keepdims=1)
        return self.reshaped(summed, result.shape, result.has_batch_axis())

    def _batched(self, variable: Variable, name: str) -> str:
        """A value with a batch axis, even if it is one of size 1."""
        return name if variable.has_batch_axis() else self.reshaped(name, (1, *variable.shape), False)

    def _unbatched(self, result: Variable, name: str) -> str:
        return name if result.has_batch_axis() else self.reshaped(name, result.shape, False)

    def _convolution(self, function: PrimitiveFunction, result: Variable) -> str:
        attributes = function.raw_attributes
        (weight, w), (data, x) = self._operand(function, 0), self._operand(function, 1)
        if attributes.get("transpose") or len(weight.shape) != len(data.shape) + 1:
            raise unavailable("ONNX export of this kind of convolution")
        rank = len(data.shape) - 1
        windows = convolution_windows(data.shape[1:], weight.shape[2:], attributes)
        values = {key: list(attributes[key])[:rank][::-1] for key in ("strides", "dilation")}
        x = self._cropped(self._batched(data, x), windows)
        name = self.emit(
            "Conv",
            [x, w],
            kernel_shape=list(weight.shape[2:]),
            strides=[int(v) for v in values["strides"]],
            dilations=[int(v) for v in values["dilation"]],
            pads=[max(win.low, 0) for win in windows] + [max(win.high, 0) for win in windows],
            group=int(attributes.get("groups", 1)),
        )
        return self._unbatched(result, name)

    def _cropped(self, name: str, windows: Sequence[Any]) -> str:
        """Cells that no window looks at are cut off (padding cannot be negative)."""
        for i, win in enumerate(windows):
            if win.low < 0 or win.high < 0:
                limits = [max(-win.low, 0), -max(-win.high, 0) or 2**31 - 1]
                parts = [self.constant([v], np.int64) for v in (*limits, 2 + i)]
                name = self.emit("Slice", [name, *parts])
        return name

    def _pooling(self, function: PrimitiveFunction, result: Variable) -> str:
        attributes = function.raw_attributes
        data, x = self._operand(function, 0)
        kernel, strides, windows = pooling_windows(data.shape, attributes)
        # The axes in front of the pooled ones are channels to ONNX, together.
        spatial = data.shape[len(data.shape) - len(kernel) :]
        channels = math.prod(data.shape[: len(data.shape) - len(kernel)])
        x = self._batched(data, x)
        x = self._cropped(self.reshaped(x, (channels, *spatial), True), windows)
        average = int(attributes["poolingType"]) == 1
        options: dict[str, Any] = {
            "kernel_shape": kernel,
            "strides": [int(v) for v in strides],
            "pads": [max(win.low, 0) for win in windows] + [max(win.high, 0) for win in windows],
        }
        if average:
            options["count_include_pad"] = int(bool(attributes.get("includePad")))
        name = self.emit("AveragePool" if average else "MaxPool", [x], **options)
        return self._unbatched(result, self.reshaped(name, result.shape, True))

    def _reduce(self, function: PrimitiveFunction, result: Variable) -> str:
        attributes = function.raw_attributes
        data, x = self._operand(function, 0)
        kind = str(attributes["reductionOpName"])
        if reduced_over(attributes) is not Over.STATIC:
            raise unavailable("ONNX export of a reduction over the batch")
        shift = int(data.has_batch_axis())
        axes = [axis + shift for axis in reduction_axes(attributes, len(data.shape))]
        if kind in ("Argmax", "Argmin") and len(axes) == 1:
            found = self.emit(kind.replace("m", "M", 1), [x], axis=axes[0], keepdims=1)
            name = self._cast(found, result)
        elif kind in _REDUCED:
            inputs, options = [x], {"keepdims": 1, "axes": axes}
            if kind == "Sum":  # whose axes are an operand by now
                inputs, options = [x, self.constant(axes, np.int64)], {"keepdims": 1}
            name = self.emit(_REDUCED[kind], inputs, **options) if axes else x
        else:
            raise unavailable(f"ONNX export of the reduction {kind}")
        return self.reshaped(name, result.shape, result.has_batch_axis())

    def _reshape(self, function: PrimitiveFunction, result: Variable) -> str:
        _, x = self._operand(function, 0)
        return self.reshaped(x, result.shape, result.has_batch_axis())

    def _transpose(self, function: PrimitiveFunction, result: Variable) -> str:
        data, x = self._operand(function, 0)
        order = permutation(function.raw_attributes, len(data.shape))
        if data.has_batch_axis():
            order = [0, *(axis + 1 for axis in order)]
        return self.emit("Transpose", [x], perm=order)

    def _slice(self, function: PrimitiveFunction, result: Variable) -> str:
        data, x = self._operand(function, 0)
        shift = int(data.has_batch_axis())
        for axis, begin, end, step in slice_ranges(function.raw_attributes, data.shape):
            if step < 0:
                raise unavailable("ONNX export of a slice that goes backwards")
            values = (begin, end, axis + shift, step)
            x = self.emit("Slice", [x, *(self.constant([v], np.int64) for v in values)])
        return x

    def _splice(self, function: PrimitiveFunction, result: Variable) -> str:
        operands = [self._operand(function, i) for i in range(len(function.operands))]
        if len({v.has_batch_axis() for v, _ in operands}) > 1 or len({len(v.shape) for v, _ in operands}) > 1:
            raise unavailable("ONNX export of a splice of different ranks")
        axis = splice_axis(function.raw_attributes, [v.shape for v, _ in operands])
        if axis < 0:
            raise unavailable("ONNX export of a splice along a new axis")
        shift = int(result.has_batch_axis())
        return self.emit("Concat", [name for _, name in operands], axis=axis + shift)

    def _normalization(self, function: PrimitiveFunction, result: Variable) -> str:
        data, x = self._operand(function, 0)
        size = data.shape[0] if function.raw_attributes["spatial"] else math.prod(data.shape)
        parts = [self.reshaped(self._operand(function, i)[1], (size,), False) for i in range(1, 5)]
        if not function.raw_attributes["spatial"]:
            x = self.reshaped(x, (size,), True)
        epsilon = float(function.raw_attributes["epsilon"])
        name = self.emit("BatchNormalization", [x, *parts], epsilon=epsilon)
        return self.reshaped(name, result.shape, True)

    # The file
    def model(self) -> bytes:
        helper = self.onnx.helper

        def info(name: str, variable: Variable) -> Any:
            dims: list[Any] = ["batch"] if variable.has_batch_axis() else []
            kind = helper.np_dtype_to_tensor_dtype(variable._dtype)
            return helper.make_tensor_value_info(name, kind, [*dims, *variable.shape])

        outputs = []
        for variable in self.root.results:
            computed = self.name(variable)
            name = self._new(variable.name or variable.uid)
            self.nodes.append(helper.make_node("Identity", [computed], [name]))
            outputs.append(info(name, variable))
        inputs = [info(self._names[variable], variable) for variable in self.inputs]
        graph = helper.make_graph(
            self.nodes, self.root.name or "model", inputs, outputs, initializer=self.initial
        )
        opset = helper.make_opsetid("", _OPSET)
        model = helper.make_model(graph, opset_imports=[opset], producer_name="openbatchai-cntk")
        model.ir_version = 8  # what runtimes for this operation set read
        self.onnx.checker.check_model(model)
        data: bytes = model.SerializeToString()
        return data


def save_onnx(root: PrimitiveFunction, filename: str | os.PathLike[str]) -> None:
    """Write the model as ONNX, in one step.

    Raises NotAvailableError for what has no counterpart here (recurrences, sequences) and when `onnx` is not
    installed, RuntimeError when the file cannot be written.
    """
    data = _Exporter(root).model()
    path = Path(filename)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RuntimeError(f"Cannot open file '{filename}' for writing.") from error
