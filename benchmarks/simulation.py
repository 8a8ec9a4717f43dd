"""A deterministic simulation: the real store, services and domain over nodes and jobs that exist only there.

Clusters of 1,000 nodes, each node with a job of one node that runs, and a queue of further jobs, written to
the database in bulk. What is measured then is the service's own code: an event comes in, and the transaction
that takes it writes the decisions that follow.
"""

import itertools
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from openbatchai.domain.clusters import AllocationState, NodeState
from openbatchai.domain.jobs import ExecutionState
from openbatchai.domain.model import Cluster, Job, Node, Run, Task
from openbatchai.domain.ports import NodeFacts, TaskEvent, TaskEventKind, TaskKind
from openbatchai.domain.runs import RunState
from openbatchai.engines.fake import FakeEngine
from openbatchai.loops.reconciler import Reconciler
from openbatchai.services import clusters, groups, jobs, workspaces
from openbatchai.services.context import Context
from openbatchai.services.facts import to_row
from openbatchai.store import tables
from openbatchai.store.schema import upgrade
from openbatchai.store.secrets import SecretBox
from openbatchai.store.unit import Rows, Store, Unit, open_engine
from openbatchai.wire.batchai.versions import LATEST

CLUSTER_SIZE = 1000
_SUBSCRIPTION = "11111111-1111-1111-1111-111111111111"
_START = datetime(2026, 1, 1, tzinfo=UTC)
_CHUNK = 5000


class Clock:
    def __init__(self) -> None:
        self.time = _START

    def now(self) -> datetime:
        return self.time


class _NoStorage:
    """Nobody reads, and there is nothing to mount."""

    def list_directory(self, ref: Any) -> None:
        return None

    def unread_since(self, ref: Any, window_s: float) -> bool:
        return False


class Simulation:
    """`nodes` in clusters of 1,000, and `queued` jobs spread over them. `cpu_ms` is what the last decision
    took of a processor, the commit not counted."""

    def __init__(self, directory: Path, nodes: int, queued: int) -> None:
        self.clock = Clock()
        database = open_engine(directory / "control.db")
        upgrade(database)
        self.store = Store(database, SecretBox(directory / "key"))
        storage: Any = _NoStorage()
        self.context = Context(
            store=self.store,
            storage=storage,
            engine=FakeEngine(self.clock),
            clock=self.clock,
            tenant="t",
            subscription=_SUBSCRIPTION,
            forget_keys=lambda account: None,
            quotas={"Clusters": 1000, "Total Cluster Dedicated Regional vCPUs": 10**9},
        )
        groups.put(self.context, "rg", "eastus", {}, "me")
        workspaces.put(self.context, "rg", "ws", "eastus", {}, "me")
        workspaces.put_experiment(self.context, "rg", "ws", "ex", "me")
        self.cpu_ms = 0.0
        self._numbers = itertools.count()
        self.clusters = max(1, nodes // CLUSTER_SIZE)
        self._fill(min(nodes, CLUSTER_SIZE), queued)
        self.reconciler = Reconciler(self.context)

    def close(self) -> None:
        self.store.close()

    def rebuild(self) -> None:
        """What a start does before its first decision, and that decision."""
        self.context.kept.lost()
        self.store.write(self.reconciler.decide)

    def submit(self, cluster: int = 0) -> None:
        """Committed; its consequences are not decided yet."""
        jobs.put(self.context, "rg", ("ws", "ex"), f"s{next(self._numbers)}", _job(cluster), 0, "2018", "me")

    def decide(self) -> None:
        self._decide([])

    def _decide(self, events: list[TaskEvent]) -> None:
        def work(unit: Unit) -> None:
            begun = time.thread_time()
            self.reconciler.decide(unit, events)
            self.cpu_ms = (time.thread_time() - begun) * 1000

        self.store.write(work)

    def end_a_job(self) -> None:
        """A running task ends: its job succeeds, the next in the queue gets its node. One transaction."""
        task = self._running.pop(0)
        event = TaskEvent(task, 1, TaskEventKind.ENDED, self.clock.time, exit_code=0)
        self._decide([event])

    def _fill(self, nodes: int, queued: int) -> None:
        for number in range(self.clusters):
            clusters.put(self.context, "rg", "ws", f"c{number}", _cluster(nodes), "me")
        jobs.put(self.context, "rg", ("ws", "ex"), "model", _job(0), 0, "2018", "me")
        with self.store.read() as unit:
            found = unit.clusters.list(order=tables.clusters.c.id)
            [model] = unit.jobs.list()
        self._running: list[str] = []
        rows: dict[Any, list[Any]] = {
            table: [] for table in (tables.nodes, tables.jobs, tables.runs, tables.tasks)
        }
        job_ids = itertools.count(2)
        for cluster in found:
            self._fill_cluster(cluster, nodes, model, job_ids, rows)
        for number in range(queued):
            cluster_id = found[number % len(found)].id
            rows[tables.jobs].append(_copy(model, next(job_ids), cluster_id))
        self.store.write(lambda unit: self._write(unit, found, rows))

    def _fill_cluster(
        self,
        cluster: Cluster,
        nodes: int,
        model: Job,
        job_ids: Iterator[int],
        rows: dict[Any, list[Any]],
    ) -> None:
        for position in range(nodes):
            node_id, run_id, task_id = f"tvm-{cluster.id}_{position:05}", str(uuid.uuid4()), str(uuid.uuid4())
            job = _copy(model, next(job_ids), cluster.id)
            job = replace(
                job,
                execution_state=ExecutionState.RUNNING,
                run_id=run_id,
                attempt=1,
                started=_START + timedelta(seconds=position),
            )
            facts = to_row(NodeFacts(node_id, "127.0.0.2", "localhost", 1, 0, "/mnt"))
            rows[tables.nodes].append(
                Node(node_id, cluster.id, NodeState.RUNNING, _START, "", True, facts, run_id)
            )
            rows[tables.jobs].append(job)
            rows[tables.runs].append(Run(run_id, job.id, 1, RunState.ACTIVE, [node_id], _START))
            rows[tables.tasks].append(
                Task(task_id, TaskKind.RUN, node_id, cluster.id, job.id, run_id, 0, 0, True, False, 0)
            )
            self._running.append(task_id)

    @staticmethod
    def _write(unit: Unit, found: list[Cluster], rows: dict[Any, list[Any]]) -> None:
        for cluster in found:
            cluster.allocation_state = AllocationState.STEADY
            unit.clusters.save(cluster)
        by_table: dict[Any, Rows[Any]] = {
            tables.nodes: unit.nodes,
            tables.jobs: unit.jobs,
            tables.runs: unit.runs,
            tables.tasks: unit.tasks,
        }
        for table, records in rows.items():
            sealed = by_table[table]._values(records[0]).get("secrets") if records else None
            for first in range(0, len(records), _CHUNK):
                values = [vars(record).copy() for record in records[first : first + _CHUNK]]
                for value in values:
                    if sealed is not None:
                        value["secrets"] = sealed
                unit.connection.execute(insert(table), values)


def _copy(model: Job, job_id: int, cluster_id: int) -> Job:
    return replace(model, id=job_id, cluster_id=cluster_id, key=f"j{job_id}", name=f"j{job_id}")


def _cluster(nodes: int) -> Any:
    return LATEST.cluster_request(
        {
            "properties": {
                "vmSize": "STANDARD_D1",
                "userAccountSettings": {"adminUserName": "u"},
                "scaleSettings": {"manual": {"targetNodeCount": nodes}},
            }
        }
    )


def _job(cluster: int) -> Any:
    place = f"/subscriptions/{_SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.BatchAI/workspaces/ws"
    return LATEST.job_request(
        {
            "properties": {
                "cluster": {"id": f"{place}/clusters/c{cluster}"},
                "nodeCount": 1,
                "stdOutErrPathPrefix": "/tmp",
                "customToolkitSettings": {"commandLine": "true"},
            }
        }
    )


@contextmanager
def simulation(directory: Path, nodes: int, queued: int) -> Iterator[Simulation]:
    directory.mkdir(parents=True)
    found = Simulation(directory, nodes, queued)
    try:
        yield found
    finally:
        found.close()
