"""`batchai quickstart` as a user runs it: a process of its own, on a home of its own."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from harness.arm import Arm
from harness.mnist import write_noise
from harness.service import clean_environment

STEPS = (
    "Service started",
    "Resource group quickstart-",
    "File share quickstart-",
    "Training script and data uploaded",
    "Cluster of one STANDARD_NC6",
    "Its node is idle",
    "CNTK job submitted, image microsoft/cntk:2.1-gpu-python3.5-cuda8.0-cudnn6.0",
    "Finished Epoch[1 of 1]",
    "stderr.txt",
    "ConvNet_MNIST_0.dnn",
    "Downloaded ConvNet_MNIST_0.dnn",
    "Removed group, cluster, job and share",
    "Service stopped",
    "Test error",
)


NOT_RUNNING = 3


def status(service):
    return service.batchai("status").returncode


def shares(service):
    """The shares on disk, by the rule that each is a plain directory."""
    return [path for path in (service.home / "storage").rglob("quickstart-*") if path.is_dir()]


def groups(service):
    arm = Arm(service)
    listed = arm.get(f"{arm.subscription}/resourcegroups")["value"]
    return [group["name"] for group in listed if group["name"].startswith("quickstart-")]


def test_a_run_does_every_step_and_leaves_nothing_but_the_model(new_service):
    service = new_service()
    done = service.batchai("quickstart", "--epochs", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    places = [done.stdout.find(step) for step in STEPS]
    assert -1 not in places, dict(zip(STEPS, places, strict=True))
    assert places == sorted(places)
    assert "UCI handwritten digits" in done.stdout
    assert "not judged" in done.stdout
    model = Path(re.search(r"^Model\s+(.+)$", done.stdout, re.MULTILINE)[1])
    assert model.stat().st_size > 390_000
    logs = Path(re.search(r"^Logs\s+(.+)$", done.stdout, re.MULTILINE)[1])
    assert {path.name for path in logs.iterdir()} == {
        "ConvNet_MNIST_0.dnn",
        "execution.log",
        "stderr.txt",
        "stdout.txt",
    }
    assert "Final Results" in (logs / "stderr.txt").read_text()
    assert status(service) == NOT_RUNNING
    assert shares(service) == []
    service.up()
    assert groups(service) == []


def test_a_service_that_ran_before_runs_on_and_kept_files_open_in_a_browser(new_service):
    service = new_service()
    service.up()
    done = service.batchai("quickstart", "--epochs", "1", "--keep")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Using the service that runs" in done.stdout
    assert status(service) == 0
    [name] = groups(service)
    assert f"Kept: resource group {name}" in done.stdout
    # A browser knows neither our proxy nor our CA.
    url = next(word for word in done.stdout.split() if word.startswith("http") and ".dnn" in word)
    answer = httpx.get(url, trust_env=False)
    assert answer.status_code == 200
    assert len(answer.content) > 390_000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_in_the_middle_it_removes_what_it_made(new_service, number):
    service = new_service()
    home = str(service.home)
    with subprocess.Popen(
        [sys.executable, "-m", "openbatchai.cli", "quickstart", "--home", home, "--epochs", "1000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**clean_environment(), "PYTHONUNBUFFERED": "1"},
        # As from a terminal: tests that run in the background have SIGINT ignored, and hand that on.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    ) as process:
        for line in process.stdout:
            if "Finished Epoch[1 of" in line:
                process.send_signal(number)
                break
        rest = process.stdout.read()
    assert process.returncode == 128 + number, rest
    assert "Removed group" in rest
    assert "Service stopped" in rest
    assert "Traceback" not in rest
    assert shares(service) == []
    assert status(service) == NOT_RUNNING


def test_a_model_that_does_not_pass_is_an_error(new_service, tmp_path):
    service = new_service()
    done = service.batchai("quickstart", "--mnist-dir", str(write_noise(tmp_path / "noise")))
    assert "does not pass (below 1.4 %)" in done.stdout
    assert done.returncode == 1
    assert "Removed group" in done.stdout


def test_a_job_that_fails_says_why_and_leaves_nothing(new_service):
    service = new_service({"images": {"microsoft/cntk:*": "/nowhere/bin/python"}}).up()
    done = service.batchai("quickstart", "--epochs", "1")
    assert done.returncode == 1
    assert "The job failed" in done.stderr
    assert "/nowhere/bin/python" in done.stderr
    assert shares(service) == []
    assert groups(service) == []


def test_a_directory_without_mnist_is_refused_before_anything_starts(new_service, tmp_path):
    service = new_service()
    done = service.batchai("quickstart", "--mnist-dir", str(tmp_path))
    assert done.returncode == 1
    assert f"{tmp_path} has no train-images-idx3-ubyte" in done.stderr
    assert "Service started" not in done.stdout


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--epochs", "0"), "--epochs must be at least 1"),
        (("--download", "--mnist-dir", "x"), "not both"),
    ],
)
def test_senseless_options_are_refused(new_service, options, text):
    service = new_service()
    done = service.batchai("quickstart", *options)
    assert done.returncode == 1
    assert text in done.stderr


def test_without_its_packages_it_names_the_line_that_installs_them(new_service, tmp_path):
    # An interpreter that sees our own dependencies, but neither torch nor cntk.
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.abc, sys\n"
        "class Absent(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name in ('torch', 'cntk'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
    )
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = new_service().batchai("quickstart", env={"PYTHONPATH": os.pathsep.join(paths)})
    assert done.returncode == 1
    assert "torch, cntk" in done.stderr
    assert "pip install -c constraints.txt ./packages/cntk '.[quickstart]'" in done.stderr
