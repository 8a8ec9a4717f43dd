"""What is kept of ended runs on the disk, and for how long."""

import os
import time

import pytest

from openbatchai.domain.ports import StepKind, TaskEventKind
from openbatchai.engines import agents
from openbatchai.engines.housekeeping import BULKY, Housekeeping

DAY = 86400


@pytest.fixture
def out(shares):
    return shares.path()


@pytest.fixture
def tasks(root):
    return root / "tasks"


def run(local, tasks, task):
    """Until its agent is gone, too."""
    local.run(task)
    local.wait(lambda: not agents.is_held(tasks / task.id), "the end of the agent")


def bulk(tasks, name):
    return [part for part in BULKY if (tasks / name / part).exists()]


def test_after_a_while_only_what_tells_of_a_run_is_left(local, build, out, tasks):
    run(local, tasks, build.task("echo kept; head -c 100000 /dev/zero > ~/large"))
    keeping = Housekeeping(tasks, keep_s=DAY, keep_bytes=2**40)

    assert keeping.tidy(time.time()) == []
    assert keeping.tidy(time.time() + DAY + 60) == ["task-1"]

    assert bulk(tasks, "task-1") == []
    assert local.events()[-1].kind is TaskEventKind.ENDED
    assert b"task-1" in local.engine.fetch("task-1", "execution.log", 0)
    assert (out / "stdout.txt").read_text() == "kept\n"
    assert keeping.tidy(time.time() + 2 * DAY) == []


def test_for_want_of_room_the_oldest_go_first(local, build, tasks):
    for number in (1, 2, 3):
        names = {"id": f"task-{number}", "run_id": f"run-{number}"}
        run(local, tasks, build.task("head -c 1000000 /dev/zero > ~/large", **names))
        os.utime(tasks / f"task-{number}" / "exit.json", (number, number))

    keeping = Housekeeping(tasks, keep_s=10**12, keep_bytes=2_500_000)

    assert keeping.tidy(10) == ["task-1"]
    assert bulk(tasks, "task-2") == list(BULKY)


def test_a_run_that_goes_on_keeps_its_files(local, build, tasks):
    run(local, tasks, build.task("true"))
    local.engine.start(build.task("sleep 1000", id="task-2"))
    local.until_step(StepKind.TOOLKIT, "task-2")

    assert Housekeeping(tasks, keep_s=0, keep_bytes=0).tidy(time.time() + 1) == []
    assert bulk(tasks, "task-1") == list(BULKY)


def test_what_is_on_shares_is_never_touched(local, build, out, tasks):
    run(local, tasks, build.task('cd "$AZ_BATCHAI_JOB_MOUNT_ROOT/out"; echo x > model; ln -s "$PWD" ~/l'))

    Housekeeping(tasks, keep_s=0, keep_bytes=0).tidy(time.time() + 60)

    assert (out / "model").read_text() == "x\n"
