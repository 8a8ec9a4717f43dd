"""Every command and program of docs/storage-clients.md, as printed, in the order of the page."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from harness.service import clean_environment

from .azure_cli import PINS as AZ
from .conftest import environment_with
from .test_fsspec import PINS as FSSPEC
from .test_node import home as node_home  # noqa: F401 - a fixture
from .test_sdks import NEWEST

DOCUMENT = Path(__file__).parents[2] / "docs/storage-clients.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def script(python, node):
    """The page as one program for bash; what a program prints is printed."""
    parts = ["set -eu -o pipefail"]
    for language, text in _BLOCK.findall(DOCUMENT.read_text()):
        if language == "python":
            parts.append(f"export connection\n{python} - <<'PROGRAM'\n{text}PROGRAM")
        elif language == "js":
            parts.append(
                f"export connection\ncat > {node}/page.mjs <<'PROGRAM'\n{text}PROGRAM\nnode {node}/page.mjs"
            )
        elif language != "text":
            assert language == "sh", language
            parts.append(text)
    return "\n".join(parts)


def test_the_page(new_service, tmp_path, node_home):  # noqa: F811 - the fixture
    service = new_service()
    if not all(map(shutil.which, ("rclone", "curl", "wget", "bash"))):
        pytest.skip("rclone, curl or wget is not installed")
    az = environment_with(AZ).with_name("az")
    python = environment_with(tuple(dict.fromkeys((*NEWEST, *FSSPEC))))
    bin_directory = tmp_path / "bin"
    bin_directory.mkdir()
    batchai = bin_directory / "batchai"
    batchai.write_text(f'#!/bin/sh\nexec {sys.executable} -m openbatchai.cli "$@"\n')
    batchai.chmod(0o755)
    (bin_directory / "az").symlink_to(az)
    environment = {
        **clean_environment(),
        "PATH": f"{bin_directory}{os.pathsep}{os.environ['PATH']}",
        "BATCHAI_HOME": str(service.home),
        "AZURE_CONFIG_DIR": str(tmp_path / "azure"),
        "RCLONE_CONFIG": "/dev/null",
    }
    done = subprocess.run(
        ["bash", "-c", script(python, node_home)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        timeout=600,
    )
    if (service.home / "endpoint.json").exists():
        service.read_endpoint()
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert (tmp_path / "copy.txt").read_text() == (tmp_path / "again.txt").read_text() == "hello\n"
    assert "['a/hello.txt', 'b.txt']" in done.stdout
    assert "b'hello\\n'" in done.stdout
    assert "losses.csv" in done.stdout
