"""What the usages of a region count, and the quotas they are held against (batchai-service.md section 16).

Nothing is scarce on one's own machine, so the default quotas are beyond what anybody will meet; a home's
configuration may lower them, by the usages' own names.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .clusters import scale_of
from .errors import Code, ServiceError
from .model import Cluster
from .vmsizes import CATALOGUE

CLUSTERS = "Clusters"
ACTIVE_JOBS = "ActiveJobs"
_CORES = "Total Cluster {} Regional vCPUs"
_FAMILY_CORES = "Standard {} Family Cluster {} vCPUs"
_PRIORITIES = {"dedicated": "Dedicated", "lowpriority": "LowPriority"}
_FAMILIES = ("D", "Dv2", "NC", "NCv2", "NCv3", "ND", "NV")
_SIZE = re.compile(r"STANDARD_([A-Z]+)\d+[A-Z]*?(?:_(V\d))?")

_DEFAULT_CLUSTERS = 200
_DEFAULT_CORES = 1_000_000
_DEFAULT_JOBS = 1_000_000

NAMES = (
    CLUSTERS,
    *(
        name
        for word in _PRIORITIES.values()
        for name in (_CORES.format(word), *(_FAMILY_CORES.format(family, word) for family in _FAMILIES))
    ),
)


@dataclass(frozen=True)
class Usage:
    name: str
    current: int
    limit: int

    @property
    def localized_name(self) -> str:
        return self.name.replace("LowPriority", "Low Priority").replace("ActiveJobs", "Active Jobs")


def limit_of(name: str, quotas: Mapping[str, int]) -> int:
    default = {CLUSTERS: _DEFAULT_CLUSTERS, ACTIVE_JOBS: _DEFAULT_JOBS}.get(name, _DEFAULT_CORES)
    return quotas.get(name, default)


def usages(clusters: Iterable[Cluster], active_jobs: int, quotas: Mapping[str, int]) -> list[Usage]:
    """Of the clusters of one region: how many, and the vCPUs of the nodes they have been asked to have."""
    current = dict.fromkeys((*NAMES, ACTIVE_JOBS), 0)
    current[ACTIVE_JOBS] = active_jobs
    for cluster in clusters:
        current[CLUSTERS] += 1
        for name, cores in _cores(cluster, cluster.target).items():
            current[name] += cores
    return [Usage(name, count, limit_of(name, quotas)) for name, count in current.items()]


def check(wanted: Cluster, others: Iterable[Cluster], quotas: Mapping[str, int], *, is_new: bool) -> None:
    """Raise 409 ClusterQuotaReached when the region has no room for `wanted`. An autoscale cluster counts
    with its maximum, so that it never meets the quota later, where nobody would see why."""
    others = list(others)
    if is_new and len(others) + 1 > limit_of(CLUSTERS, quotas):
        raise _exceeded("Microsoft.BatchAI/clusters", limit_of(CLUSTERS, quotas), len(others))
    asked = _cores(wanted, scale_of(wanted.spec).maximum)
    in_use = dict.fromkeys(asked, 0)
    for cluster in others:
        for name, cores in _cores(cluster, scale_of(cluster.spec).maximum).items():
            if name in in_use:
                in_use[name] += cores
    for name, cores in asked.items():
        if cores and in_use[name] + cores > limit_of(name, quotas):
            raise _exceeded(name, limit_of(name, quotas), in_use[name], cores)


def _exceeded(what: str, limit: int, current: int, additional: int = 1) -> ServiceError:
    return ServiceError(
        409,
        Code.CLUSTER_QUOTA_REACHED,
        f"Operation results in exceeding quota limits of {what}. Maximum allowed: {limit}, "
        f"Current in use: {current}, Additional requested: {additional}.",
    )


def _cores(cluster: Cluster, nodes: int) -> dict[str, int]:
    """vCPUs by the names of the usages that count them."""
    word = _PRIORITIES[cluster.spec["vmPriority"]]
    size = CATALOGUE[cluster.spec["vmSize"]]
    names = [_CORES.format(word)]
    if (family := _family(size.name)) in _FAMILIES:
        names.append(_FAMILY_CORES.format(family, word))
    return dict.fromkeys(names, size.cores * nodes)


def _family(size: str) -> str:
    found = _SIZE.fullmatch(size)
    return f"{found[1]}{(found[2] or '').lower()}" if found else ""
