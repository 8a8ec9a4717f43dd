"""How long an autoscale cluster keeps an idle node: a setting that Azure's contract has no place for."""

import math
from dataclasses import dataclass
from typing import Any

from openbatchai.domain.errors import invalid_property
from openbatchai.domain.model import Cluster
from openbatchai.store.unit import Unit

from .context import Context, record, refuse_while_deleting
from .stories import named_cluster

# A year: beyond it nobody means a number, and dates end somewhere.
_MOST_S = 365 * 86400.0


@dataclass(frozen=True)
class IdleTime:
    """`is_own` says that the cluster has one, else it is that of the home."""

    cluster: str
    seconds: float
    is_own: bool


def get(context: Context, cluster_name: str) -> IdleTime:
    """By the cluster's name or resource id. Raises as `stories.named_cluster` does."""
    with context.store.read() as unit:
        return _of(context, named_cluster(unit, cluster_name))


def put(context: Context, cluster_name: str, seconds: Any, actor: str) -> IdleTime:
    """Give the cluster a time of its own; None takes it back.

    Raises as `get` does, 400 for what is no number of seconds from 0 to a year, 409 while it is deleted.
    """
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if seconds is not None and not (is_number and math.isfinite(seconds) and 0 <= seconds <= _MOST_S):
        message = f"The value of 'idleTimeSeconds' is null or a number of seconds from 0 to {_MOST_S:.0f}."
        raise invalid_property("idleTimeSeconds", message)

    def work(unit: Unit) -> IdleTime:
        cluster = named_cluster(unit, cluster_name)
        refuse_while_deleting("cluster", cluster.name, cluster.deleting)
        before = _of(context, cluster)
        cluster.idle_s = None if seconds is None else float(seconds)
        after = _of(context, cluster)
        if after != before:
            unit.clusters.save(cluster)
            reason = f"{before.seconds:g} s before" + ("" if after.is_own else "; that of the home again")
            now, shown = context.clock.now(), (f"{before.seconds:g} s", f"{after.seconds:g} s")
            record(unit, now, "cluster", str(cluster.id), *shown, "idleTime", reason, actor)
        return after

    return context.store.write(work)


def _of(context: Context, cluster: Cluster) -> IdleTime:
    seconds = context.idle_time(cluster.idle_s).total_seconds()
    return IdleTime(cluster.name, seconds, cluster.idle_s is not None)
