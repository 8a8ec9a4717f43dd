"""The machine's clock is set: forward, back, and while things wait for a time."""

import subprocess
import sys

import pytest

from openbatchai.domain.jobs import ExecutionState
from openbatchai.domain.placement import REPLACEMENT_PAUSES
from openbatchai.services import jobs, operations, retention
from openbatchai.wire.batchai.versions import LATEST

from .test_lifecycle import PLACE, job, put_cluster, put_job, states
from .test_nodes import SETUP

HOUR, DAY, YEAR = 3600, 24 * 3600, 365 * 24 * 3600
AUTO = {"minimumNodeCount": 0, "maximumNodeCount": 2}


@pytest.mark.parametrize("jump", [-YEAR, -HOUR, -200])
def test_an_idle_node_leaves_no_later_than_its_idle_time_after_the_clock_was_set_back(plane, jump):
    put_cluster(plane, auto=AUTO)
    put_job(plane)
    plane.settle()
    plane.clock.advance(jump)
    plane.settle()
    plane.clock.advance(299)
    plane.settle()
    assert states(plane) == ["idle"]
    plane.clock.advance(1)
    plane.settle()
    assert states(plane) == []


def test_an_unusable_node_is_replaced_though_the_clock_was_set_back(plane):
    put_cluster(plane, **SETUP)
    plane.settle()
    [first] = plane.rows("nodes")
    plane.clock.advance(-DAY)
    plane.settle()
    plane.clock.advance(REPLACEMENT_PAUSES[0].total_seconds())
    plane.settle()
    [second] = plane.rows("nodes")
    assert (second.attempt, second.id == first.id) == (1, False)


@pytest.mark.parametrize("jump", [YEAR, -YEAR])
def test_what_runs_and_what_waits_goes_on(plane, jump):
    put_cluster(plane)
    put_job(plane, command="sleep 100", constraints={"maxWallClockTime": "PT1H"})
    plane.settle()
    put_job(plane, "next")
    plane.settle()

    plane.clock.advance(jump)
    plane.settle()

    assert [job(plane, name).execution_state for name in ("j", "next")] == ["running", "queued"]
    [running] = [task for task in plane.engine.started if plane.engine.is_running(task.id)]
    plane.engine.finish(running.id, 0)
    plane.settle()
    assert {row.execution_state for row in plane.rows("jobs")} == {ExecutionState.SUCCEEDED}


def test_the_next_phase_of_a_run_has_no_more_than_its_limit(plane):
    put_cluster(plane, count=2)
    extra = {"jobPreparation": {"commandLine": "sleep 1"}, "constraints": {"maxWallClockTime": "PT1H"}}
    put_job(plane, nodes=2, **extra)
    plane.settle()
    preparing = [task for task in plane.engine.started if plane.engine.is_running(task.id)]
    plane.clock.advance(-YEAR)
    for task in preparing:
        plane.engine.finish(task.id, 0)
    plane.settle()
    later = [task for task in plane.engine.started if task.continues]
    assert later
    assert {task.wall_clock_s for task in later} == {HOUR}


@pytest.mark.parametrize("jump", [DAY - 1, -YEAR])
def test_a_poller_finds_its_operation(plane, jump):
    put_cluster(plane)
    put_job(plane, command="sleep 100")
    plane.settle()
    operation = jobs.terminate(plane.context, "rg", PLACE, "j", LATEST.not_found, "me")
    plane.clock.advance(jump)
    plane.settle()
    retention.prune(plane.context)
    assert operations.get(plane.context, operation.id).ended == plane.clock.now()
    plane.clock.advance(-YEAR)
    retention.prune(plane.context)
    assert operations.get(plane.context, operation.id).ended


def test_a_clock_set_back_forgets_nothing(plane):
    put_cluster(plane)
    put_job(plane)
    plane.settle()
    events, runs = len(plane.rows("events")), len(plane.rows("runs"))
    plane.clock.advance(-YEAR)
    retention.prune(plane.context)
    assert (len(plane.rows("events")), len(plane.rows("runs"))) == (events, runs)


# An agent's process whose machine's clock jumps whenever somebody looks at it.
_LIMIT = """
import itertools, sys, time
jumps = itertools.count(1)
real = time.time
time.time = lambda: real() + float(sys.argv[1]) * next(jumps)
time.time_ns = lambda: int(time.time() * 1e9)
from openbatchai.agent import faults
from openbatchai.agent.processes import Processes, block_signals
block_signals()
processes = Processes(float(sys.argv[2]), 0.1)
try:
    pid = processes.start(["/bin/sh", "-c", sys.argv[3]], {"PATH": "/bin:/usr/bin"}, sys.argv[4], sys.argv[4])
    print(processes.next_exit({pid})[1])
except faults.TaskFailed as failed:
    print(failed.code)
finally:
    processes.end_all()
"""


@pytest.mark.parametrize("jump", [YEAR, -YEAR])
@pytest.mark.parametrize(
    ("limit", "command", "outcome"),
    [(1000, "exit 5", "5"), (0.05, "exec sleep 1000", "MaxWallClockTimeExceeded")],
)
def test_the_limit_of_a_job_is_of_seconds_that_passed(jump, limit, command, outcome, tmp_path):
    words = [sys.executable, "-c", _LIMIT, str(jump), str(limit), command, str(tmp_path / "out.txt")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [outcome]
