"""kill -9 before each step of each call: the old or the new state, and nothing left over (crashes.py)."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from harness import crashes

PROGRAM = Path(crashes.__file__)
# Of the steps of each call; the slow campaign takes them all.
STRIDE = 5


def killed(directory, stride):
    """The findings by case. One process for all cases, without threads of pytest's: it forks."""
    command = [sys.executable, PROGRAM, directory, str(stride)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {entry["case"]: entry for entry in found}


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    return killed(tmp_path_factory.mktemp("crashes"), STRIDE)


@pytest.mark.slow
def test_a_kill_before_every_step_leaves_the_old_or_the_new(tmp_path):
    assert [entry for entry in killed(tmp_path, 1).values() if entry["wrong"]] == []


@pytest.mark.parametrize("case", [case.name for case in crashes.CASES])
def test_a_kill_before_a_step_leaves_the_old_or_the_new(campaign, case):
    assert campaign[case]["steps"] >= 3
    assert campaign[case]["wrong"] == []
