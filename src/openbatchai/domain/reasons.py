"""Why a job waits: a pure function of what the scheduler sees, and its answer in words."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from .clusters import count_states
from .placement import nodes_to_come, plan_starts, target_of, widest
from .view import ClusterView
from .waiting import QueuedJob


class Reason(StrEnum):
    CLUSTER_DELETING = "clusterDeleting"
    NEVER_FITS = "neverFits"
    TOO_FEW_USABLE_NODES = "tooFewUsableNodes"
    NODES_BUSY = "nodesBusy"
    NODES_COMING_UP = "nodesComingUp"
    JOBS_BEFORE_IT = "jobsBeforeIt"
    STARTING = "starting"


@dataclass(frozen=True)
class Waiting:
    """`position` counts from 1, among the cluster's jobs that can have their nodes; 0 for one that cannot.
    `head` is the job that holds the reservation, `by` the time of that: when the head starts at the
    latest. `counts` are `nodeStateCounts`, `target` and `maximum` numbers of nodes."""

    reason: Reason
    needs: int
    position: int
    counts: dict[str, int] = field(default_factory=dict)
    target: int = 0
    maximum: int = 0
    head: int | None = None
    head_needs: int = 0
    by: datetime | None = None


def why_waiting(cluster: ClusterView, job: QueuedJob, now: datetime, idle_timeout: timedelta) -> Waiting:
    """For a job of the cluster's queue."""
    counts = count_states(node.state for node in cluster.nodes())
    target = target_of(cluster, now, idle_timeout)
    most = cluster.scale.maximum

    def answer(reason: Reason, position: int = 0, **more: object) -> Waiting:
        return Waiting(reason, job.node_count, position, counts, target, most, **more)  # type: ignore[arg-type]

    if cluster.deleting:
        return answer(Reason.CLUSTER_DELETING)
    if job.node_count > most:
        return answer(Reason.NEVER_FITS)
    reach = widest(cluster, set(), nodes_to_come(cluster, target))
    if job.node_count > reach:
        return answer(Reason.TOO_FEW_USABLE_NODES)
    position = 1 + cluster.queue.before(job, reach)
    starts, held = plan_starts(cluster, now, idle_timeout)
    if held is None or any(start.job_id == job.id for start in starts):
        return answer(Reason.STARTING, position)
    if held.job.id != job.id:
        return answer(
            Reason.JOBS_BEFORE_IT, position, head=held.job.id, head_needs=held.job.node_count, by=held.at
        )
    reason = Reason.NODES_BUSY if held.at > now else Reason.NODES_COMING_UP
    return answer(reason, position, by=held.at)


def told(waiting: Waiting, head_name: str = "") -> str:
    """The answer as a sentence or two."""
    needs, counts = _nodes(waiting.needs), waiting.counts
    match waiting.reason:
        case Reason.CLUSTER_DELETING:
            return "Its cluster is being deleted."
        case Reason.NEVER_FITS:
            most = f"at most {_nodes(waiting.maximum)}" if waiting.maximum else "a target of 0 nodes"
            return f"It needs {needs}, and the cluster has {most}: it starts when the cluster is resized."
        case Reason.TOO_FEW_USABLE_NODES:
            unusable = counts["unusableNodeCount"]
            return (
                f"It needs {needs}, and too few of the cluster's are usable: {unusable} unusable. "
                "It holds no other job back meanwhile."
            )
        case Reason.STARTING:
            return f"It needs {needs}, which are free: it is about to start."
        case Reason.NODES_COMING_UP:
            return f"It is the next to start and needs {needs}; {_shown(counts)}. Nodes are coming up."
        case Reason.NODES_BUSY:
            latest = f"{waiting.by:%Y-%m-%d %H:%M:%S}Z"
            return (
                f"It is the next to start and needs {needs}; {_shown(counts)}. By the limits of the jobs "
                f"that run, it starts at {latest} at the latest."
            )
        case Reason.JOBS_BEFORE_IT:
            before = waiting.position - 1
            jobs = "job is" if before == 1 else "jobs are"
            next_one = f"{head_name}, " if head_name else ""
            return (
                f"{before} {jobs} before it; the next to start, {next_one}needs "
                f"{_nodes(waiting.head_needs)}. It needs {needs}; {_shown(counts)}."
            )


def _nodes(count: int) -> str:
    return f"{count} node" if count == 1 else f"{count} nodes"


def _shown(counts: dict[str, int]) -> str:
    states = ("idle", "running", "preparing", "unusable", "leaving")
    numbers = {"busy" if state == "running" else state: counts[f"{state}NodeCount"] for state in states}
    found = ", ".join(f"{number} {word}" for word, number in numbers.items() if number)
    return f"of the cluster's nodes: {found}" if found else "the cluster has no nodes"
