"""What every use case works with, and the small things they all do."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from openbatchai.domain import ids
from openbatchai.domain.errors import Code, ServiceError
from openbatchai.domain.model import Event, ResourceGroup, Workspace
from openbatchai.domain.ports import Clock, Engine, StorageContent
from openbatchai.store.unit import Store, Unit

from .keeping import Kept
from .retries import Retries


@dataclass(frozen=True)
class Retention:
    """How long what is over is kept; of events the newest `events` at most. An operation is kept for an hour
    at least: pollers must find it after its resource is gone (batchai-service.md section 4.2)."""

    event_days: float = 90.0
    events: int = 5_000_000
    run_days: float = 30.0
    operation_hours: float = 24.0


@dataclass(frozen=True)
class Context:
    """`idle_timeout`: how long an autoscale cluster without a time of its own keeps an idle
    node. `tail_window_s` and `tail_wait_s`:
    a job whose log was fetched within the window is published as finished after the reader's next fetch,
    at most the wait later (clients.md section 7, "job file stream"). `quotas`: limits by the names of
    usages, where they differ from the defaults. With `recorded_creates` clusters and jobs are created by
    202 and an operation, as the real service did, not by 200 with the resource. `kept` is the scheduler's
    view, up to date from the first reconciler on; `retries` are of effects that failed.
    `preemptions_per_node_hour`: how often each low-priority node is taken away, at random, to rehearse it."""

    store: Store
    storage: StorageContent
    engine: Engine
    clock: Clock
    tenant: str
    subscription: str
    forget_keys: Callable[[str], None]
    idle_timeout: timedelta = timedelta(seconds=300)
    tail_window_s: float = 3.0
    tail_wait_s: float = 2.0
    quotas: Mapping[str, int] = field(default_factory=dict)
    recorded_creates: bool = False
    preemptions_per_node_hour: float = 0.0
    retention: Retention = field(default_factory=Retention)
    kept: Kept = field(default_factory=Kept)
    retries: Retries = field(default_factory=Retries)

    def idle_time(self, own_s: float | None) -> timedelta:
        """That of a cluster, which may have its own."""
        return self.idle_timeout if own_s is None else timedelta(seconds=own_s)


def new_etag() -> str:
    return f"0x{uuid.uuid4().hex[:16].upper()}"


def record(
    unit: Unit,
    at: datetime,
    kind: str,
    object_id: str,
    before: str,
    after: str,
    event: str,
    reason: str = "",
    actor: str = "service",
) -> None:
    """Write one event row: the user's "why", and the tests' oracle."""
    unit.events.add(Event(0, kind, object_id, before, after, event, reason, actor, at))
    unit.changed = True


def group(unit: Unit, name: str) -> ResourceGroup:
    """Raises 404 ResourceGroupNotFound."""
    found = unit.groups.get(key=ids.fold(name))
    if found is None:
        raise ServiceError(404, Code.RESOURCE_GROUP_NOT_FOUND, f"Resource group '{name}' could not be found.")
    return found


def writable_group(unit: Unit, name: str) -> ResourceGroup:
    """The group, to create something in. Raises 404 ResourceGroupNotFound, 409 while it is being deleted."""
    found = group(unit, name)
    if found.deleting:
        raise ServiceError(
            409,
            Code.RESOURCE_GROUP_BEING_DELETED,
            f"The resource group '{found.name}' is in deprovisioning state and cannot perform this "
            "operation.",
        )
    return found


def workspace(unit: Unit, group_name: str, name: str) -> Workspace:
    """Raises 404 WorkspaceNotFound."""
    found = unit.workspaces.get(group_key=ids.fold(group_name), key=ids.fold(name))
    if found is None:
        raise ServiceError(404, Code.WORKSPACE_NOT_FOUND, f"The specified workspace {name} is not found")
    return found


def refuse_while_deleting(kind: str, name: str, deleting: bool) -> None:
    if deleting:
        raise ServiceError(409, Code.CONFLICT, f"The {kind} {name} is being deleted.")


def other_location(name: str, location: str, group_name: str, wanted: str) -> ServiceError:
    """What ARM answers to a PUT of an existing resource with another location than it has."""
    return ServiceError(
        409,
        Code.INVALID_RESOURCE_LOCATION,
        f"The resource '{name}' already exists in location '{location}' in resource group '{group_name}'. A "
        f"resource with the same name cannot be created in location '{wanted}'. Please select a new resource "
        "name.",
        target="location",
    )
