"""What happened to an object, and why a job waits."""

import re
from dataclasses import dataclass

from sqlalchemy import select

from openbatchai.domain import ids
from openbatchai.domain.errors import Code, ServiceError
from openbatchai.domain.jobs import FINISHED, ExecutionState
from openbatchai.domain.model import Cluster, Event, Job
from openbatchai.domain.reasons import Waiting, told, why_waiting
from openbatchai.domain.waiting import QueuedJob
from openbatchai.store import tables
from openbatchai.store.unit import Unit

from . import gone
from .context import Context
from .gone import Gone

# One answer's worth.
MOST_EVENTS = 1000

_RESOURCE = re.compile(
    r"(?:/subscriptions/[^/]+)?/resourceGroups/(?P<group>[^/]+)/providers/Microsoft\.BatchAI"
    r"(?:/workspaces/(?P<workspace>[^/]+))?(?:/experiments/(?P<experiment>[^/]+))?"
    r"/(?P<kind>workspaces|clusters|fileservers|experiments|jobs)/(?P<name>[^/]+)/?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Named:
    """An object of events: its kind and id there, and what it is called."""

    kind: str
    id: str
    name: str
    gone: Gone | None = None


def events(context: Context, text: str, most: int, *, all_of_it: bool) -> tuple[Named, list[Event]]:
    """The newest events of what `text` names, oldest first: a resource id, the id of a node, run or task, or
    the name of a job or cluster. With `all_of_it` those of a job's runs and tasks, or of a cluster's nodes,
    are among them. Deleted objects are found as long as their events are kept, unless another has their name.

    Raises 404 for what never was, 400 for a name that several have.
    """
    with context.store.read() as unit:
        found = _resolve(unit, text)
        objects = [found, *(_parts(unit, found) if all_of_it else ())]
        if all_of_it and found.kind == "cluster":
            objects += _gone_nodes(unit, found, most)
        e = tables.events.c
        wanted = {(part.kind, part.id) for part in objects}
        # Ids of one kind are no ids of another but for whole numbers, which jobs and clusters have.
        rows = unit.events.list(
            e.kind.in_({kind for kind, _ in wanted}),
            object_id=[part.id for part in objects],
            order=e.id.desc(),
            limit=most,
        )
        return found, rows[::-1]


def waiting(context: Context, text: str) -> tuple[Job, Waiting | None, str]:
    """Why the job waits, and that in words; None for one that does not wait.

    Raises as `events` does, and 400 for what is no job.
    """

    def work(unit: Unit) -> tuple[Job, Waiting | None, str]:
        job = job_named(unit, text)
        if job.execution_state is not ExecutionState.QUEUED:
            verb = "has" if job.execution_state in FINISHED else "is"
            return job, None, f"It does not wait: it {verb} {job.execution_state}."
        cluster = context.kept.current(unit).clusters.get(job.cluster_id)
        if cluster is None:
            raise LookupError(f"job {job.id} has lost its cluster")
        queued = QueuedJob(job.id, job.priority, job.node_count, job.limit_s)
        answer = why_waiting(cluster, queued, context.clock.now(), context.idle_time(cluster.idle_s))
        head = None if answer.head is None else unit.jobs.get(id=answer.head)
        hold = f" No run starts at present: {context.kept.hold}." if context.kept.hold else ""
        return job, answer, told(answer, head.name if head else "") + hold

    # On the thread that keeps the scheduler's view, so that the answer is of one moment.
    return context.store.write(work)


def job_named(unit: Unit, text: str) -> Job:
    """Raises as `events` does, and 400 for what is no job."""
    found = _resolve(unit, text, "job")
    if found.gone:
        raise ServiceError(404, Code.RESOURCE_NOT_FOUND, f"The {found.kind} '{text}' is deleted.")
    job = unit.jobs.get(id=int(found.id)) if found.kind == "job" else None
    if job is None:
        raise _refused(text, f"{found.name} is no job, but a {found.kind}.")
    return job


def named_cluster(unit: Unit, text: str) -> Cluster:
    """The cluster of this name or resource id. Raises 404, and 400 for a name that several have."""
    rows = [] if "/" in text else unit.clusters.list(key=ids.fold(text))
    if "/" in text:
        found = _resource(unit, text)
        rows = unit.clusters.list(id=int(found.id)) if found.kind == "cluster" else []
    if not rows:
        raise ServiceError(404, Code.CLUSTER_NOT_FOUND, f"There is no cluster '{text}'.")
    if len(rows) > 1:
        many = ", ".join(sorted(_id_of(unit, Named("cluster", str(row.id), row.name)) for row in rows))
        raise _refused(text, f"Several have this name: {many}.")
    return rows[0]


def _resolve(unit: Unit, text: str, wanted: str = "job, cluster, node or run") -> Named:
    if "/" in text:
        return _resource(unit, text)
    found = [
        Named(row.kind, row.object_id, row.object_id)
        for row in unit.events.list(object_id=text, kind=["node", "run", "task"], limit=1)
    ]
    for kind, table in (("job", tables.jobs), ("cluster", tables.clusters)):
        statement = select(table.c.id, table.c.name).where(table.c.key == ids.fold(text))
        found += [Named(kind, str(row.id), row.name) for row in unit.connection.execute(statement)]
    if not found:
        found = [_named(each) for each in gone.named(unit, text, ("job", "cluster"))]
    if not found:
        raise ServiceError(404, Code.RESOURCE_NOT_FOUND, f"There is no {wanted} '{text}'.")
    if len(found) > 1:
        many = ", ".join(sorted(_id_of(unit, each) for each in found))
        raise _refused(text, f"Several have this name: {many}.")
    return found[0]


def _named(found: Gone) -> Named:
    return Named(found.kind, found.id, found.names[-1], found)


def _refused(text: str, message: str) -> ServiceError:
    return ServiceError(400, Code.INVALID_PROPERTY_VALUE, f"'{text}': {message}", target="object")


def _resource(unit: Unit, text: str) -> Named:
    match = _RESOURCE.fullmatch(text)
    missing = ServiceError(404, Code.RESOURCE_NOT_FOUND, f"There is no resource '{text}'.")
    if match is None:
        raise missing
    group, name, kind = ids.fold(match["group"]), ids.fold(match["name"]), ids.fold(match["kind"])
    if kind == "workspaces":
        parent = unit.workspaces.get(group_key=group, key=name)
        if parent is not None:
            return Named("workspace", str(parent.id), parent.name)
        if old := gone.at(unit, "workspace", (group, name)):
            return _named(old)
        raise missing
    wanted = {"key": ids.fold(match["workspace"])} if match["workspace"] else {}
    experiment = match["experiment"] or ids.MIGRATED_EXPERIMENT
    places = [match["workspace"]] if match["workspace"] else []
    for parent in unit.workspaces.list(group_key=group, **wanted):
        if not match["workspace"] and not ids.is_migrated_workspace(parent.name):
            continue
        if found := _child(unit, parent.id, kind, name, experiment):
            return found
        places.append(parent.name)
    for place in places:
        names = (group, place, experiment, name) if kind == "jobs" else (group, place, name)
        if old := gone.at(unit, _KINDS[kind], names):
            return _named(old)
    raise missing


# As paths name them, folded, and as events do.
_KINDS = {"jobs": "job", "clusters": "cluster", "fileservers": "fileServer", "experiments": "experiment"}


def _child(unit: Unit, workspace_id: int, kind: str, name: str, experiment: str) -> Named | None:
    where = {"workspace_id": workspace_id, "key": name}
    if kind == "jobs":
        parent = unit.experiments.get(workspace_id=workspace_id, key=ids.fold(experiment))
        job = None if parent is None else unit.jobs.get(experiment_id=parent.id, key=name)
        return None if job is None else Named("job", str(job.id), job.name)
    if kind == "clusters":
        cluster = unit.clusters.get(**where)
        return None if cluster is None else Named("cluster", str(cluster.id), cluster.name)
    if kind == "fileservers":
        server = unit.file_servers.get(**where)
        return None if server is None else Named("fileServer", str(server.id), server.name)
    found = unit.experiments.get(**where)
    return None if found is None else Named("experiment", str(found.id), found.name)


def _id_of(unit: Unit, named: Named) -> str:
    """A path by which it can be told from others of its name."""
    if named.gone:
        group, workspace, *between, name = named.gone.names
        place = f"/resourceGroups/{group}/providers/{ids.PROVIDER}/workspaces/{workspace}"
        return "/".join((place, *(f"experiments/{each}" for each in between), f"{named.kind}s", name))
    if named.kind == "cluster":
        cluster = unit.clusters.get(id=int(named.id))
        parent = None if cluster is None else unit.workspaces.get(id=cluster.workspace_id)
        middle = "clusters"
    else:
        job = unit.jobs.get(id=int(named.id)) if named.kind == "job" else None
        experiment = None if job is None else unit.experiments.get(id=job.experiment_id)
        parent = None if experiment is None else unit.workspaces.get(id=experiment.workspace_id)
        middle = "" if experiment is None else f"experiments/{experiment.name}/jobs"
    if parent is None:
        return named.id
    place = f"/resourceGroups/{parent.group_name}/providers/{ids.PROVIDER}/workspaces/{parent.name}"
    return f"{place}/{middle}/{named.name}"


def _gone_nodes(unit: Unit, cluster: Named, most: int) -> list[Named]:
    """The last `most` nodes that a cluster was given, by their own stories: those that left have no rows."""
    e = tables.events.c
    first = unit.events.list(kind="cluster", object_id=cluster.id, order=e.id, limit=1)
    row = unit.clusters.get(id=int(cluster.id))
    if not first:
        return []
    if cluster.gone:
        place = _place(*cluster.gone.names)
    elif row is not None:
        place = place_of(unit, row)
    else:
        return []
    # One of the same name may have come after it.
    until = [e.id < cluster.gone.removed] if cluster.gone else []
    rows = unit.events.list(
        # The ids of all nodes begin so: by their index, and not through the whole table.
        e.object_id >= "tvm-",
        e.object_id < "tvm.",
        e.id > first[0].id,
        *until,
        (e.reason == place) | e.reason.startswith(f"{place} in place of ", autoescape=True),
        kind="node",
        event="allocate",
        order=e.id.desc(),
        limit=most,
    )
    return [Named("node", event.object_id, event.object_id) for event in rows]


def place_of(unit: Unit, cluster: Cluster) -> str:
    """The cluster in the words of its nodes' stories: by them its former nodes are found again."""
    parent = unit.workspaces.get(id=cluster.workspace_id)
    if parent is None:
        raise LookupError(f"cluster {cluster.id} has lost its workspace")
    return _place(parent.group_name, parent.name, cluster.name)


def _place(*names: str) -> str:
    return f"cluster {'/'.join(names)}"


def _parts(unit: Unit, found: Named) -> list[Named]:
    if found.gone:
        return [Named(kind, part, part) for kind, part in found.gone.parts]
    if found.kind == "job":
        runs = [Named("run", run.id, run.id) for run in unit.runs.list(job_id=int(found.id))]
        return runs + [Named("task", task.id, task.id) for task in unit.tasks.list(job_id=int(found.id))]
    if found.kind == "cluster":
        return [Named("node", node.id, node.id) for node in unit.nodes.list(cluster_id=int(found.id))]
    if found.kind == "node":
        return [Named("task", task.id, task.id) for task in unit.tasks.list(node_id=found.id)]
    if found.kind == "run":
        return [Named("task", task.id, task.id) for task in unit.tasks.list(run_id=found.id)]
    return []
