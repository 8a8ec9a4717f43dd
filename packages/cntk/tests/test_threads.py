"""How OpenMP's threads wait is set before PyTorch is loaded, and only when nobody has said it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("given", "imports", "expected"),
    [
        ({}, "cntk", "20000"),
        ({"GOMP_SPINCOUNT": "7"}, "cntk", "7"),
        ({"OMP_WAIT_POLICY": "active"}, "cntk", "None"),
        ({}, "torch, cntk", "None"),
    ],
)
def test_threads_that_wait_do_not_spin(given: dict[str, str], imports: str, expected: str) -> None:
    """What is there when PyTorch is loaded: an import hook of the child looks."""
    look = (
        "import os, sys\n"
        "class Look:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'torch': print(os.environ.get('GOMP_SPINCOUNT'))\n"
        "sys.meta_path.insert(0, Look())\n"
        f"import {imports}\n"
    )
    clean = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    environment = {**clean, "PYTHONPATH": os.pathsep.join(sys.path), **given}
    done = subprocess.run(
        [sys.executable, "-c", look], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[0] == expected
