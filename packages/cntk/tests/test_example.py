"""The example script as a user runs it: a process, two text files, models and a log."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cntk as C
import numpy as np
import pytest

TRAIN, TEST = "Train-28x28_cntk_text.txt", "Test-28x28_cntk_text.txt"
LOSS = re.compile(r"loss = (\d+\.\d{6}) \* (\d+)")


def enlarged(image: np.ndarray) -> np.ndarray:
    """8 x 8 values of 0..16 as 28 x 28 pixels of 0..255."""
    return np.pad(np.kron(image.reshape(8, 8), np.ones((3, 3))), 2) * 255 / 16


@pytest.fixture(scope="module")
def data(digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    images, labels = digits
    folder = tmp_path_factory.mktemp("data")
    for name, rows in ((TRAIN, range(300)), (TEST, range(300, 400))):
        with (folder / name).open("w") as file:
            for i in rows:
                one_hot = " ".join("1" if k == labels[i] else "0" for k in range(10))
                pixels = " ".join(str(int(v)) for v in enlarged(images[i]).ravel())
                file.write(f"|labels {one_hot} |features {pixels}\n")
    return folder


def run(*arguments: Any) -> subprocess.CompletedProcess[str]:
    script = Path(C.__file__).parent / "examples" / "convnet_mnist.py"
    # The tests run beside other work: one thread is not slowed down by waiting for a second core.
    environment = {**os.environ, "PYTHONPATH": str(Path(C.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_it_trains_logs_and_saves(data: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    done = run(data, models, "--epochs", 14)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    lines = done.stderr.split("\n")
    begin = lines.index("Training 98778 parameters in 10 parameter tensors.")
    assert lines[begin + 1 : begin + 3] == ["", "Learning rate per 1 samples: 0.002"]
    epochs = [line for line in lines if line.startswith("Finished Epoch[")]
    assert [line[: line.index(" loss")] for line in epochs] == [
        f"Finished Epoch[{i} of 14]: [Training]" for i in range(1, 15)
    ]
    losses = [LOSS.search(line) for line in epochs]
    assert all(match and match[2] == "300" for match in losses)
    assert float(losses[-1][1]) < 0.5 * float(losses[0][1])  # type: ignore[index]
    result = re.fullmatch(r"Final Results: Minibatch\[1-2\]: errs = (\d+\.\d\d)% \* 100", lines[-3])
    assert result
    assert lines[-4] == lines[-2] == lines[-1] == ""

    assert {p.name for p in models.iterdir()} == {f"ConvNet_MNIST_{i}.dnn" for i in range(14)}
    # The last model is the one that was tested.
    streams = C.io.StreamDefs(
        f=C.io.StreamDef(field="features", shape=784), l=C.io.StreamDef(field="labels", shape=10)
    )
    reader = C.io.MinibatchSource(
        C.io.CTFDeserializer(str(data / TEST), streams), randomize=False, max_sweeps=1
    )
    rows = reader.next_minibatch(100)
    model = C.load_model(str(models / "ConvNet_MNIST_13.dnn"))
    answers = model.eval({model.arguments[0]: rows[reader.streams.f]}).argmax(1)
    wrong = (answers != rows[reader.streams.l].asarray()[:, 0].argmax(1)).sum()
    assert f"{wrong:0.2f}" == result[1]
    # Another run of the same command writes the same numbers.
    again = run(data, tmp_path / "again", "--epochs", 1)
    assert LOSS.search(again.stderr)[0] == losses[0][0]  # type: ignore[index]


def test_wrong_arguments(tmp_path: Path) -> None:
    done = run(tmp_path, tmp_path)
    assert done.returncode == 2
    assert f"{tmp_path / TRAIN} does not exist" in done.stderr
