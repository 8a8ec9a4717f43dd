"""The records of the control store. `spec` is the canonical 2018-05-01 `properties` without secrets;
`legacy` holds what only an older api-version has. Secret values are apart, in `secrets`, by JSON path."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .clusters import AllocationState, NodeState
from .jobs import ExecutionState
from .runs import RunState

Json = dict[str, Any]


@dataclass
class ResourceGroup:
    key: str
    name: str
    location: str
    tags: Json
    deleting: bool
    created: datetime


@dataclass
class StorageAccount:
    key: str
    name: str
    group_key: str
    group_name: str
    location: str
    kind: str
    sku: str
    tags: Json
    created: datetime
    secrets: Json = field(repr=False)
    properties: Json = field(default_factory=dict)


@dataclass
class Workspace:
    id: int
    group_key: str
    group_name: str
    key: str
    name: str
    location: str
    tags: Json
    deleting: bool
    created: datetime
    changed: datetime
    etag: str


@dataclass
class Experiment:
    id: int
    workspace_id: int
    key: str
    name: str
    deleting: bool
    created: datetime
    changed: datetime
    etag: str


@dataclass
class Cluster:
    id: int
    workspace_id: int
    key: str
    name: str
    spec: Json
    legacy: Json
    location: str
    tags: Json
    fingerprint: str
    deleting: bool
    created: datetime
    changed: datetime
    etag: str
    modified: datetime
    allocation_state: AllocationState
    allocation_changed: datetime
    target: int
    errors: list[Json]
    setup_suffix: str
    secrets: Json = field(repr=False)
    # How long it keeps an idle node, where it has a time of its own.
    idle_s: float | None = None


@dataclass
class FileServer:
    """`facts` (address, mountPoint) are empty until the engine has made it."""

    id: int
    workspace_id: int
    key: str
    name: str
    spec: Json
    location: str
    tags: Json
    fingerprint: str
    deleting: bool
    created: datetime
    changed: datetime
    etag: str
    modified: datetime
    facts: Json
    secrets: Json = field(repr=False)


@dataclass
class Node:
    id: str
    cluster_id: int
    state: NodeState
    changed: datetime
    task_id: str
    provisioned: bool
    facts: Json
    run_id: str = ""
    leave_after_run: bool = False
    attempt: int = 0


@dataclass
class Job:
    id: int
    experiment_id: int
    key: str
    name: str
    spec: Json
    legacy: Json
    location: str
    tags: Json
    fingerprint: str
    cluster_id: int
    priority: int
    node_count: int
    limit_s: int
    segment: str
    layout: str
    deleting: bool
    created: datetime
    changed: datetime
    etag: str
    modified: datetime
    execution_state: ExecutionState
    execution_changed: datetime
    started: datetime | None = None
    ended: datetime | None = None
    exit_code: int | None = None
    errors: list[Json] = field(default_factory=list)
    run_id: str = ""
    attempt: int = 0
    stop_reason: str = ""
    requeue: bool = False
    cluster_spec: Json = field(default_factory=dict)
    secrets: Json = field(default_factory=dict, repr=False)


@dataclass
class Run:
    """One attempt at executing a job; `nodes` are the ids of its nodes, the master first."""

    id: str
    job_id: int
    attempt: int
    state: RunState
    nodes: list[str]
    started: datetime
    ended: datetime | None = None


@dataclass
class Task:
    """One task as the control plane knows it; `sequence` is that of the last applied event, `prepared` says
    that its job preparation is done."""

    id: str
    kind: str
    node_id: str
    cluster_id: int
    job_id: int
    run_id: str
    phase: int
    position: int
    started: bool
    ended: bool
    sequence: int
    exit_code: int | None = None
    fault: Json | None = None
    ended_at: datetime | None = None
    prepared: bool = False


@dataclass
class Operation:
    """A long-running operation; kept after its resource is gone so that pollers can end."""

    id: str
    kind: str
    target: int
    target_key: str
    resource_id: str
    location: str
    started: datetime
    ended: datetime | None = None
    error: Json | None = None


@dataclass
class Event:
    """One applied transition: why an object is as it is."""

    id: int
    kind: str
    object_id: str
    before: str
    after: str
    event: str
    reason: str
    actor: str
    at: datetime


@dataclass
class VaultSecret:
    """One version of a secret of the local store, the newest with the highest id; the names are folded."""

    id: int
    version: str
    vault: str
    name: str
    created: datetime
    secrets: Json = field(repr=False)


@dataclass
class Effect:
    """A row of the outbox: something to do with the engine, idempotent, removed when done."""

    id: int
    kind: str
    object_id: str


@dataclass
class Principal:
    client_id: str
    object_id: str
    secret_hash: str


@dataclass
class Registration:
    namespace: str
    state: str


@dataclass(frozen=True)
class Submission:
    """What a client asked for when it created a cluster or job, validated and in canonical form."""

    spec: Json
    legacy: Json = field(default_factory=dict)
    location: str = ""
    tags: Json = field(default_factory=dict)
    secrets: Json = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class ClusterResource:
    """A cluster with what its answer needs around it."""

    cluster: Cluster
    workspace: Workspace
    states: tuple[NodeState, ...]


@dataclass(frozen=True)
class FileServerResource:
    server: FileServer
    workspace: Workspace


@dataclass(frozen=True)
class JobResource:
    job: Job
    experiment: Experiment
    workspace: Workspace


@dataclass(frozen=True)
class OutputFile:
    """An entry of listOutputFiles; `url` is None for a directory."""

    name: str
    is_directory: bool
    url: str | None
    size: int
    last_modified: datetime


@dataclass(frozen=True)
class LoginInformation:
    node_id: str
    address: str
    port: int


@dataclass(frozen=True)
class Tracked:
    """A resource as ARM lists it, with a location and tags of its own; `kind` and `sku` are empty where its
    type has none."""

    type: str
    group: str
    name: str
    location: str
    tags: Json
    kind: str
    sku: str
    deleting: bool
    created: datetime
    changed: datetime
