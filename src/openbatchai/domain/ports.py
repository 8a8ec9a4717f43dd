"""Ports: what the domain needs from the outside world, as protocols and plain data.

A task is what an agent carries out on one node. It names mounts by account and share, never by host
path; the engine turns them into paths. Every verb of an engine is idempotent by our ids.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The current time, UTC and aware."""
        ...


# --- storage ---------------------------------------------------------------------------------------


class StorageService(StrEnum):
    """Which data-plane service an item belongs to; also the label in its host name."""

    BLOB = "blob"
    FILE = "file"


@dataclass(frozen=True)
class ItemRef:
    """A place in storage: `container` is a share or a blob container, `path` is decoded, no leading slash.

    `snapshot` is the time that names a snapshot of the blob or of the share; "" is what is there now.
    """

    service: StorageService
    account: str
    container: str
    path: str = ""
    snapshot: str = ""


@dataclass(frozen=True)
class DirectoryEntry:
    name: str
    is_directory: bool
    size: int
    last_modified: datetime


@dataclass(frozen=True)
class AccountRules:
    """How an account may be used: only by https, with its keys, by everybody where a container says so.

    `default_tier` is that of blobs which nobody gave one. `delegation_generation` changes when the account's
    user delegation keys are revoked.
    """

    https_only: bool = False
    shared_key: bool = True
    public_access: bool = True
    default_tier: str = "Hot"
    delegation_generation: str = ""


class KeyRing(Protocol):
    """Account keys for the data plane. Asked per request, so a regenerated key dies at once."""

    def keys(self, account: str) -> tuple[str, ...] | None:
        """The base64 keys of the account (key1, key2), or None when there is no such account."""
        ...


class StorageContent(Protocol):
    """What the control plane needs from the data plane. Implemented by dataplane.Storage."""

    def create_account(self, account: str) -> None: ...

    def delete_account(self, account: str) -> None: ...

    def create_container(self, ref: ItemRef) -> bool:
        """Create the share or container `ref.container`; False when it already exists."""
        ...

    def list_directory(self, ref: ItemRef) -> list[DirectoryEntry] | None:
        """Entries of one directory sorted by name, not recursive; None when it does not exist."""
        ...

    def read_sas(self, ref: ItemRef, expiry: datetime) -> str:
        """Query string (no `?`) of a read-only service SAS for one file or blob."""
        ...

    def unread_since(self, ref: ItemRef, window_s: float) -> bool:
        """True when somebody fetched the file through a SAS within `window_s` but has not yet been told
        its present length (a range request that reached the end, 416 included, tells it)."""
        ...

    def locate(self, ref: ItemRef, account_key: str) -> str:
        """Host path of a share or container for mounting it.

        Raises MountRefusedError naming account, share and reason: unknown account, wrong key, missing share.
        """
        ...


class MountRefusedError(Exception):
    """The storage side refuses a mount; the text is for the user and holds no secret."""


# --- engine ----------------------------------------------------------------------------------------


class MountKind(StrEnum):
    FILE_SHARE = "azureFileShare"
    BLOB_CONTAINER = "azureBlobFileSystem"
    FILE_SERVER = "fileServer"
    UNMANAGED = "unmanagedFileSystem"


class MountLevel(StrEnum):
    CLUSTER = "cluster"
    JOB = "job"


@dataclass(frozen=True)
class Mount:
    """One share, container, file server or unmanaged file system made visible at `relative_path` under the
    mount root of its level. `account_key` proves the right to mount; `command` serves UNMANAGED only,
    `file_server` (ids.file_server_key) and its directory `source` FILE_SERVER."""

    kind: MountKind
    level: MountLevel
    relative_path: str
    account: str = ""
    container: str = ""
    account_key: str = field(default="", repr=False)
    command: str = field(default="", repr=False)
    file_server: str = ""
    source: str = ""


class TaskKind(StrEnum):
    NODE_PREPARATION = "nodePreparation"
    RUN = "run"


class StepKind(StrEnum):
    SETUP = "setup"
    JOB_PREPARATION = "jobPreparation"
    TOOLKIT = "toolkit"


@dataclass(frozen=True)
class Process:
    """One command of a step, run by `bash -c` with the task's environment plus its own.

    `stdout` and `stderr` are file paths that may hold `$NAME`; they exist, empty, from the task's start.
    A process with `service=True` (a parameter server) does not decide the step: it is ended when the
    others are done.
    """

    command_line: str
    stdout: str
    stderr: str
    environment: Mapping[str, str] = field(default_factory=dict)
    service: bool = False


@dataclass(frozen=True)
class Step:
    """Processes that run side by side; the first non-zero exit ends the others and the task."""

    kind: StepKind
    processes: tuple[Process, ...]


@dataclass(frozen=True)
class Container:
    image: str
    server_url: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    shm_size: str = ""


@dataclass(frozen=True)
class Task:
    """What one agent carries out on one node, in this order: mounts, directories, files, steps.

    Strings in `environment` (in order), `directories`, the names of `files`, `log` and the steps' paths may
    refer to variables as `$NAME` or `${NAME}`: to the engine's (`AZ_BATCHAI_MOUNT_ROOT`,
    `AZ_BATCHAI_JOB_MOUNT_ROOT`, `AZ_BATCHAI_JOB_TEMP`, …, see jobenv.py) and to earlier ones of the same
    mapping. They are expanded on the node; an unknown name expands to nothing, as in a shell. `secrets` are
    environment variables that appear in no log. `wall_clock_s` counts from the start of the task.
    With `fresh_output` the processes' output files begin empty: the first task of the run to come upon one
    empties it, the others append. Otherwise what is in them is kept. `run_id` is shared by the tasks of one
    run; `job_path` is the job's place under a shared job root,
    e.g. "ws/exp/job". `continues` is the ended task of the run, on the same node, whose home, job
    temp and packages this one finds as that one left them. One that `waits` begins no step after its first
    before it is signalled to go on.
    """

    id: str
    kind: TaskKind
    node_id: str
    steps: tuple[Step, ...]
    mounts: tuple[Mount, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    directories: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    fresh_output: bool = False
    container: Container | None = None
    log: str | None = None
    wall_clock_s: float | None = None
    run_id: str = ""
    job_path: str = ""
    continues: str = ""
    waits: bool = False


@dataclass(frozen=True)
class NodeRequest:
    """`whole_machine`: all cores and GPUs of a machine, whatever it has."""

    node_id: str
    cores: int
    gpus: int
    whole_machine: bool = False


class NoRoomError(Exception):
    """A node cannot be had at present; the text says what it waits for."""


@dataclass(frozen=True)
class NodeFacts:
    """What an engine says of a node: `cores` and `gpus` are what it really has, maybe less than asked."""

    node_id: str
    address: str
    host_name: str
    cores: int
    gpus: int
    mount_root: str
    note: str = ""


@dataclass(frozen=True)
class FileServerFacts:
    """Where a file server is: its address, and the directory of its disks there."""

    address: str
    mount_point: str


class TaskEventKind(StrEnum):
    STARTED = "started"
    STEP_STARTED = "stepStarted"
    STEP_ENDED = "stepEnded"
    ENDED = "ended"


@dataclass(frozen=True)
class TaskFault:
    """Why a task ended badly: `code` is a domain.errors.Fault, `details` are name/value pairs."""

    code: str
    message: str
    details: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class TaskEvent:
    """One line of a task's append-only report; applied idempotently by (task_id, sequence).

    ENDED comes exactly once and last, after all output is flushed. `exit_code` is that of the deciding
    process (None when none ran or the task was signalled to terminate); `fault` is None on success.
    """

    task_id: str
    sequence: int
    kind: TaskEventKind
    at: datetime
    step: StepKind | None = None
    exit_code: int | None = None
    fault: TaskFault | None = None


@dataclass(frozen=True)
class Sample:
    """What a task used: CPU time since its start, the rest at that moment. GPUs are those of its node; None
    where there are none, or none that can be asked."""

    at: datetime
    cpu_seconds: float
    memory_bytes: int
    processes: int
    gpu_percent: float | None = None
    gpu_memory_bytes: int | None = None


class Signal(StrEnum):
    """GO_ON is for a task that `waits`."""

    TERMINATE = "terminate"
    GO_ON = "goOn"


@dataclass(frozen=True)
class EngineCapabilities:
    name: str
    cores: int
    gpus: int
    memory_bytes: int


class Engine(Protocol):
    """Provides nodes and carries out tasks. Calls may block; none is made inside a transaction."""

    def capabilities(self) -> EngineCapabilities: ...

    def hold(self) -> str:
        """Why no run may start at present, for instance for want of disk space; "" when runs may start."""
        ...

    def provision(self, requests: Sequence[NodeRequest]) -> list[NodeFacts]:
        """Make the nodes exist; asking again for an existing node gives the same facts.

        Raises NoRoomError when GPUs that a node needs belong to others; those before it in the list exist.
        """
        ...

    def start(self, task: Task) -> None:
        """Start the task unless a task of that id was ever started here (then do nothing).

        What goes wrong before the first command (a refused mount, no such image) is no exception: it is
        reported as an ENDED event with a fault.
        """
        ...

    def observe(self, after: Mapping[str, int]) -> list[TaskEvent]:
        """Events of the named tasks with a sequence above the given one (0 for all), oldest first per task.

        A task that the engine does not know is reported as ENDED with Fault.NODE_AGENT_LOST.
        """
        ...

    def on_change(self, wake: Callable[[], None]) -> None:
        """Call `wake` (from any thread) whenever observe() may have something new."""
        ...

    def signal(self, task_id: str, signal: Signal) -> None:
        """TERMINATE: TERM, then KILL of the whole tree. Nothing happens if the task is over or unknown."""
        ...

    def fetch(self, task_id: str, file: str, offset: int) -> bytes:
        """Content of a file of the task's own directory (e.g. "execution.log") from `offset`."""
        ...

    def samples(self, task_id: str, after: int) -> list[Sample]:
        """What the task used, oldest first, but for the first `after` of them; with -1 the last one only.
        None of a task that is unknown, or was too short to be looked at."""
        ...

    def forget(self, task_id: str) -> None:
        """Remove what is kept of an ended task. Its files on mounts stay."""
        ...

    def release(self, node_ids: Sequence[str]) -> None:
        """Give nodes back; unknown ones are ignored. Their running tasks are terminated."""
        ...

    def tidy(self) -> None:
        """Remove what ended runs need no longer, as settings say; cheap when called again and again."""
        ...

    def make_file_server(self, key: str) -> FileServerFacts:
        """Make the file server exist, with empty disks; asking again for an existing one changes nothing."""
        ...

    def remove_file_server(self, key: str) -> None:
        """Remove it with all its files; an unknown one is ignored."""
        ...

    def close(self) -> None:
        """Stop observing. Running tasks go on."""
        ...
