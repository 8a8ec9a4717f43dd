"""The scheduler's view, loaded from the store once and kept by what is committed from then on.

All of it happens on the store's writer thread: a transaction that plans sees the view as of its own moment.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from openbatchai.domain.clusters import AllocationState, scale_of
from openbatchai.domain.jobs import LIVE, ExecutionState
from openbatchai.domain.view import Change, ClusterChange, ClusterView, NodeView, RunView, View
from openbatchai.domain.waiting import QueuedJob
from openbatchai.store import tables
from openbatchai.store.unit import Unit

log = logging.getLogger(__name__)


def load(connection: Connection) -> View:
    """The view of what the store holds. Every cluster is to be planned, and every run to be looked at."""
    view = View()
    for row in connection.execute(select(tables.clusters)):
        resizing = row.allocation_state is AllocationState.RESIZING
        view.take(ClusterChange(row.id, scale_of(row.spec), row.target, row.deleting, resizing))
    nodes = tables.nodes.c
    columns = (nodes.cluster_id, nodes.id, nodes.state, nodes.changed, nodes.run_id, nodes.leave_after_run)
    for cluster_id, *rest in connection.execute(select(*columns)):
        view.put_node(cluster_id, NodeView(*rest))
    _load_jobs(connection, view)
    return view


def _load_jobs(connection: Connection, view: View) -> None:
    jobs = tables.jobs.c
    columns = (jobs.cluster_id, jobs.id, jobs.priority, jobs.node_count, jobs.limit_s)
    # In the order of ids, in which adding is cheapest.
    queued = select(*columns).where(jobs.execution_state == ExecutionState.QUEUED).order_by(jobs.id)
    queues = {cluster_id: cluster.queue for cluster_id, cluster in view.clusters.items()}
    for cluster_id, job_id, priority, node_count, limit in connection.execute(queued):
        if cluster_id in queues:
            queues[cluster_id].add(QueuedJob(job_id, priority, node_count, limit))
    live = select(jobs.cluster_id, jobs.id, jobs.run_id, jobs.started, jobs.limit_s)
    for row in connection.execute(live.where(jobs.execution_state.in_(sorted(LIVE)))):
        cluster: ClusterView | None = view.clusters.get(row.cluster_id)
        if cluster is not None and row.started is not None:
            until = row.started + timedelta(seconds=row.limit_s)
            cluster.runs[row.id] = RunView(row.run_id, until)
        view.runs_due.add(row.id)


class Kept:
    """The kept view, and what time alone will change: `deadlines` by cluster, when its plan changes; `held`
    by job, until when its end waits for a reader of its logs."""

    def __init__(self) -> None:
        self._view: View | None = None
        self.deadlines: dict[int, datetime] = {}
        self.held: dict[int, datetime] = {}

    def committed(self, changes: Sequence[Change]) -> None:
        try:
            self._take(changes)
        except Exception:
            log.exception("the scheduler's view cannot be kept up; it is loaded anew")
            self.lost()

    def lost(self) -> None:
        self._view = None
        self.deadlines.clear()
        self.held.clear()

    def current(self, unit: Unit) -> View:
        """The view as this transaction sees it."""
        changes = unit.take_changes()
        if self._view is None:
            self._view = load(unit.connection)
        else:
            self._take(changes)
        return self._view

    def _take(self, changes: Sequence[Change]) -> None:
        if self._view is not None:
            for change in changes:
                self._view.take(change)
