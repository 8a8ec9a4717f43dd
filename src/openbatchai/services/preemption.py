"""Low-priority nodes are taken away: by hand, or at random to rehearse it (batchai-service.md section 8.2).

The node's job is stopped, with the notice that a TERM gives, and queued again; the node leaves when its run
is over, and the cluster gets another one.
"""

import math
import random
from datetime import datetime

from openbatchai.domain.clusters import NodeEvent, NodeState
from openbatchai.domain.errors import Code, ServiceError
from openbatchai.domain.jobs import JobEvent
from openbatchai.domain.model import Cluster, Node
from openbatchai.domain.runs import RunState
from openbatchai.store.unit import Unit

from .context import Context
from .stories import named_cluster
from .transitions import move_job, move_node

_LOW_PRIORITY = "lowpriority"


def nodes_of(context: Context, cluster_name: str) -> list[Node]:
    """The nodes of a cluster, by its name or resource id. Raises as `stories.events` does."""
    with context.store.read() as unit:
        cluster = named_cluster(unit, cluster_name)
        return unit.nodes.list(cluster_id=cluster.id, order=unit.nodes.table.c.id)


def preempt(context: Context, cluster_name: str, node_id: str, actor: str) -> Node:
    """Take the node away; "" for one at random. The node as it is then.

    Raises 404 for no such cluster or node, 409 for a cluster of dedicated nodes or one without nodes.
    """

    def work(unit: Unit) -> Node:
        cluster = named_cluster(unit, cluster_name)
        if cluster.spec["vmPriority"] != _LOW_PRIORITY:
            raise ServiceError(
                409,
                Code.CONFLICT,
                f"The nodes of cluster {cluster.name} are dedicated: only low-priority ones are preempted.",
            )
        nodes = [node for node in unit.nodes.list(cluster_id=cluster.id) if _can_go(node)]
        if node_id:
            nodes = unit.nodes.list(cluster_id=cluster.id, id=node_id)
            if not nodes:
                message = f"The cluster {cluster.name} has no node '{node_id}'."
                raise ServiceError(404, Code.RESOURCE_NOT_FOUND, message)
        if not nodes:
            raise ServiceError(409, Code.CONFLICT, f"The cluster {cluster.name} has no node to preempt.")
        node = random.choice(nodes)
        _take_away(context, unit, node, actor)
        return node

    return context.store.write(work)


def rehearse(context: Context, unit: Unit, since: datetime, chance: random.Random) -> None:
    """Preempt nodes at random, by the rate of the settings, for the time that passed since."""
    passed_s = (context.clock.now() - since).total_seconds()
    share = 1 - math.exp(-max(passed_s, 0) / 3600 * context.preemptions_per_node_hour)
    clusters = [row for row in unit.clusters.list() if row.spec["vmPriority"] == _LOW_PRIORITY]
    for node in _nodes(unit, clusters):
        if _can_go(node) and chance.random() < share:
            _take_away(context, unit, node, "rehearsal")


def _nodes(unit: Unit, clusters: list[Cluster]) -> list[Node]:
    ids = [cluster.id for cluster in clusters if not cluster.deleting]
    return unit.nodes.list(cluster_id=ids, order=unit.nodes.table.c.id) if ids else []


def _can_go(node: Node) -> bool:
    return node.state is not NodeState.LEAVING and not node.leave_after_run


def _take_away(context: Context, unit: Unit, node: Node, actor: str) -> None:
    if not _can_go(node):
        return
    now, reason = context.clock.now(), f"node {node.id} is preempted"
    # A running node leaves with its run; any other at once.
    node.leave_after_run = node.state is NodeState.RUNNING
    move_node(unit, node, NodeEvent.PREEMPT, now, reason, actor)
    run = unit.runs.get(id=node.run_id) if node.leave_after_run else None
    job = None if run is None else unit.jobs.get(id=run.job_id)
    if job is None or run is None or run.state is not RunState.ACTIVE:
        return
    if unit.tasks.count(run_id=run.id, ended=False) == 0:
        # Over, and only not yet published: nothing is left to stop, and nothing must run again.
        return
    job.requeue = True
    move_job(unit, job, JobEvent.REQUEUE, now, reason, actor)
