"""`batchai quickstart` as a user runs it: a process of its own, on a home of its own."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

COMMAND = (sys.executable, "-m", "openbatchai.cli")
SOURCES = str(Path(__file__).parents[2] / "src")
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


@pytest.fixture
def home(tmp_path):
    path = tmp_path / "home"
    yield path
    if batchai("status", path).returncode == 0:
        batchai("down", path)


def environment():
    paths = [SOURCES, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}


def batchai(name, home, *options):
    return subprocess.run(
        [*COMMAND, name, "--home", str(home), *options],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(),
        stdin=subprocess.DEVNULL,
        check=False,
    )


def shares(home):
    """The shares on disk, by the rule that each is a plain directory."""
    return [path for path in home.rglob("quickstart-*") if path.is_dir() and path.parent.name != "quickstart"]


def groups(home):
    listing = (
        "import json, sys\n"
        "from azure.identity import ClientSecretCredential\n"
        "from azure.mgmt.resource.resources import ResourceManagementClient\n"
        "end = json.load(open(sys.argv[1]))\n"
        "login = ClientSecretCredential(end['tenant'], end['client_id'], end['client_secret'])\n"
        "client = ResourceManagementClient(login, end['subscription_id'])\n"
        "print(*(group.name for group in client.resource_groups.list()))\n"
    )
    words = (sys.executable, "-c", listing, str(home / "endpoint.json"))
    command = [*COMMAND, "run", "--home", str(home), "--", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=environment(), check=True
    ).stdout.split()


def test_a_run_does_every_step_and_leaves_nothing_but_the_model(home):
    done = batchai("quickstart", home, "--epochs", "1")
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
    assert "Final Results" in (logs / "stdout.txt").read_text()
    assert batchai("status", home).returncode == 3
    assert shares(home) == []
    assert batchai("up", home, "--detach").returncode == 0
    assert not [name for name in groups(home) if name.startswith("quickstart-")]


def test_a_service_that_ran_before_runs_on_and_kept_files_open_in_a_browser(home):
    assert batchai("up", home, "--detach").returncode == 0
    done = batchai("quickstart", home, "--epochs", "1", "--keep")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Using the service that runs" in done.stdout
    assert batchai("status", home).returncode == 0
    [name] = [name for name in groups(home) if name.startswith("quickstart-")]
    assert f"Kept: resource group {name}" in done.stdout
    # A browser knows neither our proxy nor our CA.
    url = next(word for word in done.stdout.split() if word.startswith("http") and ".dnn" in word)
    answer = httpx.get(url, trust_env=False)
    assert answer.status_code == 200
    assert len(answer.content) > 390_000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_in_the_middle_it_removes_what_it_made(home, number):
    command = [*COMMAND, "quickstart", "--home", str(home), "--epochs", "1000"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
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
    assert shares(home) == []
    assert batchai("status", home).returncode == 3


def test_a_training_that_cannot_work_says_why_and_cleans_up(home, tmp_path):
    empty = tmp_path / "mnist"
    empty.mkdir()
    done = batchai("quickstart", home, "--mnist-dir", str(empty))
    assert done.returncode == 1
    assert f"{empty} has no train-images-idx3-ubyte" in done.stderr
    assert not (home / "endpoint.json").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--epochs", "0"), "--epochs must be at least 1"),
        (("--download", "--mnist-dir", "x"), "not both"),
    ],
)
def test_senseless_options_are_refused(home, options, text):
    done = batchai("quickstart", home, *options)
    assert done.returncode == 1
    assert text in done.stderr


def test_without_its_packages_it_names_the_line_that_installs_them(home, tmp_path):
    # An interpreter that sees our own dependencies, but neither torch nor cntk.
    blocked = tmp_path / "sitecustomize.py"
    blocked.write_text(
        "import importlib.abc, sys\n"
        "class Absent(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name in ('torch', 'cntk'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
    )
    env = environment()
    env["PYTHONPATH"] = os.pathsep.join([str(tmp_path), env["PYTHONPATH"]])
    done = subprocess.run(
        [*COMMAND, "quickstart", "--home", str(home)], capture_output=True, text=True, env=env, check=False
    )
    assert done.returncode == 1
    assert "torch, cntk" in done.stderr
    assert "pip install -c constraints.txt ./packages/cntk '.[quickstart]'" in done.stderr
