"""How to reach nodes by ssh (batchai-service.md section 15)."""

from openbatchai.domain.clusters import NodeState
from openbatchai.domain.model import LoginInformation, Node

from . import clusters, jobs
from .context import Context
from .facts import facts_of
from .flat import NotFound
from .jobs import Place

# Nodes of an engine on this machine have its own ssh server, if there is one, at each node's address.
_SSH_PORT = 22


def of_cluster(
    context: Context, group_name: str, workspace_name: str | None, name: str, not_found: NotFound
) -> list[LoginInformation]:
    with context.store.read() as unit:
        _, cluster = clusters.find(unit, group_name, workspace_name, name, not_found)
        return _logins(unit.nodes.list(cluster_id=cluster.id, order=unit.nodes.table.c.id))


def of_job(
    context: Context, group_name: str, place: Place, name: str, not_found: NotFound
) -> list[LoginInformation]:
    """The nodes on which it runs; none when it does not."""
    with context.store.read() as unit:
        _, _, job = jobs.find(unit, group_name, place, name, not_found)
        if not job.run_id:
            return []
        return _logins(unit.nodes.list(run_id=job.run_id, order=unit.nodes.table.c.id))


def _logins(nodes: list[Node]) -> list[LoginInformation]:
    there = [node for node in nodes if node.provisioned and node.state is not NodeState.LEAVING]
    return [LoginInformation(node.id, facts_of(node).address, _SSH_PORT) for node in there]
