"""What every engine must do, whatever carries the tasks out. Imports no engine: fixtures give them."""

import ipaddress
import threading

import pytest

from openbatchai.domain.errors import Fault
from openbatchai.domain.ports import (
    MountKind,
    NodeRequest,
    NoRoomError,
    Signal,
    StepKind,
    TaskEventKind,
    TaskKind,
)


def test_capabilities_describe_something_that_can_work(bench):
    found = bench.engine.capabilities()

    assert found.name
    assert found.cores >= 1
    assert found.memory_bytes > 0


def test_provisioning_again_gives_the_same_facts(bench):
    request = NodeRequest("node-2", cores=1, gpus=0)

    assert bench.engine.provision([request]) == bench.engine.provision([request])


def test_nodes_have_addresses_of_their_own(bench):
    facts = bench.engine.provision([NodeRequest(f"node-{n}", cores=1, gpus=0) for n in range(1, 6)])

    addresses = {ipaddress.ip_address(fact.address) for fact in facts}
    assert len(addresses) == 5
    assert all(address.is_loopback for address in addresses)
    assert [fact.node_id for fact in facts] == [f"node-{n}" for n in range(1, 6)]


def test_a_node_never_has_more_than_the_engine(bench):
    most = bench.engine.capabilities()

    (fact,) = bench.engine.provision([NodeRequest("big", cores=10_000, gpus=1_000)])

    assert fact.cores <= most.cores
    assert fact.gpus <= most.gpus


def test_no_gpu_is_given_to_two_nodes(bench):
    """The engines of this suite have two."""
    bench.engine.provision([NodeRequest("one", cores=1, gpus=1), NodeRequest("other", cores=1, gpus=1)])

    with pytest.raises(NoRoomError, match="GPU"):
        bench.engine.provision([NodeRequest("third", cores=1, gpus=1)])

    bench.engine.release(["one"])
    assert bench.engine.provision([NodeRequest("third", cores=1, gpus=1)])[0].gpus == 1


def test_the_whole_machine_is_what_the_engine_has(bench):
    most = bench.engine.capabilities()

    (fact,) = bench.engine.provision([NodeRequest("all", cores=0, gpus=0, whole_machine=True)])

    assert (fact.cores, fact.gpus) == (most.cores, most.gpus)


def test_a_task_reports_each_step_in_order(bench, build):
    task = build.task(build.step("true", StepKind.JOB_PREPARATION), "true")

    bench.run(task)

    events = bench.events()
    assert [(event.kind, event.step) for event in events] == [
        (TaskEventKind.STARTED, None),
        (TaskEventKind.STEP_STARTED, StepKind.JOB_PREPARATION),
        (TaskEventKind.STEP_ENDED, StepKind.JOB_PREPARATION),
        (TaskEventKind.STEP_STARTED, StepKind.TOOLKIT),
        (TaskEventKind.STEP_ENDED, StepKind.TOOLKIT),
        (TaskEventKind.ENDED, None),
    ]
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5, 6]
    assert all(event.task_id == "task-1" and event.at.utcoffset() is not None for event in events)


def test_success_has_exit_code_zero_and_no_fault(bench, build):
    end = bench.run(build.task("true"))

    assert (end.exit_code, end.fault) == (0, None)


@pytest.mark.parametrize(
    ("kind", "step", "code"),
    [
        (TaskKind.RUN, StepKind.TOOLKIT, Fault.JOB_FAILED),
        (TaskKind.RUN, StepKind.JOB_PREPARATION, Fault.JOB_PREPARATION_FAILED),
        (TaskKind.NODE_PREPARATION, StepKind.SETUP, Fault.NODE_PREPARATION_FAILED),
    ],
)
def test_a_step_that_fails_names_its_fault(bench, build, kind, step, code):
    task = build.task(build.step("exit 3", step, stdout="out.txt", stderr="err.txt"), kind=kind)

    end = bench.run(task)

    assert (end.exit_code, end.fault.code) == (3, code)


def test_no_step_follows_one_that_failed(bench, build):
    bench.run(build.task(build.step("exit 1", StepKind.JOB_PREPARATION), "true"))

    assert StepKind.TOOLKIT not in {event.step for event in bench.events()}


def waiting(build, last="true"):
    return build.task(build.step("true", StepKind.JOB_PREPARATION), last, waits=True)


def until_it_waits(bench):
    bench.wait(lambda: TaskEventKind.STEP_ENDED in {event.kind for event in bench.events()}, "its first step")


def test_a_task_that_waits_goes_on_when_it_may(bench, build):
    bench.engine.start(waiting(build))
    until_it_waits(bench)
    assert StepKind.TOOLKIT not in {event.step for event in bench.events()}

    for _ in range(2):
        bench.engine.signal("task-1", Signal.GO_ON)

    assert bench.end().fault is None
    toolkit = [event.kind for event in bench.events() if event.step is StepKind.TOOLKIT]
    assert toolkit == [TaskEventKind.STEP_STARTED, TaskEventKind.STEP_ENDED]


def test_a_task_that_begins_to_wait_wakes_whoever_listens(bench, build, tmp_path):
    seen = {kind: threading.Event() for kind in TaskEventKind}

    def look():
        for event in bench.events():
            seen[event.kind].set()

    gate = tmp_path / "gate"
    gate.parent.chmod(0o755)
    slow = build.step(f"until [ -e {gate} ]; do sleep 0.02; done", StepKind.JOB_PREPARATION)
    bench.engine.on_change(look)
    bench.engine.start(build.task(slow, "true", waits=True))
    # The wake-up of the step's start is over, and only that of its end is left.
    assert seen[TaskEventKind.STEP_STARTED].wait(30)
    gate.touch()

    assert seen[TaskEventKind.STEP_ENDED].wait(30)


def test_a_task_that_waits_can_be_terminated(bench, build):
    bench.engine.start(waiting(build))
    until_it_waits(bench)

    bench.engine.signal("task-1", Signal.TERMINATE)

    assert bench.end().fault.code == Fault.JOB_TERMINATED
    assert StepKind.TOOLKIT not in {event.step for event in bench.events()}


def test_a_task_started_twice_runs_once(bench, build):
    task = build.task("true")
    bench.run(task)

    bench.engine.start(task)

    assert [event.kind for event in bench.events()].count(TaskEventKind.STARTED) == 1


def test_termination_ends_a_task_without_exit_code(bench, build):
    bench.engine.start(build.task("sleep 1000"))
    bench.until_step(StepKind.TOOLKIT)

    bench.engine.signal("task-1", Signal.TERMINATE)

    end = bench.end()
    assert (end.exit_code, end.fault.code) == (None, Fault.JOB_TERMINATED)


def test_termination_at_once_after_the_start_is_not_lost(bench, build):
    bench.engine.start(build.task("sleep 1000"))

    bench.engine.signal("task-1", Signal.TERMINATE)

    assert bench.end().fault.code == Fault.JOB_TERMINATED


def test_termination_of_an_ended_or_unknown_task_changes_nothing(bench, build):
    bench.run(build.task("true"))
    before = bench.events()

    bench.engine.signal("task-1", Signal.TERMINATE)
    bench.engine.signal("never-heard-of", Signal.TERMINATE)

    assert bench.events() == before


def test_observe_gives_only_what_is_new(bench, build):
    bench.run(build.task("true"))
    everything = bench.events()

    assert bench.engine.observe({"task-1": 2}) == everything[2:]
    assert bench.engine.observe({"task-1": len(everything)}) == []


def test_an_unknown_task_is_lost(bench):
    (event,) = bench.engine.observe({"never-heard-of": 4})

    assert (event.kind, event.fault.code) == (TaskEventKind.ENDED, Fault.NODE_AGENT_LOST)
    assert event.sequence > 4


@pytest.mark.parametrize(
    ("kind", "code"),
    [(MountKind.FILE_SHARE, Fault.FILE_MOUNT), (MountKind.BLOB_CONTAINER, Fault.BLOB_MOUNT)],
)
@pytest.mark.parametrize("change", [{"container": "nowhere"}, {"account_key": "d3Jvbmcta2V5"}])
def test_a_refused_mount_ends_the_task_before_it_starts(bench, build, kind, code, change):
    mount = build.mount(kind=kind, **change)

    end = bench.run(build.task("true", mounts=(mount,)))

    assert (end.exit_code, end.fault.code) == (-1, code)
    assert mount.account in str(end.fault.details)
    assert mount.container in str(end.fault.details)
    assert mount.account_key not in str(end)
    assert [event.kind for event in bench.events()] == [TaskEventKind.ENDED]


def test_a_task_for_a_node_that_does_not_exist_fails(bench, build):
    end = bench.run(build.task("true", node_id="no-such-node"))

    assert end.fault.code == Fault.TASK_SETUP


def test_the_end_of_a_task_wakes_whoever_listens(bench, build):
    woken = threading.Event()
    bench.engine.on_change(woken.set)

    bench.engine.start(build.task("true"))

    assert woken.wait(30)


def test_fetch_reads_from_an_offset(bench, build):
    bench.run(build.task("true"))

    whole = bench.engine.fetch("task-1", "execution.log", 0)

    assert b"task-1" in whole
    assert bench.engine.fetch("task-1", "execution.log", 5) == whole[5:]
    assert bench.engine.fetch("task-1", "execution.log", len(whole)) == b""
    assert bench.engine.fetch("task-1", "no-such-file", 0) == b""
    assert bench.engine.fetch("no-such-task", "execution.log", 0) == b""


def test_a_forgotten_task_is_unknown(bench, build):
    bench.run(build.task("true"))

    bench.engine.forget("task-1")
    bench.engine.forget("task-1")

    assert bench.events()[0].fault.code == Fault.NODE_AGENT_LOST


def test_a_running_task_is_not_forgotten(bench, build):
    bench.engine.start(build.task("sleep 1000"))
    bench.until_step(StepKind.TOOLKIT)

    bench.engine.forget("task-1")

    assert not bench.ended()


def test_release_ends_the_tasks_of_a_node(bench, build):
    bench.engine.start(build.task("sleep 1000"))
    bench.until_step(StepKind.TOOLKIT)

    bench.engine.release(["node-1", "no-such-node"])

    assert bench.end().fault.code == Fault.JOB_TERMINATED
    assert bench.run(build.task("true", id="task-2")).fault.code == Fault.TASK_SETUP


def test_release_leaves_other_nodes_alone(bench, build):
    bench.engine.provision([NodeRequest("node-2", cores=1, gpus=0)])
    bench.engine.start(build.task("sleep 1000", node_id="node-2"))
    bench.until_step(StepKind.TOOLKIT)

    bench.engine.release(["node-1"])

    assert not bench.ended()


def test_a_file_server_is_mounted_by_its_key(bench, build):
    facts = bench.engine.make_file_server("key-1")
    assert bench.engine.make_file_server("key-1") == facts
    mount = build.mount(
        kind=MountKind.FILE_SERVER, account="", container="", file_server="key-1", relative_path="nfs"
    )
    end = bench.run(build.task("true", mounts=(build.mount(), mount)))
    assert end.fault is None


def test_a_file_server_that_is_not_there_refuses_the_mount(bench, build):
    bench.engine.make_file_server("key-2")
    bench.engine.remove_file_server("key-2")
    bench.engine.remove_file_server("key-2")
    mount = build.mount(kind=MountKind.FILE_SERVER, account="", container="", file_server="key-2")
    end = bench.run(build.task("true", mounts=(mount,)))
    assert (end.exit_code, end.fault.code) == (-1, Fault.FILE_SERVER_MOUNT)


def test_an_engine_that_has_what_it_needs_holds_no_run(bench):
    assert bench.engine.hold() == ""


def test_nothing_is_known_of_what_an_unknown_task_used(bench):
    assert bench.engine.samples("no-such-task", 0) == []
    assert bench.engine.samples("no-such-task", -1) == []
