"""What happens to tasks on a damaged or full disk, and when their agent does not answer."""

import json
import os
import signal
import subprocess
from contextlib import suppress

import psutil
import pytest

from openbatchai.domain.errors import Fault
from openbatchai.domain.ports import MountKind, MountLevel, NodeRequest, Signal, StepKind, TaskKind

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


def fill(file):
    with file.open("wb", buffering=0) as stream, suppress(OSError):
        while True:
            stream.write(bytes(4096))


def agent(root, task_id="task-1"):
    return int((root / "tasks" / task_id / "started").read_text().split()[0])


FAULT = '{"code": 7, "message": "", "details": []}'
END = '{"sequence": 3, "kind": "ended", "at": "2026-01-01T00:00:00Z"'


@pytest.mark.parametrize(
    "content",
    [
        *("", '{"sequence": 3, "ki', "[]", '{"kind": "ended"}', "\0" * 80, "\udcff"),
        '{"sequence": 3, "kind": "ended", "at": "yesterday"}',
        '{"sequence": 3, "kind": "ended", "at": "2026-01-01T00:00:00"}',
        '{"sequence": "3", "kind": "ended", "at": "2026-01-01T00:00:00Z"}',
        '{"sequence": 3, "kind": "started", "at": "2026-01-01T00:00:00Z"}',
        *(
            END + ', "exit_code": "0"}',
            END + ', "fault": {"code": 7, "message": "", "details": []}}',
            END + ', "fault": []}',
        ),
    ],
)
def test_a_damaged_record_of_an_end_is_an_end_and_hides_no_other_task(local, build, root, content):
    local.run(build.task("true"))
    local.run(build.task("true", id="task-2"))
    (root / "tasks" / "task-1" / "exit.json").write_text(content, errors="surrogateescape")

    end, other = local.events("task-1")[-1], local.events("task-2")[-1]

    assert (end.exit_code, end.fault.code) == (None, Fault.NODE_AGENT_LOST)
    assert "damaged" in end.fault.message
    assert end.sequence > local.events("task-1")[-2].sequence
    assert other.fault is None
    assert {e.task_id for e in local.engine.observe({"task-1": 0, "task-2": 0})} == {"task-1", "task-2"}


def test_damaged_lines_of_a_report_are_left_out(local, build, root):
    local.run(build.task("true"))
    with (root / "tasks" / "task-1" / "events.jsonl").open("ab") as events:
        events.write(b'\0\0\0\n[1]\n{}\n{"sequence": 9, "kind": "other", "at": 1}\n')

    assert [event.sequence for event in local.events()] == [1, 2, 3, 4]


def test_an_end_that_is_no_file_is_an_end(local, build, root):
    local.run(build.task("true"))
    (root / "tasks" / "task-1" / "exit.json").unlink()
    (root / "tasks" / "task-1" / "exit.json").mkdir()

    assert local.end().fault.code == Fault.NODE_AGENT_LOST


def test_what_a_service_left_half_made_or_half_removed_goes(local, build, open_engine, root):
    """Not what one that lives is at work on."""
    local.run(build.task("true"))
    gone = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True).stdout.strip()
    remains = [root / "tasks" / f".{kind}-{gone}-1" for kind in ("new", "old")]
    at_work = root / "tasks" / f".new-{os.getpid()}-1"
    for directory in (*remains, at_work):
        (directory / "jobs" / "x").mkdir(parents=True)
        (directory / "task.json").write_text('{"id": "ta')

    local.engine = open_engine()

    assert [directory for directory in (*remains, at_work) if directory.exists()] == [at_work]
    assert local.ended()


@pytest.mark.parametrize("content", ["", '{"id": "task-1", "ki'])
def test_a_damaged_task_ends_lost_and_is_not_begun(local, open_engine, build, root, content):
    """As if the power had failed between its writing and its start."""
    local.run(build.task("true"))
    directory = root / "tasks" / "task-1"
    for name in ("exit.json", "events.jsonl", "started"):
        (directory / name).unlink()
    (directory / "task.json").write_text(content)

    local.engine = open_engine()

    assert local.end().fault.code == Fault.NODE_AGENT_LOST


def test_an_agent_that_was_stopped_is_terminated_all_the_same(local, build, root):
    local.engine.start(build.task("sleep 1000"))
    local.until_step(StepKind.TOOLKIT)
    os.kill(agent(root), signal.SIGSTOP)

    local.engine.signal("task-1", Signal.TERMINATE)

    assert local.end().fault.code == Fault.JOB_TERMINATED


def stopped_as_it_waits(local, root):
    """The agent, stopped while it waits for the end of its one process; and that process."""
    task = psutil.Process(agent(root))
    log = root / "tasks" / "task-1" / "execution.log"
    local.wait(lambda: "Started process" in log.read_text(), "the start of the process")
    local.wait(lambda: task.status() == psutil.STATUS_SLEEPING, "the agent's waiting")
    task.suspend()
    [job] = task.children()
    return job


@pytest.mark.parametrize("code", [0, 3])
def test_what_ended_before_a_termination_ended_by_itself(local, build, root, out, code):
    """The agent learns of both at once: of a job that was over, the end is told, or it would run again."""
    place = '"$AZ_BATCHAI_JOB_MOUNT_ROOT/out/go"'
    local.engine.start(build.task(f"until [ -e {place} ]; do sleep 0.01; done; exit {code}"))
    local.until_step(StepKind.TOOLKIT)
    job = stopped_as_it_waits(local, root)
    (out / "go").touch()
    local.wait(lambda: job.status() == psutil.STATUS_ZOMBIE, "the end of the job's process")

    local.engine.signal("task-1", Signal.TERMINATE)

    end = local.end()
    assert (end.exit_code, end.fault and end.fault.code) == (code, Fault.JOB_FAILED if code else None)


def test_no_step_follows_a_termination(local, build, root, out):
    """Also when the step before it had just ended well."""
    place = '"$AZ_BATCHAI_JOB_MOUNT_ROOT/out/'
    steps = [
        build.step(f'until [ -e {place}go" ]; do sleep 0.01; done', StepKind.JOB_PREPARATION),
        build.step(f'echo > {place}ran"'),
    ]
    local.engine.start(build.task(*steps))
    local.until_step(StepKind.JOB_PREPARATION)
    job = stopped_as_it_waits(local, root)
    (out / "go").touch()
    local.wait(lambda: job.status() == psutil.STATUS_ZOMBIE, "the end of the preparation")

    local.engine.signal("task-1", Signal.TERMINATE)

    assert local.end().fault.code == Fault.JOB_TERMINATED
    assert StepKind.TOOLKIT not in {event.step for event in local.events()}
    assert not (out / "ran").exists()


@pytest.mark.parametrize("place", ["own", "own/deep"])
def test_nothing_is_mounted_behind_a_link(local, build, root, tmp_path, place):
    """Of a job that came to where a node's file systems are mounted before they are, as root."""
    (tmp_path / "elsewhere").mkdir()
    (root / "nodes" / "node-1" / "mounts" / "own").symlink_to(tmp_path / "elsewhere")
    mount = build.mount(
        kind=MountKind.UNMANAGED,
        level=MountLevel.CLUSTER,
        relative_path=place,
        command=f"touch {tmp_path}/ran; true",
    )

    end = local.run(build.task(kind=TaskKind.NODE_PREPARATION, mounts=(mount,)))

    assert (end.exit_code, end.fault.code) == (-1, Fault.UNMANAGED_MOUNT)
    assert "is a link, or behind one" in str(end.fault.details)
    assert not (tmp_path / "ran").exists()


def test_a_node_is_released_though_its_agent_was_stopped(local, build, root):
    local.engine.start(build.task("sleep 1000"))
    local.until_step(StepKind.TOOLKIT)
    os.kill(agent(root), signal.SIGSTOP)

    local.engine.release(["node-1"])

    assert local.end().fault.code == Fault.JOB_TERMINATED


@needs_root
def test_a_run_that_ends_on_a_full_disk_ends_when_there_is_room(open_engine, bench_of, build, root, out):
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(root)], check=True)
    try:
        bench = bench_of(open_engine())
        bench.engine.provision([NodeRequest("node-2", 1, 0)])
        line = 'until [ -e "$AZ_BATCHAI_JOB_MOUNT_ROOT/out/go" ]; do sleep 0.01; done; echo said; exit 3'
        bench.engine.start(build.task(line))
        bench.until_step(StepKind.TOOLKIT)
        fill(root / "filler")
        (out / "go").touch()
        bench.wait(lambda: (out / "stdout.txt").read_text() == "said\n")
        # The agent has tried to write down the end.
        bench.wait(lambda: any((root / "tasks" / "task-1").glob("task.json.*")))
        assert not bench.ended()

        (root / "filler").unlink()

        end = bench.end()
        assert (end.exit_code, end.fault.code) == (3, Fault.JOB_FAILED)
        assert json.loads((root / "tasks" / "task-1" / "task.json").read_text())["id"] == "task-1"
        bench.engine.close()
    finally:
        subprocess.run(["umount", "-l", str(root)], check=True)


@pytest.fixture
def out(shares):
    return shares.path()
