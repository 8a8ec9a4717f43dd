"""What a region holds against its quotas (batchai-service.md section 16)."""

from openbatchai.domain import ids, quotas
from openbatchai.domain.jobs import FINISHED, ExecutionState
from openbatchai.domain.model import Cluster
from openbatchai.domain.quotas import Usage
from openbatchai.store.unit import Unit

from .context import Context


def listing(context: Context, location: str) -> list[Usage]:
    """Raises 400 for what is no location."""
    region = ids.region(ids.check_location(location, "Microsoft.BatchAI/locations/usages"))
    with context.store.read() as unit:
        found = _of_region(unit, region)
        active = [state for state in ExecutionState if state not in FINISHED]
        by_cluster = [cluster.id for cluster in found]
        jobs = unit.jobs.count(cluster_id=by_cluster, execution_state=active) if by_cluster else 0
    return quotas.usages(found, jobs, context.quotas)


def check(context: Context, unit: Unit, wanted: Cluster, location: str) -> None:
    """Raises 409 ClusterQuotaReached. `wanted.id` is 0 for a new one."""
    others = [cluster for cluster in _of_region(unit, ids.region(location)) if cluster.id != wanted.id]
    quotas.check(wanted, others, context.quotas, is_new=not wanted.id)


def _of_region(unit: Unit, region: str) -> list[Cluster]:
    here = [parent.id for parent in unit.workspaces.list() if ids.region(parent.location) == region]
    return unit.clusters.list(workspace_id=here)
