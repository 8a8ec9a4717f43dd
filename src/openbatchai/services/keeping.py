"""The scheduler's view, loaded from the store once and kept by what is committed from then on.

All of it happens on the store's writer thread: a transaction that plans sees the view as of its own moment.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, select, true

from openbatchai.domain.clusters import AllocationState, scale_of
from openbatchai.domain.jobs import LIVE, ExecutionState
from openbatchai.domain.view import (
    Change,
    ClusterChange,
    ClusterView,
    EffectQueued,
    NodeView,
    OperationOpened,
    RunView,
    View,
)
from openbatchai.domain.waiting import QueuedJob
from openbatchai.store import tables
from openbatchai.store.unit import Unit

log = logging.getLogger(__name__)


def load(connection: Connection) -> View:
    """The view of what the store holds; every cluster is to be planned, every run with an ended task due."""
    view = View()
    for row in connection.execute(select(tables.clusters)):
        resizing = row.allocation_state is AllocationState.RESIZING
        scale = scale_of(row.spec)
        view.take(ClusterChange(row.id, scale, row.target, row.deleting, resizing, row.idle_s))
    nodes = tables.nodes.c
    columns = (nodes.cluster_id, nodes.id, nodes.state, nodes.changed, nodes.run_id, nodes.leave_after_run)
    for cluster_id, *rest in connection.execute(select(*columns, nodes.attempt)):
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
    tasks = tables.tasks.c
    ended = select(jobs.id).join(tables.tasks, tasks.run_id == jobs.run_id).where(tasks.ended == true())
    view.runs_due.update(connection.scalars(ended.where(jobs.execution_state.in_(sorted(LIVE)))))


class Kept:
    """The kept view, and what there is to do besides: a round that finds none of it need not be made.

    `deadlines` are the times when the plan of a cluster changes, `held` until when the end of a job waits for
    a reader of its logs. `effects` are the kinds that were queued and not looked for since, `operations` says
    that some may be open. `hold` is why the engine lets no run start, `told_hold` that a job's story says so.
    `undeletable` is what the log says already that it could not be removed.
    The writer's thread alone changes the view. What another thread reads is replaced by it as a whole;
    `effects` grows before the wake-up, and shrinks before the look at the store.
    """

    def __init__(self) -> None:
        self._view: View | None = None
        self.deadlines: dict[int, datetime] = {}
        self.held: dict[int, datetime] = {}
        self.effects: set[str] = set()
        self.operations = True
        self.hold = ""
        self.told_hold = False
        self.undeletable: set[str] = set()

    def committed(self, changes: Sequence[Change]) -> None:
        self.effects.update(change.kind for change in changes if isinstance(change, EffectQueued))
        try:
            self._take(changes)
        except Exception:
            log.exception("the scheduler's view cannot be kept up; it is loaded anew")
            self.lost()

    def lost(self) -> None:
        self._view = None
        self.deadlines, self.held = {}, {}
        self.operations = True

    def current(self, unit: Unit) -> View:
        """The view as this transaction sees it."""
        changes = unit.take_changes()
        self.effects.update(change.kind for change in changes if isinstance(change, EffectQueued))
        self._take(changes)
        if self._view is None:
            self._view = load(unit.connection)
        return self._view

    def is_due(self, now: datetime) -> bool:
        """Whether a decision could find anything, but for what the engine reports."""
        view = self._view
        if view is None or self.operations or self.held:
            return True
        next_time = self.next_time()
        return bool(view.changed or view.runs_due or (next_time is not None and next_time <= now))

    def next_time(self) -> datetime | None:
        return min((*self.deadlines.values(), *self.held.values()), default=None)

    def _take(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if isinstance(change, OperationOpened):
                self.operations = True
            elif self._view is not None:
                self._view.take(change)
