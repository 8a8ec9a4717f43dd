"""The local engine with real processes that die, hide, refuse to end or are killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from openbatchai.domain.errors import Fault
from openbatchai.domain.ports import (
    MountKind,
    MountLevel,
    Process,
    Signal,
    Step,
    StepKind,
    TaskEventKind,
    TaskKind,
)
from openbatchai.engines import cgroups
from openbatchai.engines.limits import Limits

# A grandchild that leaves the session, ignores TERM and tells its pid.
STUBBORN = """
cd "$AZ_BATCHAI_JOB_MOUNT_ROOT/out"
setsid bash -c 'trap "" TERM HUP INT; echo $$ > pid; while :; do sleep 1; done' &
trap "" TERM
while :; do sleep 1; done
"""


def pid_in(file: Path) -> int | None:
    text = file.read_text() if file.exists() else ""
    return int(text) if text.endswith("\n") else None


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def out(shares):
    return shares.path()


@pytest.fixture
def agent_of(root):
    def find(task_id="task-1"):
        return int((root / "tasks" / task_id / "started").read_text().split()[0])

    return find


def test_a_process_killed_by_a_signal_counts_128_more(local, build):
    end = local.run(build.task("kill -9 $$"))

    assert (end.exit_code, end.fault.code) == (137, Fault.JOB_FAILED)


def test_killing_its_own_process_group_does_not_reach_the_agent(local, build):
    end = local.run(build.task("kill -TERM 0"))

    assert (end.exit_code, end.fault.code) == (143, Fault.JOB_FAILED)


def test_termination_reaches_processes_that_left_the_session_and_ignore_it(local, build, out):
    local.engine.start(build.task(STUBBORN))
    local.wait(lambda: pid_in(out / "pid") is not None)
    pid = pid_in(out / "pid")

    local.engine.signal("task-1", Signal.TERMINATE)

    end = local.end()
    assert end.fault.code == Fault.JOB_TERMINATED
    # It may have been preempted as well: the agent is not told.
    assert "by the user" not in end.fault.message
    assert not is_alive(pid)


def test_what_a_successful_job_leaves_running_is_ended(local, build, out):
    command = 'setsid sleep 1000 & echo $! > "$AZ_BATCHAI_JOB_MOUNT_ROOT/out/pid"'

    end = local.run(build.task(command))

    assert end.exit_code == 0
    assert not is_alive(pid_in(out / "pid"))


def test_a_task_whose_agent_is_killed_is_lost_with_its_last_words(local, build, out, agent_of, root):
    local.engine.start(build.task("echo famous last words; " + STUBBORN))
    local.wait(lambda: pid_in(out / "pid") is not None)
    pid = pid_in(out / "pid")

    os.kill(agent_of(), signal.SIGKILL)

    end = local.end()
    assert (end.exit_code, end.fault.code) == (None, Fault.NODE_AGENT_LOST)
    assert ("stdout.txt", "famous last words") in end.fault.details
    assert not is_alive(pid)
    assert not list((root / "tasks" / "task-1" / "jobs" / "ws" / "exp" / "job" / "mounts").iterdir())


def test_a_child_without_its_environment_goes_with_a_killed_agent(local, build, out, agent_of):
    """Found by the session, since it no longer carries the task id."""
    local.engine.start(build.task('env -i sleep 1000 & echo $! > "$AZ_BATCHAI_JOB_MOUNT_ROOT/out/pid"; wait'))
    local.wait(lambda: pid_in(out / "pid") is not None)
    pid = pid_in(out / "pid")

    os.kill(agent_of(), signal.SIGKILL)

    local.end()
    assert not is_alive(pid)


def test_a_lost_task_is_never_run_again(local, open_engine, build, out, agent_of):
    task = build.task('echo run >> "$AZ_BATCHAI_JOB_MOUNT_ROOT/out/runs"; sleep 1000')
    local.engine.start(task)
    local.wait(lambda: (out / "runs").exists())
    os.kill(agent_of(), signal.SIGKILL)
    local.end()

    local.engine.start(task)
    open_engine().start(task)

    assert (out / "runs").read_text() == "run\n"
    assert [e.kind for e in local.events()].count(TaskEventKind.ENDED) == 1


def test_an_agent_killed_while_nobody_watched_is_found_lost(local, open_engine, build, agent_of):
    local.engine.start(build.task("sleep 1000"))
    local.until_step(StepKind.TOOLKIT)
    local.engine.close()
    os.kill(agent_of(), signal.SIGKILL)

    second = open_engine()
    local.engine = second

    assert local.end().fault.code == Fault.NODE_AGENT_LOST


def test_two_engines_starting_one_task_run_it_once(local, open_engine, build, out):
    task = build.task('echo run >> "$AZ_BATCHAI_JOB_MOUNT_ROOT/out/runs"')

    for engine in (local.engine, open_engine(), open_engine()):
        engine.start(task)

    assert local.end().exit_code == 0
    assert (out / "runs").read_text() == "run\n"


def test_agents_started_together_on_one_directory_run_it_once(local, build, out, root):
    local.engine.start(build.task('echo run >> "$AZ_BATCHAI_JOB_MOUNT_ROOT/out/runs"; sleep 0.3'))
    agent = Path(sys.modules["openbatchai.agent"].__file__).parent / "__main__.py"
    command = [sys.executable, "-I", "-S", str(agent), str(root / "tasks" / "task-1")]

    rivals = [subprocess.Popen(command) for _ in range(4)]

    assert [rival.wait(30) for rival in rivals] == [0, 0, 0, 0]
    assert local.end().exit_code == 0
    assert (out / "runs").read_text() == "run\n"


def test_a_task_outlives_the_engine_that_started_it(local, open_engine, build, out):
    local.engine.start(
        build.task('until [ -e "$AZ_BATCHAI_JOB_MOUNT_ROOT/out/go" ]; do sleep 0.02; done; exit 4')
    )
    local.until_step(StepKind.TOOLKIT)
    local.engine.close()

    local.engine = open_engine()
    local.engine.on_change(local.woken.set)
    assert not local.ended()
    (out / "go").touch()

    assert local.end().exit_code == 4


def test_an_end_while_no_engine_was_there_is_found(local, open_engine, build, agent_of):
    local.engine.start(build.task("exit 6"))
    local.wait(lambda: local.ended())
    local.engine.close()

    local.engine = open_engine()

    assert local.events()[-1].exit_code == 6


def test_a_task_decided_but_not_begun_is_begun_by_the_next_engine(local, open_engine, build, root):
    """As if the service died between writing the task's directory and starting its agent."""
    local.run(build.task("true"))
    directory = root / "tasks" / "task-1"
    local.engine.start(build.task("true", id="task-2"))
    local.end("task-2")
    local.engine.close()
    for name in ("exit.json", "started", "events.jsonl"):
        (directory / name).unlink()
    _give_back_its_task(directory, root)

    local.engine = open_engine()

    assert local.end().exit_code == 0


def _give_back_its_task(directory: Path, root: Path) -> None:
    """The end wiped task.json; write one with the least an agent needs."""
    job = directory / "jobs" / "ws" / "exp" / "job"
    process = {"command_line": "true", "stdout": "o", "stderr": "e", "environment": {}, "service": False}
    spec = {
        "id": "task-1", "kind": "run", "node_id": "node-1", "run_id": "run-1", "notes": [],
        "bash": "/bin/bash", "cwd": str(job / "temp"), "wake": str(root / "wake"),
        "cpus": None, "wall_clock_s": None, "grace_s": 1,
        "host_environment": {"PATH": os.defpath}, "environment": {}, "task_environment": {}, "secrets": {},
        "identity": {"OPENBATCHAI_TASK_ID": "task-1"}, "mounts": [], "directories": [], "files": {},
        "emptied": None, "user": None, "cgroup": None, "output_bytes": None, "log": None, "container": None,
        "steps": [{"kind": "toolkit", "processes": [process]}],
    }  # fmt: skip
    (directory / "task.json").write_text(json.dumps(spec))


def test_the_wall_clock_ends_a_task(local, build, out):
    end = local.run(build.task(STUBBORN, wall_clock_s=0.5))

    assert (end.exit_code, end.fault.code) == (None, Fault.WALL_CLOCK_EXCEEDED)
    if pid := pid_in(out / "pid"):
        assert not is_alive(pid)


def test_the_first_failure_ends_the_other_processes_of_a_step(local, build, out):
    processes = tuple(
        Process(
            command,
            f"$AZ_BATCHAI_JOB_MOUNT_ROOT/out/{name}.txt",
            f"$AZ_BATCHAI_JOB_MOUNT_ROOT/out/{name}.err",
        )
        for name, command in (("a", "echo $$; exec sleep 1000"), ("b", "exit 5"))
    )

    end = local.run(build.task(Step(StepKind.TOOLKIT, processes)))

    assert end.exit_code == 5
    if text := (out / "a.txt").read_text():
        assert not is_alive(int(text))


def test_a_service_process_does_not_decide_and_is_ended(local, build, out):
    service = Process("echo $$; exec sleep 1000", "../service.txt", "../service.err", service=True)
    failing = Process("exit 9", "../failing.txt", "../failing.err", service=True)
    worker = Process("sleep 0.1; exit 0", "../worker.txt", "../worker.err")

    end = local.run(build.task(Step(StepKind.TOOLKIT, (service, failing, worker))))

    assert (end.exit_code, end.fault) == (0, None)


def test_job_preparation_may_leave_a_daemon_for_the_job(local, build, out):
    preparation = build.step('sleep 1000 & echo $! > "$AZ_BATCHAI_JOB_TEMP/pid"', StepKind.JOB_PREPARATION)

    end = local.run(build.task(preparation, 'kill -0 "$(cat "$AZ_BATCHAI_JOB_TEMP/pid")"'))

    assert end.exit_code == 0


def test_output_can_be_read_while_the_job_runs(local, build, out):
    local.engine.start(
        build.task(
            "python -c 'import time; print(\"first line\"); time.sleep(1000)'",
            id="task-1",
        )
    )

    local.wait(lambda: (out / "stdout.txt").exists() and (out / "stdout.txt").read_text() == "first line\n")

    assert not local.ended()
    assert (out / "stderr.txt").read_text() == ""


def test_release_waits_until_nothing_runs_any_more(local, build, out):
    local.engine.start(build.task(STUBBORN))
    local.wait(lambda: pid_in(out / "pid") is not None)
    pid = pid_in(out / "pid")

    local.engine.release(["node-1"])

    assert not is_alive(pid)
    assert local.ended()


def test_a_task_gets_no_descriptor_of_the_service(local, build, out, tmp_path):
    with (tmp_path / "open-in-the-service").open("w") as file:
        os.set_inheritable(file.fileno(), False)
        local.run(build.task("ls -l /proc/$$/fd"))

    assert "open-in-the-service" not in (out / "stdout.txt").read_text()
    assert "exit.json" not in (out / "stdout.txt").read_text()


SERVICE = """
import os, signal, sys
from pathlib import Path
from openbatchai.domain.ports import NodeRequest, Process, Step, StepKind, Task, TaskKind
from openbatchai.engines.local import LocalEngine

engine = LocalEngine(Path(sys.argv[1]), None, images={}, client_environment={}, clock=None, grace_s=0.5)
engine.provision([NodeRequest("node-1", 1, 0)])
command = f"until [ -e '{sys.argv[2]}' ]; do sleep 0.02; done; echo survived; exit 4"
steps = (Step(StepKind.TOOLKIT, (Process(command, sys.argv[2] + ".out", sys.argv[2] + ".err"),)),)
engine.start(Task("task-1", TaskKind.RUN, "node-1", steps, run_id="run-1"))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_task_outlives_a_service_that_is_killed(local, root, out):
    source = str(Path(sys.modules["openbatchai"].__file__).parent.parent)
    service = subprocess.run(
        [sys.executable, "-c", SERVICE, str(root), str(out / "go")],
        env={**os.environ, "PYTHONPATH": source},
        check=False,
    )
    assert service.returncode == -signal.SIGKILL
    assert not local.ended()

    (out / "go").touch()

    assert local.end().exit_code == 4
    assert (out / "go.out").read_text() == "survived\n"


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_job_that_prints_more_than_allowed_is_ended(open_engine, bench_of, build, out, stream):
    bench = bench_of(open_engine(limits=Limits(output_bytes=2**20)))

    end = bench.run(build.task(f"yes > /dev/{stream}", wall_clock_s=60))

    assert end.fault.code == Fault.OUTPUT_LIMIT
    assert dict(end.fault.details)["Path"].endswith(f"{stream}.txt")
    assert bench.run(build.task("echo little; sleep 1.5", id="task-2", mounts=())).fault is None


# It leaves the session and clears its environment: nothing but a control group holds it.
FUGITIVE = """
cd "$AZ_BATCHAI_JOB_MOUNT_ROOT/out"
setsid --fork env -i bash -c 'trap "" TERM; echo $$ > pid; while :; do /bin/sleep 1; done'
while [ ! -s pid ]; do sleep 0.01; done
touch ready
"""


@pytest.fixture
def groups(local, root):
    found = cgroups.open_groups(root.resolve())
    if found is None:
        pytest.skip("this machine lets the service make no control groups")
    return found


def test_what_fled_a_killed_agent_is_found_by_its_group(local, build, out, agent_of, groups):
    local.engine.start(build.task(FUGITIVE + "sleep 1000"))
    local.wait((out / "ready").exists)
    pid = pid_in(out / "pid")

    os.kill(agent_of(), signal.SIGKILL)

    assert local.end().fault.code == Fault.NODE_AGENT_LOST
    assert not is_alive(pid)
    assert groups.names() == []
    assert b"Ended 3 processes in place of the agent" in local.engine.fetch("task-1", "execution.log", 0)


def test_a_group_goes_with_its_agent(local, build, out, groups):
    local.run(build.task(FUGITIVE))

    local.wait(lambda: groups.names() == [], "the end of the group")
    assert not is_alive(pid_in(out / "pid"))


def test_nothing_is_left_of_an_engine_with_which_nothing_runs(local, open_engine, build, groups):
    base = groups.of("any").parent
    local.engine.start(build.task("sleep 1000"))
    local.until_step(StepKind.TOOLKIT)
    local.engine.close()
    assert base.exists()

    local.engine = open_engine()
    local.engine.signal("task-1", Signal.TERMINATE)
    local.end()
    local.wait(lambda: groups.names() == [], "the end of the group")
    local.engine.close()

    assert not base.exists()


def test_what_earlier_tasks_left_is_ended_at_the_start_and_counted(
    local, open_engine, build, out, agent_of, root, groups, caplog
):
    """One whose agent was killed while no service was there, and one that is not even known any more."""
    local.engine.start(build.task(FUGITIVE + "sleep 1000"))
    local.wait((out / "ready").exists)
    local.engine.close()
    os.kill(agent_of(), signal.SIGKILL)
    groups.of("forgotten").mkdir()
    with subprocess.Popen(["sleep", "1000"]) as left:
        (groups.of("forgotten") / "cgroup.procs").write_text(str(left.pid))

        open_engine()

        assert left.wait(30) == -signal.SIGKILL
    assert not is_alive(pid_in(out / "pid"))
    assert "ended 4 processes that 2 earlier tasks had left" in caplog.text
    assert groups.names() == []


def test_a_daemon_of_a_node_outlives_the_service_and_ends_with_the_node(
    local, open_engine, build, out, root, groups
):
    mount = build.mount(
        kind=MountKind.UNMANAGED, level=MountLevel.CLUSTER, relative_path="own", command=DAEMON
    )
    step = build.step("true", StepKind.SETUP, stdout="o.txt", stderr="e.txt")
    local.run(build.task(step, kind=TaskKind.NODE_PREPARATION, mounts=(build.mount(), mount)))
    pid = int((root / "nodes" / "node-1" / "mounts" / "own.pid").read_text())
    local.engine.close()

    second = open_engine()

    assert is_alive(pid)
    second.release(["node-1"])
    second.forget("task-1")
    assert not is_alive(pid)


DAEMON = "setsid --fork bash -c 'echo $$ > \"$OPENBATCHAI_MOUNT_PATH.pid\"; exec sleep 1000'; sleep 0.2; true"
