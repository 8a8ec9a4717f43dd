"""Learners whose rule the user writes: in Python, or as a graph."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..internal.lower import lower
from ..ops.functions import CompositeFunction, Function
from ..variables import Constant, Parameter
from .base import Learner, Tensors
from .schedules import learning_parameter_schedule_per_sample


class UserLearner(Learner):
    """Base class: override `update(gradient_values, training_sample_count, sweep_end)`.

    `gradient_values` maps the parameters to their gradients (sums over the minibatch), as arrays or, with
    as_numpy=False, as `NDArrayView`.  What `update` returns is what `Trainer.train_minibatch` returns.
    """

    def __init__(self, parameters: Sequence[Parameter], lr_schedule: Any, as_numpy: bool = True):
        super().__init__(parameters, lr_schedule)
        self.as_numpy = as_numpy

    def apply(self, gradients: Sequence[torch.Tensor], samples: int, is_sweep_end: bool) -> bool:
        self._report_all()
        arrays: dict[Parameter, Any] = {}
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            array = gradient.detach().cpu().contiguous().numpy().copy()
            arrays[parameter] = array if self.as_numpy else _view(array)
        proceed = bool(self.update(arrays, samples, is_sweep_end))
        self._samples += samples
        self._minibatches += 1
        self._sweeps += int(is_sweep_end)
        return proceed

    def update(
        self, gradient_values: Mapping[Parameter, Any], training_sample_count: int, sweep_end: bool = False
    ) -> bool:
        raise NotImplementedError("UserLearner.update must be overridden")


def _view(array: np.ndarray) -> Any:
    from .. import core

    view: Any = core.NDArrayView
    return view.from_dense(array)


class UniversalLearner(Learner):
    """Runs a graph of assignments once per minibatch."""

    def __init__(self, parameters: Sequence[Parameter], gradients: list[Constant], update: CompositeFunction):
        super().__init__(parameters, learning_parameter_schedule_per_sample(1.0))
        self._gradients = gradients
        self._update = update

    def _rule(self, values: Tensors, gradients: Tensors, rate: float, samples: int) -> None:
        for constant, gradient in zip(self._gradients, gradients, strict=True):
            constant.tensor.copy_(gradient)
        program = lower(self._update, self._update.outputs, training=False)
        program.run({})


def universal(
    update_func: Callable[[Any, Any], Function], parameters: Sequence[Parameter]
) -> UniversalLearner:
    """A learner whose rule is a graph: `update_func(parameters, gradients)` gives a Function of assignments.

    Raises ValueError when `update_func` does not take two arguments or a parameter's shape is not known.
    """
    if len(inspect.signature(update_func).parameters) != 2:
        raise ValueError("update_func must be a function that accepts two arguments (parameters, gradients)")
    for parameter in parameters:
        if not parameter.known_shape:
            raise ValueError(
                f"parameter {parameter} has inferred dimensions. Please create the learner after all "
                "parameter shapes have been determined"
            )
    gradients = [Constant(0.0, p.shape, p.dtype, name="grad") for p in parameters]
    result = update_func(list(parameters), list(gradients))
    return UniversalLearner(parameters, gradients, result.root_function.composite())
