"""An engine that runs nothing: tasks end as a script says, or when the test says so.

For tests above the port. Without a script of its own it reads the commands: `exit N` ends with N,
`sleep …` runs until it is told to end, anything else succeeds at once.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from openbatchai.domain.errors import Fault
from openbatchai.domain.ports import (
    Clock,
    EngineCapabilities,
    FileServerFacts,
    ItemRef,
    Mount,
    MountKind,
    MountRefusedError,
    NodeFacts,
    NodeRequest,
    NoRoomError,
    Sample,
    Signal,
    Step,
    StepKind,
    StorageContent,
    StorageService,
    Task,
    TaskEvent,
    TaskEventKind,
    TaskFault,
)
from openbatchai.engines.refusals import TaskRefusedError, mount_refused, setup_refused


@dataclass(frozen=True)
class Behaviour:
    """How a task goes: exit codes per step (0 when not named); with `holds` the last step runs until
    `finish`, `lose_node` or a signal; `refusal` ends the task before its first step."""

    exit_codes: Mapping[StepKind, int] = field(default_factory=dict)
    holds: bool = False
    refusal: TaskFault | None = None


def as_commands_say(task: Task) -> Behaviour:
    codes = {}
    for step in task.steps:
        lines = [process.command_line for process in step.processes]
        found = [int(code) for line in lines for code in re.findall(r"\bexit (\d+)", line)]
        codes[step.kind] = next((code for code in found if code), 0)
    holds = any("sleep" in p.command_line for step in task.steps for p in step.processes)
    return Behaviour(codes, holds)


_FAULTS = {
    StepKind.SETUP: (Fault.NODE_PREPARATION_FAILED, "The setup task failed with exit code {}"),
    StepKind.JOB_PREPARATION: (
        Fault.JOB_PREPARATION_FAILED,
        "Job preparation task failed with non-zero exit code",
    ),
    StepKind.TOOLKIT: (Fault.JOB_FAILED, "Job failed with non-zero exit code"),
}
_TERMINATED = TaskFault(Fault.JOB_TERMINATED, "The service stopped the task")
_LOST = TaskFault(Fault.NODE_AGENT_LOST, "The agent of the task ended unexpectedly")


class FakeEngine:
    """`started` holds the tasks in the order of their start, `released` the nodes given back; `held` is what
    `hold` says."""

    def __init__(
        self,
        clock: Clock,
        storage: StorageContent | None = None,
        behaviour: Callable[[Task], Behaviour] = as_commands_say,
        *,
        cores: int = 64,
        gpus: int = 0,
    ) -> None:
        self.started: list[Task] = []
        self.released: list[str] = []
        self.held = ""
        self._clock = clock
        self._storage = storage
        self._behaviour = behaviour
        self._waiting: dict[str, Behaviour] = {}
        self._capabilities = EngineCapabilities("fake", cores, gpus, 64 * 2**30)
        self._nodes: dict[str, NodeFacts] = {}
        self.file_servers: set[str] = set()
        self._allotted = 0
        self._events: dict[str, list[TaskEvent]] = {}
        self._tasks: dict[str, Task] = {}
        self._files: dict[tuple[str, str], bytes] = {}
        self._samples: dict[str, list[Sample]] = {}
        self._wakes: list[Callable[[], None]] = []

    def capabilities(self) -> EngineCapabilities:
        return self._capabilities

    def hold(self) -> str:
        return self.held

    def provision(self, requests: Sequence[NodeRequest]) -> list[NodeFacts]:
        for request in requests:
            if request.node_id not in self._nodes:
                self._nodes[request.node_id] = self._new_node(request)
        return [self._nodes[request.node_id] for request in requests]

    def start(self, task: Task) -> None:
        if task.id in self._events:
            return
        self.started.append(task)
        self._tasks[task.id] = task
        self._events[task.id] = []
        self._files[task.id, "execution.log"] = f"Task {task.id}\n".encode()
        try:
            self._check(task)
        except TaskRefusedError as refused:
            self._end(task.id, refused.exit_code, refused.fault)
        else:
            self._carry_out(task, self._behaviour(task))
        self._changed()

    def observe(self, after: Mapping[str, int]) -> list[TaskEvent]:
        found = []
        for task_id, sequence in after.items():
            events = self._events.get(task_id)
            if events is None:
                fault = TaskFault(Fault.NODE_AGENT_LOST, "The engine knows nothing of the task")
                kind = TaskEventKind.ENDED
                events = [TaskEvent(task_id, sequence + 1, kind, self._clock.now(), fault=fault)]
            found += [event for event in events if event.sequence > sequence]
        return found

    def on_change(self, wake: Callable[[], None]) -> None:
        self._wakes.append(wake)

    def signal(self, task_id: str, signal: Signal) -> None:
        if signal is Signal.TERMINATE and self.is_running(task_id):
            self._end(task_id, None, _TERMINATED)
            self._changed()
        if signal is Signal.GO_ON and self.is_running(task_id) and task_id in self._waiting:
            task, behaviour = self._tasks[task_id], self._waiting.pop(task_id)
            self._carry_out_steps(task, task.steps[1:], behaviour)
            self._changed()

    def fetch(self, task_id: str, file: str, offset: int) -> bytes:
        return self._files.get((task_id, file), b"")[offset:]

    def samples(self, task_id: str, after: int) -> list[Sample]:
        return self._samples.get(task_id, [])[after:]

    def forget(self, task_id: str) -> None:
        if task_id in self._events and not self.is_running(task_id):
            del self._events[task_id], self._tasks[task_id]
            self._samples.pop(task_id, None)
            self._files = {key: text for key, text in self._files.items() if key[0] != task_id}

    def release(self, node_ids: Sequence[str]) -> None:
        for node_id in node_ids:
            if self._nodes.pop(node_id, None) is not None:
                self.released.append(node_id)
                self._end_all_on(node_id, _TERMINATED)

    def tidy(self) -> None: ...

    def make_file_server(self, key: str) -> FileServerFacts:
        self.file_servers.add(key)
        return FileServerFacts("192.0.2.1", f"/file-servers/{key}")

    def remove_file_server(self, key: str) -> None:
        self.file_servers.discard(key)

    def close(self) -> None:
        self._wakes.clear()

    # --- for tests ---

    def is_running(self, task_id: str) -> bool:
        events = self._events.get(task_id)
        return events is not None and not (events and events[-1].kind is TaskEventKind.ENDED)

    def finish(self, task_id: str, exit_code: int = 0) -> None:
        """End a task that holds, with the exit code of its last step."""
        if not self.is_running(task_id):
            raise ValueError(f"task {task_id} is not running")
        self._end_step(task_id, self._tasks[task_id].steps[-1].kind, exit_code)
        self._changed()

    def lose_node(self, node_id: str) -> None:
        """The node dies: its tasks end without an exit code and the node is gone."""
        self._nodes.pop(node_id, None)
        self._end_all_on(node_id, _LOST)

    def write(self, task_id: str, file: str, content: bytes) -> None:
        """Give a task's directory a file to fetch."""
        self._files[task_id, file] = content

    def measure(self, task_id: str, sample: Sample) -> None:
        """Let a task have used something."""
        self._samples.setdefault(task_id, []).append(sample)

    # --- the life of a task ---

    def _check(self, task: Task) -> None:
        if task.node_id not in self._nodes:
            raise setup_refused(f"There is no node {task.node_id}")
        for mount in task.mounts:
            self._locate(mount)

    def _locate(self, mount: Mount) -> None:
        if mount.kind is MountKind.FILE_SERVER:
            if mount.file_server not in self.file_servers:
                raise mount_refused(mount, "The file server does not exist")
            return
        if self._storage is None or mount.kind is MountKind.UNMANAGED:
            return
        file_share = mount.kind is MountKind.FILE_SHARE
        service = StorageService.FILE if file_share else StorageService.BLOB
        try:
            self._storage.locate(ItemRef(service, mount.account, mount.container), mount.account_key)
        except MountRefusedError as error:
            raise mount_refused(mount, str(error)) from error

    def _carry_out(self, task: Task, behaviour: Behaviour) -> None:
        self._add(task.id, TaskEventKind.STARTED)
        if behaviour.refusal is not None:
            self._end(task.id, None, behaviour.refusal)
            return
        if not task.steps:
            self._end(task.id, None, None)
        if task.waits:
            self._waiting[task.id] = behaviour
            self._carry_out_steps(task, task.steps[:1], behaviour)
        else:
            self._carry_out_steps(task, task.steps, behaviour)

    def _carry_out_steps(self, task: Task, steps: Sequence[Step], behaviour: Behaviour) -> None:
        for step in steps:
            self._add(task.id, TaskEventKind.STEP_STARTED, step.kind)
            if behaviour.holds and step is task.steps[-1]:
                return
            code = behaviour.exit_codes.get(step.kind, 0)
            self._end_step(task.id, step.kind, code)
            if code != 0:
                return

    def _end_step(self, task_id: str, step: StepKind, exit_code: int) -> None:
        self._add(task_id, TaskEventKind.STEP_ENDED, step, exit_code)
        if exit_code != 0:
            code, message = _FAULTS[step]
            self._end(task_id, exit_code, TaskFault(code, message.format(exit_code)))
        elif step is self._tasks[task_id].steps[-1].kind:
            self._end(task_id, 0, None)

    def _end_all_on(self, node_id: str, fault: TaskFault) -> None:
        for task in self._tasks.values():
            if task.node_id == node_id and self.is_running(task.id):
                self._end(task.id, None, fault)
        self._changed()

    def _end(self, task_id: str, exit_code: int | None, fault: TaskFault | None) -> None:
        self._add(task_id, TaskEventKind.ENDED, None, exit_code, fault)

    def _add(
        self,
        task_id: str,
        kind: TaskEventKind,
        step: StepKind | None = None,
        exit_code: int | None = None,
        fault: TaskFault | None = None,
    ) -> None:
        events = self._events[task_id]
        event = TaskEvent(task_id, len(events) + 1, kind, self._clock.now(), step, exit_code, fault)
        events.append(event)

    def _new_node(self, request: NodeRequest) -> NodeFacts:
        most = self._capabilities
        gpus = most.gpus if request.whole_machine else min(request.gpus, most.gpus)
        free = most.gpus - sum(node.gpus for node in self._nodes.values())
        if gpus > free:
            raise NoRoomError(f"it needs {gpus} GPUs and {free} of {most.gpus} are free")
        self._allotted += 1
        return NodeFacts(
            node_id=request.node_id,
            address=f"127.250.{self._allotted // 250}.{self._allotted % 250 + 1}",
            host_name="fake",
            cores=most.cores if request.whole_machine else min(request.cores, most.cores),
            gpus=gpus,
            mount_root=f"/fake/{request.node_id}/mounts",
        )

    def _changed(self) -> None:
        for wake in list(self._wakes):
            wake()
