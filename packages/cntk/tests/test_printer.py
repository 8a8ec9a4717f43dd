"""ProgressPrinter and the native lines, character for character."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import cntk as C
import numpy as np
import pytest
import torch

BUILD = (
    "-------------------------------------------------------------------\n"
    "Build info: \n"
    "\n"
    "\t\tBuilt time: Apr 23 2019 21:28:38\n"
    "\t\tLast modified date: Tue Apr 23 21:05:53 2019\n"
    "\t\tBuild type: release\n"
    "\t\tBuild target: CPU-only\n"
    "\t\tWith ASGD: yes\n"
    "\t\tMath lib: mkl\n"
    "\t\tBuild Branch: HEAD\n"
    "\t\tBuild SHA1: ae9c9c7c5f9e6072cc9c94c254f816dbdc1c5be6\n"
    "\t\tMPI distribution: Open MPI\n"
    "\t\tMPI version: 1.10.7\n"
    "-------------------------------------------------------------------\n"
)


def update(printer: C.logging.ProgressPrinter, *losses: float, samples: int = 4) -> None:
    for loss in losses:
        printer.update_training(samples, loss * samples, 0.25 * samples)


def untimed(text: str) -> str:
    assert re.search(r" \d+\.\d{3}s \( *\d+\.\d samples/s\);", text) or "Finished Epoch" not in text
    return re.sub(r" \d+\.\d{3}s \( *\d+\.\d samples/s\)", " T", text)


def test_epoch_lines(capsys: pytest.CaptureFixture[str]) -> None:
    printer = C.logging.ProgressPrinter(tag="Training", num_epochs=2)
    update(printer, 0.5, 1.0)
    printer.write_training_summary()
    update(printer, 2.0, samples=3)
    printer.write_training_summary()
    assert untimed(capsys.readouterr().out) == (
        "Finished Epoch[1 of 2]: [Training] loss = 0.750000 * 8, metric = 25.00% * 8 T;\n"
        "Finished Epoch[2 of 2]: [Training] loss = 2.000000 * 3, metric = 25.00% * 3 T;\n"
    )


def test_minibatch_lines(capsys: pytest.CaptureFixture[str]) -> None:
    printer = C.logging.ProgressPrinter(freq=2, first=1, metric_is_pct=False)
    update(printer, 1.0, 2.0, 4.0, 6.0)
    printer.write_training_summary()
    assert untimed(capsys.readouterr().out) == (
        " Minibatch[   1-   1]: loss = 1.000000 * 4, metric = 0.250000 * 4;\n"
        " Minibatch[   2-   2]: loss = 2.000000 * 4, metric = 0.250000 * 4;\n"
        " Minibatch[   3-   4]: loss = 5.000000 * 8, metric = 0.250000 * 8;\n"
        "Finished Epoch[1]: loss = 3.250000 * 16, metric = 0.250000 * 16 T;\n"
    )


def test_geometric_table(capsys: pytest.CaptureFixture[str]) -> None:
    printer = C.logging.ProgressPrinter(freq=0)
    update(printer, 1.0, 2.0, 3.0)
    printer.write_training_summary()  # prints no line in this mode
    assert capsys.readouterr().out == (
        " average      since    average      since      examples\n"
        "    loss       last     metric       last              \n"
        " ------------------------------------------------------\n"
        "        1          1       0.25       0.25             4\n"
        "        2        2.5       0.25       0.25            12\n"
    )


def test_test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    printer = C.logging.ProgressPrinter(test_freq=2)
    for _ in range(3):
        printer.update_test(4, 1.0)
    printer.write_test_summary()
    assert capsys.readouterr().out == (
        " Evaluation Minibatch[   1-   2]: metric = 25.00% * 8;\n"
        "Finished Evaluation [1]: Minibatch[1-3]: metric = 25.00% * 12;\n"
    )


def test_log_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log"
    printer = C.logging.ProgressPrinter(freq=1, log_to_file=str(path), rank=0, num_epochs=3)
    update(printer, 1.0)
    printer.end_progress_print("bye")
    assert capsys.readouterr().out == f"Redirecting log to file {path}rank0\n"
    assert (tmp_path / "logrank0").read_text() == (
        f"{path}rank0\nCNTKCommandTrainInfo: train : 3\nCNTKCommandTrainInfo: CNTKNoMoreCommands_Total : 3\n"
        "CNTKCommandTrainBegin: train\n Minibatch[   1-   1]: loss = 1.000000 * 4, metric = 25.00% * 4;\n"
        "CNTKCommandTrainEnd: train\nbye\n"
    )


def test_rates_are_printed_when_they_change(capsys: pytest.CaptureFixture[str]) -> None:
    x, y = C.input_variable(3), C.input_variable(2)
    z = C.layers.Dense(2)(x)
    rates = C.learning_rate_schedule([0.001, 0.0005], C.UnitType.sample, 8)
    learner = C.momentum_sgd(z.parameters, rates, C.momentum_as_time_constant_schedule([0, 0, 100], 4))
    trainer = C.Trainer(z, C.squared_error(z, y), learner, C.logging.ProgressPrinter())
    for _ in range(4):
        trainer.train_minibatch({x: np.ones((4, 3), np.float32), y: np.ones((4, 2), np.float32)})
    assert capsys.readouterr().out == (
        "Learning rate per 1 samples: 0.001\nMomentum per 1 samples: 0.0\n"
        "Learning rate per 1 samples: 0.0005\nMomentum per 1 samples: 0.9900498337491681\n"
    )


def test_number_of_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    z = C.layers.Dense(3)(C.input_variable((2, 2)))
    C.logging.log_number_of_parameters(z)
    C.logging.log_number_of_parameters(z, trace_level=1)
    C.logging.log_number_of_parameters(C.layers.Dense(3))
    assert capsys.readouterr().out == (
        "Training 15 parameters in 2 parameter tensors.\n"
        "Training 15 parameters in 2 parameter tensors.\n\n\t(2, 2, 3)\n\t(3,)\n"
        "Training so far unspecified number of parameters in 2 parameter tensors.\n"
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="the lines name the CPU")
def test_native_lines_go_to_descriptor_2_at_first_use() -> None:
    script = (
        "import sys, io, cntk as C\n"
        "x = C.input_variable(2); y = C.relu(x)\n"
        "sys.stdout = sys.stderr = io.StringIO()\n"
        "C.logging.log_number_of_parameters(y)\n"
        "C.logging.ProgressPrinter()\n"
        "C.use_default_device()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr == "Selected CPU as the process wide default device.\n" + BUILD
