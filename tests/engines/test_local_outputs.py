"""Output files that a job replaced by something else: they hold neither the agent nor the service up."""

import os
import signal

import pytest

from openbatchai.domain.errors import Fault
from openbatchai.domain.ports import StepKind


@pytest.fixture
def local(request, open_engine, shares):
    return request.getfixturevalue("bench_of")(open_engine())


OTHERS = {
    "a pipe": "mkfifo",
    "a device without end": "ln -s /dev/zero",
    "a closed terminal": "ln -s /dev/ptmx",
}


@pytest.fixture(params=OTHERS.values(), ids=OTHERS)
def replaced(request):
    """Commands that put it in the place of both outputs."""
    lines = (f"rm -f {name}; {request.param} {name}" for name in ("stdout.txt", "stderr.txt"))
    return "; ".join(('cd "$AZ_BATCHAI_JOB_MOUNT_ROOT/out"', *lines))


def test_a_task_succeeds(local, build, replaced):
    assert local.run(build.task(replaced)).fault is None


def test_a_task_fails(local, build, replaced):
    end = local.run(build.task(f"{replaced}; exit 3"))

    assert (end.fault.code, end.exit_code) == (Fault.JOB_FAILED, 3)


def test_the_next_step_does_not_start(local, build, replaced):
    end = local.run(build.task(build.step(replaced, StepKind.JOB_PREPARATION), "echo x"))

    assert end.fault.code == Fault.TASK_SETUP
    assert "stdout.txt" in end.fault.message


def test_the_agent_is_killed(local, build, shares, replaced, root):
    ready = shares.path() / "ready"
    local.engine.start(build.task(f"{replaced}; touch ready; sleep 1000"))
    local.wait(ready.exists)

    os.kill(int((root / "tasks" / "task-1" / "started").read_text().split()[0]), signal.SIGKILL)

    assert local.end().fault.code == Fault.NODE_AGENT_LOST
