"""Every command and program of docs/clients.md, as printed, in the order of the page."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from harness.service import clean_environment
from harness.venvs import era_pins

from .azure_cli import PINS as AZ
from .azure_cli import SETTINGS
from .conftest import environment_with

DOCUMENT = Path(__file__).parents[2] / "docs/clients.md"
_BLOCK = re.compile(r"(?:`(\w+\.py)`[^`]*)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def place(tmp_path):
    """A directory with the environment of 2018 in it, and with `batchai` and `az` on a PATH."""
    if not all(map(shutil.which, ("curl", "wget", "bash"))):
        pytest.skip("curl or wget is not installed")
    bin_directory = tmp_path / "bin"
    bin_directory.mkdir()
    batchai = bin_directory / "batchai"
    batchai.write_text(f'#!/bin/sh\nexec {sys.executable} -m openbatchai.cli "$@"\n')
    batchai.chmod(0o755)
    (bin_directory / "az").symlink_to(environment_with(AZ).with_name("az"))
    return tmp_path


@pytest.mark.parametrize("generation", ["0.2.0", "1.0.0", "2.0.0"])
def test_the_page(new_service, place, generation):
    """With each generation in the place of the environment of 2018; the rest is the same."""
    service = new_service()
    era = environment_with(era_pins(generation)).parents[1]
    (place / "era").symlink_to(era)
    parts = ["set -eu -o pipefail"]
    for name, language, text in _BLOCK.findall(DOCUMENT.read_text()):
        if language == "python":
            (place / name).write_text(text)
        elif language == "sh":
            parts.append(text)
        else:
            assert language == "text", language
    environment = {
        **clean_environment(),
        **SETTINGS,
        "PATH": f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "BATCHAI_HOME": str(service.home),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
    }
    environment.pop("AZURE_CONFIG_DIR", None)
    done = subprocess.run(
        ["bash", "-c", "\n".join(parts)],
        capture_output=True,
        text=True,
        cwd=place,
        env=environment,
        timeout=600,
    )
    if (service.home / "endpoint.json").exists():
        service.read_endpoint()
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    listed = ["['work']"] * 2 if generation == "2.0.0" else ["[]"] * 2
    assert re.findall(r"^\[.*\]$", done.stdout, re.MULTILINE) == listed
    assert done.stdout.count('/workspaces/work"') >= 3
    assert re.search(r'"maximumNodeCount": 2', done.stdout)
    assert "\nwork\n" in done.stdout
    assert (place / "ConvNet_MNIST.py").read_text().startswith('"""Train')
