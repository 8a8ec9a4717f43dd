"""TensorBoardProgressWriter: loss and metric as curves in TensorBoard."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..internal.graph import preorder
from ..ops.functions import Function
from ..variables import Variable
from .events import EventFile, graph_event, image_event, scalar_event
from .progress_writer import ProgressWriter


def _nodes(model: Function) -> Iterator[tuple[str, str, list[str]]]:
    """The graph's operations and leaves, by uid (with the name where there is one)."""

    def name(thing: Any) -> str:
        return f"{thing.name}/{thing.uid}" if thing.name else str(thing.uid)

    def source(variable: Variable) -> str:
        return name(variable if variable.owner is None else variable.owner)

    functions = preorder(model.root_function)
    arguments = {inner: given for function in functions for inner, given in function.block_arguments.items()}

    def real(variable: Variable) -> Variable:
        """What a block's argument or result stands for."""
        while True:
            if variable in arguments:
                variable = arguments[variable]
            elif variable.owner is not None and variable.owner.body is not None:
                variable = variable.owner.body.outputs[variable._index]
            else:
                return variable

    leaves: dict[Variable, None] = {}
    for function in functions:
        if function.body is not None:
            continue  # its parts are shown
        operands = [real(variable) for variable in function.operands]
        leaves.update((variable, None) for variable in operands if variable.owner is None)
        yield name(function), function.op_name, [source(variable) for variable in operands]
    for leaf in leaves:
        yield name(leaf), leaf.kind_name, []


class TensorBoardProgressWriter(ProgressWriter):
    """Writes event files for TensorBoard.

    Scalars: minibatch/avg_loss and minibatch/avg_metric every `freq` minibatches (step: minibatches so far),
    summary/avg_loss and summary/avg_metric per epoch, and the average metric of tests.  In a distributed
    training only the process of rank 0 writes.
    """

    def __init__(
        self,
        freq: int | None = None,
        log_dir: str | os.PathLike[str] = ".",
        rank: int | None = None,
        model: Function | None = None,
    ):
        super().__init__(sys.maxsize if freq is None else freq, 0, sys.maxsize, 0, sys.maxsize, 0)
        self.closed = False
        self._file = EventFile(log_dir) if not rank else None
        if self._file is not None and model is not None:
            self._file.write(graph_event(_nodes(model)))
            self._file.flush()

    def _open(self) -> EventFile | None:
        if self.closed:
            raise RuntimeError("Attempting to use a closed TensorBoardProgressWriter")
        return self._file

    def write_value(self, name: str, value: float, step: int) -> None:
        """A number of one's own.  Raises RuntimeError when the writer is closed."""
        file = self._open()
        if file is not None:
            file.write(scalar_event(str(name), float(value), int(step)))

    def write_image(self, name: str, data: Mapping[Any, Any], step: int) -> None:
        """Images by variable, each [batch, height, width, channels] or [batch, channels, height, width] in
        bytes; the first of each batch is written."""
        file = self._open()
        if file is None:
            return
        for value in data.values():
            image = np.asarray(value)
            while image.ndim > 3:
                image = image[0]
            if image.ndim == 2:
                image = image[..., None]
            if image.shape[-1] not in (1, 3, 4) and image.shape[0] in (1, 3, 4):
                image = np.moveaxis(image, 0, -1)
            if image.ndim != 3 or image.shape[-1] not in (1, 3, 4):
                raise ValueError(f"an image must have 1, 3 or 4 channels, not the shape {image.shape}")
            file.write(image_event(str(name), np.clip(image, 0, 255).astype(np.uint8), int(step)))

    def flush(self) -> None:
        """What was written reaches the file."""
        file = self._open()
        if file is not None:
            file.flush()

    def close(self) -> None:
        """Flush and end; using the writer afterwards raises RuntimeError."""
        file = self._open()
        if file is not None:
            file.close()
        self.closed = True

    def on_write_training_update(
        self, samples: Any, updates: Any, aggregate_loss: Any, aggregate_metric: Any
    ) -> None:
        count = max(samples[1] - samples[0], 1)
        step = self.total_training_updates()
        self.write_value("minibatch/avg_loss", (aggregate_loss[1] - aggregate_loss[0]) / count, step)
        self.write_value("minibatch/avg_metric", (aggregate_metric[1] - aggregate_metric[0]) / count, step)

    def on_write_training_summary(
        self, samples: int, updates: int, summaries: int, aggregate_loss: float, aggregate_metric: float,
        elapsed_milliseconds: int,
    ) -> None:  # fmt: skip
        count = max(samples, 1)
        self.write_value("summary/avg_loss", aggregate_loss / count, summaries)
        self.write_value("summary/avg_metric", aggregate_metric / count, summaries)
        self.flush()  # a curve is looked at while the training goes on

    def on_write_test_summary(
        self, samples: int, updates: int, summaries: int, aggregate_metric: float, elapsed_milliseconds: int
    ) -> None:
        # After training steps the test is a point on their axis.
        step = self.total_training_updates()
        kind = "minibatch" if step else "summary"
        self.write_value(f"{kind}/test_avg_metric", aggregate_metric / max(samples, 1), step or summaries)
        self.flush()


class TrainingSummaryProgressCallback(ProgressWriter):
    """Calls `callback(epoch_index, epoch_loss, epoch_metric, epoch_samples)` (sums, index from 0) after every
    epoch."""

    def __init__(self, epoch_size: int, callback: Any):
        super().__init__(sys.maxsize, 0, sys.maxsize, 0, sys.maxsize, 0)
        self._epoch_size = epoch_size
        self._callback = callback

    def on_write_training_summary(
        self, samples: int, updates: int, summaries: int, aggregate_loss: float, aggregate_metric: float,
        elapsed_milliseconds: int,
    ) -> None:  # fmt: skip
        self._callback(summaries - 1, aggregate_loss, aggregate_metric, samples)
