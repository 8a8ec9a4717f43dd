"""The local engine: nodes are slices of this machine, tasks are detached agents on it.

Everything it knows is in its directories, so an engine made on an existing root takes over where the one
before stopped: running agents are found by their lock, finished ones by their record, and a task that was
decided but not begun is begun.
"""

import logging
import os
import select
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGTERM, Signals

from openbatchai.agent.task import GO_ON, TERMINATE
from openbatchai.domain.errors import Fault
from openbatchai.domain.ports import (
    Clock,
    EngineCapabilities,
    FileServerFacts,
    NodeFacts,
    NodeRequest,
    Sample,
    Signal,
    StorageContent,
    Task,
    TaskEvent,
    TaskEventKind,
    TaskFault,
    TaskKind,
)
from openbatchai.engines import agents, cgroups, gpus, images, layout, lost, machine, records, sampling
from openbatchai.engines.housekeeping import Housekeeping
from openbatchai.engines.layout import AGENT_FILES_HIDDEN, Layout
from openbatchai.engines.limits import Limits
from openbatchai.engines.nodes import Nodes
from openbatchai.engines.preparation import Preparation, new_staging, stage, write_task
from openbatchai.engines.refusals import TaskRefusedError
from openbatchai.engines.removal import remove_tree
from openbatchai.engines.sampling import Sampler
from openbatchai.engines.user import JobUser
from openbatchai.engines.watch import Watch

_log = logging.getLogger(__name__)

_GRACE_S = 5.0
_MIB = 2**20
# Of a small disk not more than this part is kept free.
_MOST_RESERVED = 0.02
# TERM, the grace, KILL, unmounting: after this an agent that was told to end is itself killed.
_RELEASE_LIMIT_S = 45.0
_LOOK_AGAIN_S = 0.01
_USUAL = Limits()
_THIS_MACHINE = "127.0.0.1"


def create(
    root: Path,
    storage: StorageContent,
    *,
    images: Mapping[str, str],
    client_environment: Mapping[str, str] | Callable[[], Mapping[str, str]],
    clock: Clock,
    user: JobUser | None = None,
    limits: Limits = _USUAL,
) -> "LocalEngine":
    """Entry point `openbatchai.engines: local`."""
    return LocalEngine(
        root,
        storage,
        images=images,
        client_environment=client_environment,
        clock=clock,
        user=user,
        limits=limits,
    )


class LocalEngine:
    """`images` maps patterns of image names to interpreters; `client_environment` holds what jobs need to
    reach the service (proxy and CA); `grace_s` is the time between TERM and KILL; `look` says what the
    machine has. Processes of tasks run as `user`, which must be able to reach `root` (None: as this one)."""

    def __init__(
        self,
        root: Path,
        storage: StorageContent,
        *,
        images: Mapping[str, str],
        client_environment: Mapping[str, str] | Callable[[], Mapping[str, str]],
        clock: Clock,
        grace_s: float = _GRACE_S,
        look: Callable[[gpus.Nvml | None], machine.Machine] = machine.look,
        user: JobUser | None = None,
        limits: Limits = _USUAL,
    ) -> None:
        self._clock = clock
        self._limits = limits
        self._user = user
        self._layout = Layout(root.resolve())
        self._layout.create()
        self._nvml = gpus.open_nvml()
        self._machine = look(self._nvml)
        self._nodes = Nodes(self._layout, self._machine)
        self._groups = cgroups.open_groups(self._layout.root)
        self._housekeeping = Housekeeping(self._layout.tasks, limits.keep_s, limits.keep_bytes)
        self._preparation = Preparation(
            self._layout,
            self._nodes,
            storage,
            _catalogue(images),
            _callable(client_environment),
            grace_s,
            Path(sys.executable),
            user,
            self._groups,
            limits.output_bytes,
        )
        self._unobserved: set[str] = set()
        self._wakes: list[Callable[[], None]] = []
        self._watch = Watch(self._layout.wake, self._agent_ended, self._changed)
        self._sampler = Sampler(limits.sample_s, self._nvml, self._subjects, clock)
        self._recover()

    def capabilities(self) -> EngineCapabilities:
        found = self._machine
        return EngineCapabilities("local", len(found.cpus), len(found.gpus), found.memory_bytes)

    def hold(self) -> str:
        disk = shutil.disk_usage(self._layout.root)
        wanted = min(self._limits.disk_reserve, int(disk.total * _MOST_RESERVED))
        if disk.free >= wanted:
            return ""
        return (
            f"the disk of {self._layout.root} has {disk.free // _MIB} MiB left, and {wanted // _MIB} MiB "
            "of it are kept free"
        )

    def provision(self, requests: Sequence[NodeRequest]) -> list[NodeFacts]:
        return self._nodes.provision(requests)

    def start(self, task: Task) -> None:
        directory = self._layout.task(task.id)
        if not directory.exists():
            try:
                staging = stage(self._layout, self._preparation, task)
            except TaskRefusedError as refused:
                staging = self._refused(task, refused)
            self._remember(task)
            if not _put_in_place(staging, directory):
                shutil.rmtree(staging, ignore_errors=True)
        self._attend(task.id, directory, may_spawn=True)
        if records.ended(directory):
            self._changed()

    def observe(self, after: Mapping[str, int]) -> list[TaskEvent]:
        found: list[TaskEvent] = []
        for task_id, sequence in after.items():
            try:
                found += self._events_of(task_id, sequence)
                self._unobserved.discard(task_id)
            except (OSError, ValueError, KeyError):
                # One damaged directory, or a full disk, must not hide all other tasks.
                if task_id not in self._unobserved:
                    _log.exception("task %s cannot be observed; this is told once", task_id)
                self._unobserved.add(task_id)
        return found

    def _events_of(self, task_id: str, after: int) -> list[TaskEvent]:
        directory = self._layout.task(task_id)
        if not directory.exists():
            return [self._unknown(task_id, after)]
        if not self._watch.watches(task_id) and not records.ended(directory):
            self._attend(task_id, directory, may_spawn=True)
        return [event for event in records.events(directory, task_id) if event.sequence > after]

    def on_change(self, wake: Callable[[], None]) -> None:
        self._wakes.append(wake)

    def signal(self, task_id: str, signal: Signal) -> None:
        directory = self._layout.task(task_id)
        if not directory.exists() or records.ended(directory):
            return
        if signal is Signal.GO_ON:
            (directory / GO_ON).touch()
        else:
            self._terminate(directory)

    def fetch(self, task_id: str, file: str, offset: int) -> bytes:
        if "/" in file or file in AGENT_FILES_HIDDEN or file in (".", ".."):
            return b""
        try:
            with (self._layout.task(task_id) / file).open("rb") as stream:
                stream.seek(offset)
                return stream.read()
        except (FileNotFoundError, IsADirectoryError):
            return b""

    def samples(self, task_id: str, after: int) -> list[Sample]:
        return sampling.read(self._layout.task(task_id), after)

    def forget(self, task_id: str) -> None:
        directory = self._layout.task(task_id)
        if not directory.exists() or not records.ended(directory):
            return
        # The end is published a moment before the agent itself is gone.
        _await_end(directory)
        spec = records.identity(directory)
        # First the name, at once, so that nobody comes upon half of a task.
        remains = directory.with_name(f".old-{os.getpid()}-{os.urandom(6).hex()}")
        directory.rename(remains)
        if self._groups:
            # A node's daemons outlive its preparation, and end with the node.
            lost.end_group(self._groups.of(directory.name))
        remove_tree(remains)
        if "node_id" in spec:
            self._nodes.drop_task(spec["node_id"], task_id)
            self._leave_run(spec["run_id"] or task_id, directory.name)

    def release(self, node_ids: Sequence[str]) -> None:
        running = []
        for node_id in node_ids:
            for directory in self._nodes.tasks(node_id):
                if directory.exists() and not records.ended(directory):
                    self._terminate(directory)
                    running.append(directory)
        for directory in running:
            _await_end(directory)
        for node_id in node_ids:
            self._nodes.remove(node_id)
        if running:
            self._changed()

    def tidy(self) -> None:
        self._housekeeping.tidy_now_and_then()

    def make_file_server(self, key: str) -> FileServerFacts:
        directory = self._layout.file_server(key)
        directory.mkdir(exist_ok=True)
        # For jobs of any user of the group, whatever the umask of the service.
        if self._user:
            os.chown(directory, -1, self._user.gid)
        directory.chmod(0o2775)
        return FileServerFacts(_THIS_MACHINE, str(directory))

    def remove_file_server(self, key: str) -> None:
        directory = self._layout.file_server(key)
        if not remove_tree(directory):
            raise OSError(f"something is still mounted below {directory}")

    def close(self) -> None:
        self._sampler.close()
        self._watch.close()
        if self._groups:
            self._groups.close()

    def _subjects(self) -> list[sampling.Subject]:
        """The tasks that have an agent, or are about to."""
        found = []
        for task_id in self._watch.tasks():
            directory = self._layout.task(task_id)
            agent = agents.pid_of(directory)
            node = self._nodes.find(records.identity(directory).get("node_id", "")) if agent else None
            found.append(sampling.Subject(agent, directory, node.gpus if node else ()))
        return found

    def _recover(self) -> None:
        """Take over the tasks of an engine that was here before, and end what they left running."""
        tasks, processes = 0, 0
        for entry in self._layout.tasks.iterdir():
            if entry.name.startswith("."):
                _remove_abandoned(entry)
            elif not records.ended(entry):
                try:
                    found = self._attend(layout.task_id(entry.name), entry, may_spawn=True)
                    tasks, processes = tasks + (found > 0), processes + found
                except (OSError, ValueError):
                    # One damaged directory must not keep the service from all others.
                    _log.exception("taking over %s failed", entry)
        for name in self._groups.names() if self._groups else ():
            directory = self._layout.tasks / name
            if self._groups and (not directory.exists() or _is_run_without_agent(directory)):
                found = lost.end_group(self._groups.of(name))
                tasks, processes = tasks + (found > 0), processes + found
        if processes:
            _log.warning("ended %d processes that %d earlier tasks had left", processes, tasks)

    def _attend(self, task_id: str, directory: Path, may_spawn: bool) -> int:
        """See to it that the task has an agent that is watched, or an end. Returns how many processes had
        to be ended in place of an agent."""
        while True:
            descriptor = agents.open_agent(directory)
            if descriptor is not None:
                self._watch.add(task_id, descriptor)
                self._sampler.wake()
                return 0
            # Read after the lock: an agent publishes the end before it lets go.
            if records.ended(directory) or not directory.exists():
                return 0
            if may_spawn and agents.can_start(directory):
                self._watch.add(task_id, os.pidfd_open(agents.spawn(directory)))
                self._sampler.wake()
                return 0
            ended = lost.settle(directory)
            if ended is not None:
                return ended
            # Another thread settles it right now, or an agent has just taken the lock.
            time.sleep(_LOOK_AGAIN_S)

    def _agent_ended(self, task_id: str) -> None:
        directory = self._layout.task(task_id)
        try:
            # An agent that ends without beginning would do so again: no second one for it.
            self._attend(task_id, directory, may_spawn=False)
            if self._groups:
                cgroups.remove(self._groups.of(directory.name))
        except FileNotFoundError:
            # The task may be forgotten at any moment after its end.
            if directory.exists():
                raise

    def _changed(self) -> None:
        for wake in self._wakes:
            wake()

    def _refused(self, task: Task, refused: TaskRefusedError) -> Path:
        """A directory of a task that is over before its first command."""
        staging = new_staging(self._layout, task.id)
        write_task(
            staging, {"id": task.id, "kind": task.kind, "node_id": task.node_id, "run_id": task.run_id}
        )
        agents.mark_started(staging)
        records.write_end(staging, refused.exit_code, refused.fault)
        return staging

    def _remember(self, task: Task) -> None:
        if self._nodes.find(task.node_id) is not None:
            self._nodes.add_task(task.node_id, task.id)
        run = self._layout.run(task.run_id or task.id)
        run.mkdir(exist_ok=True)
        (run / self._layout.task(task.id).name).touch()

    def _leave_run(self, run_id: str, name: str) -> None:
        """The shared temp of a run goes with the last of its tasks."""
        run = self._layout.run(run_id)
        (run / name).unlink(missing_ok=True)
        if run.exists() and not any(entry.is_file() for entry in run.iterdir()):
            remove_tree(run)

    def _terminate(self, directory: Path) -> None:
        # For an agent that is only about to start; one that runs gets the signal as well.
        (directory / TERMINATE).touch()
        self._send(directory, SIGTERM)
        # One that was stopped would not take it.
        self._send(directory, SIGCONT)

    def _send(self, directory: Path, number: Signals) -> None:
        descriptor = agents.open_agent(directory)
        if descriptor is not None:
            agents.send(descriptor, number)
            os.close(descriptor)

    def _unknown(self, task_id: str, sequence: int) -> TaskEvent:
        fault = TaskFault(Fault.NODE_AGENT_LOST, "The engine knows nothing of the task")
        kind = TaskEventKind.ENDED
        return TaskEvent(task_id, sequence + 1, kind, self._clock.now(), fault=fault)


def _catalogue(mapping: Mapping[str, str]) -> images.ImageCatalogue:
    return images.ImageCatalogue(mapping, images.cntk_is_installed)


def _callable(
    environment: Mapping[str, str] | Callable[[], Mapping[str, str]],
) -> Callable[[], Mapping[str, str]]:
    return environment if callable(environment) else lambda: environment


def _put_in_place(staging: Path, directory: Path) -> bool:
    """False when another call was first: a directory is never replaced by one that is not empty."""
    try:
        staging.rename(directory)
    except OSError:
        if directory.exists():
            return False
        raise
    return True


def _is_run_without_agent(directory: Path) -> bool:
    """Whether nothing of the task has a right to run: it is over, and no node's own."""
    over = records.ended(directory) and not agents.is_held(directory)
    return over and records.identity(directory).get("kind") == TaskKind.RUN


def _await_end(directory: Path) -> None:
    """Wait for an agent that was told to end; one that does not is killed with its task."""
    descriptor = agents.open_agent(directory)
    if descriptor is None:
        return
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if not poll.poll(_RELEASE_LIMIT_S * 1000):
        agents.send(descriptor, SIGKILL)
        poll.poll(_RELEASE_LIMIT_S * 1000)
        lost.settle(directory)
    os.close(descriptor)


def _remove_abandoned(directory: Path) -> None:
    """What a service that died left half made or half removed; one that lives may be at work on it."""
    kind, _, rest = directory.name.partition("-")
    owner = rest.partition("-")[0]
    if kind in (".new", ".old") and not Path("/proc", owner).exists():
        remove_tree(directory)
