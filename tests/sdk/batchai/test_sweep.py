"""Sweeps of parameters as client libraries of 2018 made them, on azure-mgmt-batchai 2.0.0."""

import itertools
import json
from pathlib import Path

import pytest
from harness.venvs import era_pins, interpreter, python_with

DRIVER = Path(__file__).with_name("sweep_2_0_0.py")
RATES, BATCHES = (1e-4, 1e-1), (16, 32)


@pytest.mark.timeout(600)
@pytest.mark.skipif(interpreter() is None, reason="there is no python3.11, on which its packages run")
def test_a_sweep_from_its_parameters_to_its_metrics(service, tmp_path):
    values, written = tmp_path / "values.json", tmp_path / "report.json"
    values.write_text(json.dumps(service.endpoint))
    command = [str(python_with(era_pins("2.0.0"))), "-I", str(DRIVER), str(values), str(written)]
    environment = {"PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"}
    done = service.run(command, env=environment, timeout=500)
    assert done.returncode == 0, done.stderr
    report = json.loads(written.read_text())
    check_grid(report["grid"])
    for job in report["random"]:
        parameters = job["parameters"]
        assert 1e-4 <= parameters["LEARNING_RATE"] <= 1e-1
        assert 16 <= parameters["BATCH_SIZE"] <= 32
        assert job["least"] == loss(parameters["LEARNING_RATE"], parameters["BATCH_SIZE"], 3)
    assert len({job["least"] for job in report["random"]}) == 2
    assert report["files"] == ["a", "b"]
    assert report["failed"] == ["failed", 1]
    assert report["streamed"] == "now it is here\n"
    assert report["again"] == {
        "state": "succeeded",
        "priority": "high",
        "environment": [["PARAM_KEPT", "yes"]],
        "limit": "7 days, 0:00:00",
        "new segment": True,
    }
    assert report["ran"] == 4 + 2 + 2 + 1
    assert [name.partition("_")[0] for name in report["left"]] == ["file", "file", "late"]


def loss(rate, batch, epoch):
    return float(f"{rate * batch / epoch:.6f}")


def check_grid(jobs):
    for job, (rate, batch) in zip(jobs, itertools.product(RATES, BATCHES), strict=True):
        assert job["state"] == "succeeded"
        assert job["environment"] == {"PARAM_LEARNING_RATE": str(rate), "PARAM_BATCH_SIZE": str(batch)}
        assert job["command"] == f"python $AZ_BATCHAI_INPUT_SCRIPT/train.py {rate}"
        losses = [loss(rate, batch, epoch) for epoch in (1, 2, 3)]
        assert (job["last"], job["mean"]) == (losses[-1], sum(losses) / 3)
