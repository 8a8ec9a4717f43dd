"""Low-priority nodes are taken away: their job runs again, elsewhere, and knows it."""

import pytest

from openbatchai.domain.errors import ServiceError
from openbatchai.services import clusters, preemption

from .conftest import cluster_body
from .test_hazards import Stubborn
from .test_lifecycle import job, on, put_cluster, put_job, states


@pytest.fixture
def cheap(plane):
    """A cluster of two low-priority nodes."""
    body = cluster_body(count=2)
    body.spec["vmPriority"] = "lowpriority"
    clusters.put(plane.context, "rg", "ws", "c", body, "me")
    plane.settle()
    return plane


def preempt(plane, node="", cluster="c"):
    return preemption.preempt(plane.context, cluster, node, "somebody")


def test_the_job_of_a_preempted_node_runs_again_on_another_and_is_told(cheap):
    put_job(cheap, command="sleep 100")
    cheap.settle()
    [first] = cheap.rows("runs")
    [node] = first.nodes
    preempt(cheap, node)
    cheap.settle()
    assert node not in [row.id for row in cheap.rows("nodes")]
    assert states(cheap) == ["idle", "running"]
    runs = cheap.rows("runs")
    assert sorted(run.state for run in runs) == ["active", "withdrawn"]
    assert (job(cheap).execution_state, job(cheap).attempt) == ("running", 2)
    last = [task for task in cheap.engine.started if task.run_id][-1]
    assert last.environment["OPENBATCHAI_RETRY_COUNT"] == "1"
    assert ("preempt", "running") in cheap.story("node", node)


def test_a_node_that_stays_until_its_run_ends_takes_no_other_job(plane):
    on(plane, Stubborn(plane.clock, plane.content))
    body = cluster_body(count=1)
    body.spec["vmPriority"] = "lowpriority"
    clusters.put(plane.context, "rg", "ws", "c", body, "me")
    put_job(plane, command="sleep 100")
    plane.settle()
    [node] = plane.rows("nodes")
    preempt(plane, node.id)
    preempt(plane, node.id)
    plane.settle()
    # The replacement is there, the job still on the old node.
    assert states(plane) == ["idle", "running"]
    plane.engine.finish(plane.engine.runs()[0], 143)
    plane.settle()
    assert states(plane) == ["running"]
    assert plane.rows("nodes", id=node.id) == []
    assert job(plane).attempt == 2


def test_an_idle_node_leaves_at_once_and_is_replaced(cheap):
    before = {node.id for node in cheap.rows("nodes")}
    gone = preempt(cheap).id
    cheap.settle()
    after = {node.id for node in cheap.rows("nodes")}
    assert before - after == {gone}
    assert len(after) == 2


def test_a_job_that_was_over_is_not_repeated(cheap):
    put_job(cheap, command="sleep 100")
    cheap.settle()
    [run] = [task for task in cheap.engine.started if task.run_id]
    cheap.engine.finish(run.id, 0)
    preempt(cheap, run.node_id)
    cheap.settle()
    assert (job(cheap).execution_state, job(cheap).attempt) == ("succeeded", 1)


def test_dedicated_nodes_are_not_preempted(plane):
    put_cluster(plane)
    plane.settle()
    with pytest.raises(ServiceError) as refused:
        preempt(plane)
    assert (refused.value.status, refused.value.code) == (409, "Conflict")
    assert states(plane) == ["idle"]


@pytest.mark.parametrize(("cluster", "node"), [("none", ""), ("c", "tvm-none"), ("/x", "")])
def test_what_is_not_there_cannot_be_preempted(cheap, cluster, node):
    with pytest.raises(ServiceError) as refused:
        preempt(cheap, node, cluster)
    assert refused.value.status == 404


class Certain:
    """Chance that strikes whenever it may."""

    def random(self):
        return 0.0


def test_a_rehearsal_preempts_by_the_rate_and_the_time_that_passed(cheap):
    fast = cheap.context.__class__(**{**vars(cheap.context), "preemptions_per_node_hour": 3600.0})
    before = {node.id for node in cheap.rows("nodes")}
    since = cheap.clock.now()
    cheap.store.write(lambda unit: preemption.rehearse(fast, unit, since, Certain()))
    cheap.settle()
    assert {node.id for node in cheap.rows("nodes")} == before
    cheap.clock.advance(5)
    cheap.store.write(lambda unit: preemption.rehearse(fast, unit, since, Certain()))
    cheap.settle()
    assert not {node.id for node in cheap.rows("nodes")} & before
    assert states(cheap) == ["idle", "idle"]
