"""Effects are carried out once each, in order, whatever happens in between."""

import threading
from itertools import pairwise

from openbatchai.domain.jobs import ExecutionState
from openbatchai.engines.fake import FakeEngine
from openbatchai.services import execution, jobs
from openbatchai.wire.batchai.versions import LATEST

from .test_lifecycle import PLACE, job, on, put_cluster, put_job, resize, states


class Unreachable(FakeEngine):
    """An engine whose verbs fail while `down`."""

    down = False
    asked = 0

    def provision(self, requests):
        self._check_up()
        return super().provision(requests)

    def start(self, task):
        self._check_up()
        super().start(task)

    def signal(self, task_id, signal):
        self._check_up()
        super().signal(task_id, signal)

    def _check_up(self):
        self.asked += 1
        if self.down:
            raise OSError("no route to the engine")


def test_what_failed_is_tried_again_and_then_runs_once(plane):
    on(plane, Unreachable(plane.clock, plane.content))
    plane.engine.down = True
    put_cluster(plane)
    put_job(plane)
    plane.settle()
    assert plane.engine.started == []
    assert len(plane.rows("outbox")) == 1
    plane.engine.down = False
    plane.clock.advance(1)
    plane.settle()
    assert job(plane).execution_state == ExecutionState.SUCCEEDED
    assert len([task for task in plane.engine.started if task.run_id]) == 1
    assert plane.rows("outbox") == []


def test_what_keeps_failing_is_tried_and_told_later_and_later(plane, caplog):
    on(plane, Unreachable(plane.clock, plane.content))
    plane.engine.down = True
    put_cluster(plane)
    plane.settle()
    tried, told = [], []
    for _ in range(600):
        seen = plane.engine.asked
        # As any commit does, of whatever.
        execution.carry_out(plane.context, slow=False)
        tried += [plane.engine.asked - seen]
        plane.clock.advance(1)
    told = [record for record in caplog.records if record.name == execution.__name__]
    assert [bool(record.exc_info) for record in told] == [True, False, False, False, False]
    assert "failed for the 16. time: OSError: no route to the engine" in told[-1].getMessage()
    assert max(tried) == 1
    pauses = [second for second, count in enumerate(tried) if count]
    assert [after - before for before, after in pairwise(pauses)] == [2, 4, 8, 16] + [30] * 18

    plane.engine.down = False
    plane.clock.advance(30)
    plane.settle()

    assert states(plane) == ["idle"]


def test_a_clock_set_back_puts_no_retry_off(plane):
    on(plane, Unreachable(plane.clock, plane.content))
    plane.engine.down = True
    put_cluster(plane)
    plane.settle()
    plane.engine.down = False
    plane.clock.advance(-3600)
    plane.settle()
    assert states(plane) == ["idle"]


def test_a_run_called_off_before_it_started_never_starts(plane):
    on(plane, Unreachable(plane.clock, plane.content))
    put_cluster(plane)
    plane.settle()
    put_job(plane)
    plane.engine.down = True
    plane.settle()
    jobs.terminate(plane.context, "rg", PLACE, "j", LATEST.not_found, "me")
    plane.engine.down = False
    plane.settle()
    assert job(plane).execution_state == ExecutionState.FAILED
    assert states(plane) == ["idle"]


def test_a_service_that_died_between_decision_and_effect_carries_on(plane):
    """The decision is committed, the process is gone, a new one opens the same store."""
    put_cluster(plane)
    put_job(plane, command="sleep 1000")
    plane.store.write(plane.reconciler.decide)
    assert plane.rows("outbox")
    on(plane, FakeEngine(plane.clock, plane.content))
    plane.settle()
    assert job(plane).execution_state == ExecutionState.RUNNING
    assert len([task for task in plane.engine.started if task.run_id]) == 1


class Stubborn(FakeEngine):
    """An engine on which giving nodes back takes until the test allows it."""

    def __init__(self, *args):
        super().__init__(*args)
        self.asked = threading.Event()
        self.allowed = threading.Event()

    def release(self, node_ids):
        self.asked.set()
        assert self.allowed.wait(30)
        super().release(node_ids)


def test_a_node_that_leaves_slowly_keeps_no_job_waiting(plane):
    on(plane, Stubborn(plane.clock, plane.content))
    put_cluster(plane)
    put_cluster(plane, name="other")
    plane.settle()
    finished = threading.Event()

    def look():
        if plane.rows("jobs", execution_state=ExecutionState.SUCCEEDED):
            finished.set()

    plane.store.after_commit(look)
    plane.reconciler.start()
    resize(plane, 0)
    assert plane.engine.asked.wait(30)
    put_job(plane, cluster="other")
    assert finished.wait(30)
    plane.engine.allowed.set()
    plane.reconciler.stop()


def test_a_new_node_waits_for_those_that_leave(plane):
    """Their GPUs may be what it gets."""
    put_cluster(plane)
    plane.settle()
    resize(plane, 0)
    plane.reconciler.step()
    resize(plane, 1)
    plane.reconciler.step()
    plane.reconciler.step()
    assert states(plane) == ["leaving", "preparing"]
    assert len(plane.engine.started) == 1
    plane.settle()
    assert states(plane) == ["idle"]


def test_a_start_that_keeps_failing_holds_no_other_node(plane):
    on(plane, Unreachable(plane.clock, plane.content))
    put_cluster(plane)
    put_cluster(plane, name="other")
    plane.settle()
    put_job(plane, cluster="other")
    plane.engine.down = True
    plane.settle()
    resize(plane, 0)
    plane.settle()
    [other] = [cluster for cluster in plane.rows("clusters") if cluster.name == "other"]
    assert [node.cluster_id for node in plane.rows("nodes")] == [other.id]
