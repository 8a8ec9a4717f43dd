"""ProgressPrinter: CNTK's log lines, character for character."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import torch

from ..device import use_default_device
from ..internal.missing import module_getattr
from ..internal.native import write_stderr
from ..ops.functions import Function
from .progress_writer import ProgressWriter

_RULE = "-" * 67


def _build_block() -> str:
    """The block CNTK prints about its build; tools that read CNTK logs look for it."""
    gpu = use_default_device().type() == 1
    lines = [
        "Built time: Apr 23 2019 21:28:38",
        "Last modified date: Tue Apr 23 21:05:53 2019",
        "Build type: release",
        f"Build target: {'GPU' if gpu else 'CPU-only'}",
    ]
    if gpu:
        lines.append("With 1bit-SGD: no")
    lines += ["With ASGD: yes", "Math lib: mkl"]
    if gpu:
        cudnn_version: Callable[[], int | None] = torch.backends.cudnn.version
        lines += [f"CUDA version: {torch.version.cuda}", f"CUDNN version: {cudnn_version()}"]
    lines += [
        "Build Branch: HEAD",
        "Build SHA1: ae9c9c7c5f9e6072cc9c94c254f816dbdc1c5be6",
        "MPI distribution: Open MPI",
        "MPI version: 1.10.7",
    ]
    body = "".join(f"\t\t{line}\n" for line in lines)
    return f"{_RULE}\nBuild info: \n\n{body}{_RULE}\n"


class ProgressPrinter(ProgressWriter):
    """Prints loss and metric every `freq` minibatches and at the end of every epoch."""

    def __init__(
        self,
        freq: int | None = None,
        first: int = 0,
        tag: str = "",
        log_to_file: str | os.PathLike[str] | None = None,
        rank: int | None = None,
        gen_heartbeat: bool = False,
        num_epochs: int | None = None,
        test_freq: int | None = None,
        test_first: int = 0,
        metric_is_pct: bool = True,
        distributed_freq: int | None = None,
        distributed_first: int = 0,
    ):
        super().__init__(freq, first, test_freq, test_first, distributed_freq, distributed_first)
        write_stderr(_build_block())
        self._tag = f"[{tag}] " if tag else ""
        self._num_epochs = num_epochs
        self._percent = metric_is_pct
        self._heartbeat = gen_heartbeat
        self._last_heartbeat: float | None = None
        self._file: Path | None = None
        if log_to_file is not None:
            path = os.fspath(log_to_file) + ("" if rank is None else f"rank{rank}")
            print(f"Redirecting log to file {path}", flush=True)
            total = 300 if num_epochs is None else num_epochs
            self._file = Path(path)
            self._file.write_text(
                f"{path}\nCNTKCommandTrainInfo: train : {total}\n"
                f"CNTKCommandTrainInfo: CNTKNoMoreCommands_Total : {total}\nCNTKCommandTrainBegin: train\n"
            )
        if freq == 0:
            self._print(" average      since    average      since      examples")
            self._print("    loss       last     metric       last              ")
            self._print(" ------------------------------------------------------")

    def _print(self, line: str) -> None:
        if self._file is None:
            # Flushed line by line: a job's log is read while the job runs.
            print(line, flush=True)
        else:
            with self._file.open("a") as file:
                file.write(line + "\n")

    def log(self, message: str) -> None:
        self._print(message)

    def write(self, key: str, value: Any) -> None:
        self._print(f"{key}: {value}")

    def end_progress_print(self, msg: str = "") -> None:
        self._print("CNTKCommandTrainEnd: train")
        if msg and self._file is not None:
            self._print(msg)

    def _metric(self, total: float, samples: int) -> str:
        average = total / samples if samples else 0.0
        return (
            f"metric = {average * 100:0.2f}% * {samples}"
            if self._percent
            else f"metric = {average:f} * {samples}"
        )

    # What scripts from before progress writers call themselves; averages per sample.
    def update(self, loss: float, minibatch_size: int, metric: float | None = None) -> None:
        """Count a minibatch of this average loss and metric."""
        total = None if metric is None else metric * minibatch_size
        self.update_training(minibatch_size, loss * minibatch_size, total)

    def update_with_trainer(self, trainer: Any, with_metric: bool = False) -> None:
        """Count the trainer's last minibatch."""
        samples = trainer.previous_minibatch_sample_count
        if samples:
            metric = trainer.previous_minibatch_evaluation_average if with_metric else None
            self.update(trainer.previous_minibatch_loss_average, samples, metric)

    def epoch_summary(self, with_metric: bool = False) -> None:
        """Print the epoch's line and start a new one."""
        if self._training.updates:
            self.write_training_summary()

    def avg_loss_since_start(self) -> float:
        return self._training.averages()[0]

    def avg_metric_since_start(self) -> float:
        return self._training.averages()[1]

    def on_training_update_end(self) -> None:
        now = time.monotonic()
        if self._heartbeat and (self._last_heartbeat is None or now - self._last_heartbeat >= 10.0):
            self._last_heartbeat = now
            print("PROGRESS: 0.00%", flush=True)

    def on_write_training_update(
        self, samples: Any, updates: Any, aggregate_loss: Any, aggregate_metric: Any
    ) -> None:
        count = samples[1] - samples[0]
        loss = (aggregate_loss[1] - aggregate_loss[0]) / count if count else 0.0
        metric = aggregate_metric[1] - aggregate_metric[0]
        if self._freq == 0:
            total = max(samples[1], 1)
            self._print(
                f" {aggregate_loss[1] / total:8.3g}   {loss:8.3g}   {aggregate_metric[1] / total:8.3g}   "
                f"{metric / max(count, 1):8.3g}    {samples[1]:10d}"
            )
        else:
            self._print(
                f" Minibatch[{updates[0] + 1:4d}-{updates[1]:4d}]: loss = {loss:0.6f} * {count}, "
                f"{self._metric(metric, count)};"
            )

    def on_write_distributed_sync_update(self, samples: Any, updates: Any, aggregate_metric: Any) -> None:
        self._print(
            f"Distributed training: #Syncs elapsed = {updates[1] - updates[0]}, "
            f"#Samples elapsed = {samples[1] - samples[0]}"
        )

    def on_write_test_update(self, samples: Any, updates: Any, aggregate_metric: Any) -> None:
        count = samples[1] - samples[0]
        metric = aggregate_metric[1] - aggregate_metric[0]
        if self._test_freq == 0:
            total = max(samples[1], 1)
            blank = " " * 8
            self._print(
                f" {blank}   {blank}   {aggregate_metric[1] / total:8.3g}   {metric / max(count, 1):8.3g}   "
                f" {samples[1]:10d}"
            )
        else:
            self._print(
                f" Evaluation Minibatch[{updates[0] + 1:4d}-{updates[1]:4d}]: {self._metric(metric, count)};"
            )

    def on_write_training_summary(
        self, samples: int, updates: int, summaries: int, aggregate_loss: float, aggregate_metric: float,
        elapsed_milliseconds: int,
    ) -> None:  # fmt: skip
        if self._freq == 0:
            return
        speed = samples / (elapsed_milliseconds / 1000) if elapsed_milliseconds else 0.0
        of = "" if self._num_epochs is None else f" of {self._num_epochs}"
        loss = aggregate_loss / samples if samples else 0.0
        self._print(
            f"Finished Epoch[{summaries}{of}]: {self._tag}loss = {loss:0.6f} * {samples}, "
            f"{self._metric(aggregate_metric, samples)} {elapsed_milliseconds / 1000:0.3f}s ({speed:5.1f} "
            "samples/s);"
        )

    def on_write_test_summary(
        self, samples: int, updates: int, summaries: int, aggregate_metric: float, elapsed_milliseconds: int
    ) -> None:
        self._print(
            f"Finished Evaluation [{summaries}]: Minibatch[1-{updates}]: "
            f"{self._metric(aggregate_metric, samples)};"
        )


def log_number_of_parameters(model: Function, trace_level: int = 0) -> None:
    """Print how many parameters the model trains."""
    # CNTK touches the device here, so its line about the device comes first.
    use_default_device()
    parameters = model.parameters
    shapes = [p.shape for p in parameters]
    known = all(p.known_shape for p in parameters)
    total = str(sum(prod(shape) for shape in shapes)) if known else "so far unspecified number of"
    print(f"Training {total} parameters in {len(parameters)} parameter tensors.", flush=True)
    if trace_level > 0:
        print(flush=True)
        for shape in shapes:
            print(f"\t{shape}", flush=True)


__getattr__ = module_getattr("cntk.logging.progress_print")
