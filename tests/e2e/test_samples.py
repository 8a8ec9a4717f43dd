"""`batchai samples`: the two files that the 2018 document for az fetches with wget."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from harness.mnist import TEST, TRAIN, write_noise

DATA = (
    "https://batchaisamples.blob.core.windows.net/samples/mnist_dataset.zip"
    "?st=2017-09-29T18%3A29%3A00Z&se=2099-12-31T08%3A00%3A00Z&sp=rl&sv=2016-05-31&sr=c&sig=x%2By%3D"
)
SCRIPT = (
    "https://raw.githubusercontent.com/Azure/BatchAI/master/recipes/CNTK/CNTK-GPU-Python/ConvNet_MNIST.py"
)
NAMES = ["Train-28x28_cntk_text.txt", "Test-28x28_cntk_text.txt"]

pytestmark = pytest.mark.skipif(shutil.which("wget") is None, reason="wget is not installed")


def samples(service, *words):
    done = service.batchai("samples", *words)
    assert done.returncode == 0, done.stderr
    return [entry["enabled"] for entry in json.loads(done.stdout)]


def fetch(service, url, directory):
    return service.run(["wget", "-q", "--tries=1", url, "-O", "fetched"], cwd=directory, timeout=60)


def test_from_enabling_to_disabling(new_service, tmp_path):
    service = new_service().up()
    assert samples(service, "show") == [False, False]
    # The account is not there, and the host elsewhere cannot be reached or has it no more.
    assert fetch(service, DATA, tmp_path).returncode != 0

    assert samples(service, "enable") == samples(service, "show") == [True, True]
    assert fetch(service, DATA, tmp_path).returncode == 0
    with zipfile.ZipFile(tmp_path / "fetched") as archive:
        assert archive.namelist() == NAMES
        rows = [archive.read(name).splitlines() for name in NAMES]
    assert [len(lines) for lines in rows] == [1437, 360]
    assert all(line.startswith(b"|labels ") for lines in rows for line in lines)
    assert fetch(service, SCRIPT, tmp_path).returncode == 0
    text = (tmp_path / "fetched").read_text()
    compile(text, "ConvNet_MNIST.py", "exec")
    # By a restart nothing is forgotten.
    service.down()
    service.up()
    assert fetch(service, SCRIPT, tmp_path).returncode == 0

    assert samples(service, "disable") == samples(service, "disable") == [False, False]
    assert fetch(service, DATA, tmp_path).returncode != 0


def test_mnist_when_it_is_given(new_service, tmp_path):
    service = new_service()
    samples(service, "enable", "--mnist-dir", str(write_noise(tmp_path / "mnist")))
    with zipfile.ZipFile(service.home / "samples/mnist_dataset.zip") as archive:
        counts = [len(archive.read(name).splitlines()) for name in NAMES]
    assert counts == [TRAIN, TEST]


def test_what_keeps_it_from_being_enabled_is_said(new_service, tmp_path):
    service = new_service()
    done = service.batchai("samples", "enable", "--mnist-dir", str(tmp_path / "none"))
    assert done.returncode == 1
    assert "train-images-idx3-ubyte" in done.stderr
    assert samples(service, "show") == [False, False]
    # A Python without the packages, as a core installation has it.
    code = "import sys; sys.modules['numpy'] = None; from openbatchai.cli import main"
    words = ["samples", "enable", "--home", str(service.home)]
    command = [sys.executable, "-c", f"{code}; sys.argv[1:] = {words}; main()"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "pip install" in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path(service.home / "samples/mnist_dataset.zip").exists()
