"""Training criteria, built as the blocks of primitives that CNTK stores."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..internal.infer import ALL_STATIC_AXES
from ..internal.missing import module_getattr, unavailable
from ..internal.opcodes import Op
from ..internal.proto import AxisValue
from ..ops.functions import CompositeFunction, make_block

_FIRST_AXIS = AxisValue(0, "staticAxisIdx=0", True)


def cross_entropy_with_softmax(
    output_vector: Any, target_vector: Any, axis: int = -1, name: str = ""
) -> CompositeFunction:
    """Per sample: logsumexp(output) - target . output."""
    if axis != -1:
        raise unavailable("cross_entropy_with_softmax with an axis")

    def body(z: Any, label: Any) -> Any:
        product = ops.times_transpose(z, label)
        attributes = {"axis": _FIRST_AXIS, "reductionOpName": "LogSum", "reductionKeepDimensions": True}
        log_sum = ops._primitive(Op.ReduceElements, [z], attributes)
        return ops.minus(log_sum, product)

    return make_block("CrossEntropyWithSoftmax", body, [output_vector, target_vector], name)


def squared_error(output: Any, target: Any, name: str = "") -> CompositeFunction:
    """Per sample: the sum of squared differences."""

    def body(a: Any, b: Any) -> Any:
        difference = ops.minus(a, b)
        attributes = {
            "axis": AxisValue(ALL_STATIC_AXES, "AllStaticAxes", False),
            "reductionOpName": "Sum",
            "reductionKeepDimensions": False,
        }
        return ops._primitive(Op.ReduceElements, [ops.element_times(difference, difference)], attributes)

    return make_block("SquaredError", body, [output, target], name)


__all__ = ["cross_entropy_with_softmax", "squared_error"]

__getattr__ = module_getattr("cntk.losses")
