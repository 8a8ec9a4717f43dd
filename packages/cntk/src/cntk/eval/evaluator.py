"""The Evaluator: the average of a metric, reported through progress writers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..internal.evaluate import argument_map, batch_sum, feeds_of, sample_count
from ..internal.lower import lower
from ..internal.missing import module_getattr
from ..logging.progress_writer import ProgressWriter
from ..ops import combine
from ..ops.functions import CompositeFunction, to_variable
from ..variables import Variable


def as_list(value: Any) -> list[Any]:
    """A list of what may be None, one object, or several."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


class Evaluator:
    """Computes the sum of `eval_function` over minibatches."""

    def __init__(
        self, eval_function: Any, progress_writers: ProgressWriter | Sequence[ProgressWriter] | None = None
    ):
        self._metric: Variable | None = None if eval_function is None else to_variable(eval_function)
        self._metric_function = eval_function
        self._writers: list[ProgressWriter] = as_list(progress_writers)
        self._graph: CompositeFunction | None = None if self._metric is None else combine([self._metric])

    @property
    def evaluation_function(self) -> Any:
        return self._metric_function

    def progress_writers(self) -> list[ProgressWriter]:
        return list(self._writers)

    def _metric_sum(self, arguments: Any) -> tuple[torch.Tensor, int]:
        """(sum of the metric, number of samples) of a minibatch."""
        if self._metric is None or self._graph is None:
            raise ValueError(
                "Evaluator::TestMinibatch: Cannot test when no evaluation function was specified during "
                "construction."
            )
        program = lower(self._graph, [self._metric], training=False)
        with torch.no_grad():
            given = argument_map(self._graph, arguments)
            run = program.execute(feeds_of(program, given, [self._metric]))
        value, layout = run.values[0], run.layouts[0]
        samples = sample_count(self._metric, value, layout)
        if samples == 0:
            raise ValueError("Trainer: the minibatch has no samples.")
        return batch_sum(value, layout), samples

    def evaluate_minibatch(self, arguments: Any, distributed: bool = False) -> tuple[float, int]:
        """(sum of the metric, number of samples); (0, 0) for an empty dictionary.  Writers are told."""
        if len(arguments) == 0:
            return 0.0, 0
        metric, samples = self._metric_sum(arguments)
        for writer in reversed(self._writers):
            writer.update_test(samples, metric)
        return metric.item(), samples

    def test_minibatch(self, arguments: Any, device: Any = None, distributed: bool = False) -> float:
        """The average metric over a minibatch.

        Raises ValueError without a metric or without samples.
        """
        metric, samples = self.evaluate_minibatch(arguments, distributed)
        if not samples:
            raise ValueError("Trainer: the minibatch has no samples.")
        return metric / samples

    # CNTK keeps its writers in a hash set and happens to go through them backwards.
    def summarize_test_progress(self) -> None:
        """Every writer writes its line about the test and starts a new one."""
        for writer in reversed(self._writers):
            writer.write_test_summary()

    def print_node_timing(self) -> None:
        """Accepted for scripts that call it: nodes are fused into larger steps, so there are no times per
        node; PyTorch's profiler shows what a step spends its time on."""


__getattr__ = module_getattr("cntk.eval.evaluator")
