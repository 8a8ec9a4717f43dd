"""Scheduling as stated rules, over random clusters and random histories."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from openbatchai.domain.clusters import Deallocation, NodeState, Scale
from openbatchai.domain.placement import (
    AddNodes,
    ClusterView,
    NodeView,
    QueuedJob,
    ReleaseNode,
    SetTarget,
    Settle,
    StartJob,
    VacateNode,
    fitting,
    next_deadline,
    plan,
    queue_length_that_matters,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TIMEOUT = timedelta(seconds=300)


def manual(count, deallocation=Deallocation.REQUEUE):
    return Scale(count, count, count, False, deallocation)


def a_node(position, state=NodeState.IDLE, **kwargs):
    return NodeView(f"n{position:03d}", state, kwargs.pop("since", NOW), **kwargs)


def a_cluster(*nodes, scale=None, target=None, queue=(), deleting=False):
    scale = scale or manual(len(nodes))
    return ClusterView(1, scale, scale.initial if target is None else target, deleting, nodes, tuple(queue))


def decisions(cluster, kind):
    return [d for d in plan([cluster], NOW, TIMEOUT) if isinstance(d, kind)]


def test_a_job_starts_when_all_its_nodes_are_idle():
    cluster = a_cluster(a_node(1), a_node(2), queue=[QueuedJob(7, 0, 2)])
    assert decisions(cluster, StartJob) == [StartJob(7, ("n001", "n002"))]


def test_a_wide_job_at_the_head_is_not_overtaken():
    cluster = a_cluster(
        a_node(1), a_node(2, NodeState.RUNNING, job_id=1), queue=[QueuedJob(7, 0, 2), QueuedJob(8, 0, 1)]
    )
    assert decisions(cluster, StartJob) == []


def test_a_job_that_can_never_fit_blocks_nobody():
    cluster = a_cluster(a_node(1), queue=[QueuedJob(7, 0, 5), QueuedJob(8, 0, 1)])
    assert decisions(cluster, StartJob) == [StartJob(8, ("n001",))]


def test_priority_goes_before_submission():
    cluster = a_cluster(a_node(1), queue=[QueuedJob(7, 0, 1), QueuedJob(8, 1000, 1)])
    assert decisions(cluster, StartJob) == [StartJob(8, ("n001",))]


def test_a_cluster_at_its_target_settles_even_while_nodes_prepare():
    assert decisions(a_cluster(a_node(1, NodeState.PREPARING)), Settle) == [Settle(1)]


def test_leaving_nodes_keep_a_cluster_from_settling():
    cluster = a_cluster(a_node(1), a_node(2, NodeState.LEAVING), scale=manual(1))
    assert decisions(cluster, Settle) == []


def test_shrinking_takes_unusable_then_idle_nodes_before_running_ones():
    nodes = (a_node(1, NodeState.RUNNING, job_id=5), a_node(2), a_node(3, NodeState.UNUSABLE))
    assert decisions(a_cluster(*nodes, scale=manual(2)), ReleaseNode) == [ReleaseNode("n003")]
    assert decisions(a_cluster(*nodes, scale=manual(1)), ReleaseNode) == [
        ReleaseNode("n003"),
        ReleaseNode("n002"),
    ]


def test_shrinking_to_nothing_vacates_running_nodes_as_the_settings_say():
    cluster = a_cluster(a_node(1, NodeState.RUNNING, job_id=5), scale=manual(0, Deallocation.WAIT), target=1)
    assert decisions(cluster, VacateNode) == [VacateNode("n001", 5, Deallocation.WAIT)]
    assert decisions(cluster, SetTarget) == [SetTarget(1, 0)]


def test_a_node_that_leaves_after_its_run_is_replaced_when_the_cluster_grows_again():
    cluster = a_cluster(a_node(1, NodeState.RUNNING, job_id=5, leave_after_run=True), scale=manual(1))
    assert decisions(cluster, AddNodes) == [AddNodes(1, 1)]


def test_autoscale_grows_to_the_demand_within_its_maximum():
    cluster = a_cluster(scale=Scale(0, 3, 0, True), queue=[QueuedJob(i, 0, 2) for i in range(4)])
    assert decisions(cluster, SetTarget) == [SetTarget(1, 3)]
    assert decisions(cluster, AddNodes) == [AddNodes(1, 3)]


def test_autoscale_keeps_an_idle_node_until_the_timeout():
    scale = Scale(0, 3, 0, True)
    fresh = a_cluster(a_node(1, since=NOW - timedelta(seconds=299)), scale=scale, target=1)
    assert decisions(fresh, SetTarget) == []
    assert next_deadline([fresh], NOW, TIMEOUT) == NOW + timedelta(seconds=1)
    stale = a_cluster(a_node(1, since=NOW - TIMEOUT), scale=scale, target=1)
    assert decisions(stale, SetTarget) == [SetTarget(1, 0)]
    assert decisions(stale, ReleaseNode) == [ReleaseNode("n001")]


def test_a_deleted_cluster_releases_all_but_running_nodes():
    nodes = (a_node(1), a_node(2, NodeState.RUNNING, job_id=1), a_node(3, NodeState.PREPARING))
    assert plan([a_cluster(*nodes, deleting=True)], NOW, TIMEOUT) == [
        ReleaseNode("n001"),
        ReleaseNode("n003"),
    ]


states = st.sampled_from(list(NodeState))
nodes_of_any_state = st.lists(states, max_size=8).map(
    lambda found: tuple(
        a_node(i, state, job_id=1000 + i if state is NodeState.RUNNING else None)
        for i, state in enumerate(found)
    )
)
queues = st.lists(st.tuples(st.sampled_from([-1000, 0, 3, 1000]), st.integers(1, 6)), max_size=8).map(
    lambda found: [QueuedJob(i, priority, count) for i, (priority, count) in enumerate(found)]
)
scales = st.one_of(
    st.builds(manual, st.integers(0, 8), st.sampled_from(list(Deallocation))),
    st.tuples(st.integers(0, 4), st.integers(0, 4)).map(lambda t: Scale(t[0], t[0] + t[1], t[0], True)),
)


@given(nodes_of_any_state, queues, scales, st.integers(0, 8))
def test_rules_hold_for_any_cluster(nodes, queue, scale, target):
    cluster = a_cluster(*nodes, scale=scale, target=target, queue=queue)
    found = plan([cluster], NOW, TIMEOUT)
    by_id = {node.id: node for node in nodes}
    started = [d for d in found if isinstance(d, StartJob)]
    gone = [d.node_id for d in found if isinstance(d, (ReleaseNode, VacateNode))]
    used = [node for start in started for node in start.node_ids]
    sizes = {job.id: job.node_count for job in queue}
    # Gang, no over-allocation, nothing starts on a node that goes.
    assert all(len(start.node_ids) == sizes[start.job_id] for start in started)
    assert len(set(used)) == len(used)
    assert all(by_id[node].state is NodeState.IDLE for node in used)
    assert not set(used) & set(gone)
    assert len(set(gone)) == len(gone)
    # Strict order: what starts is the head of the queue.
    assert [start.job_id for start in started] == [job.id for job in fitting(cluster)][: len(started)]
    # The node count ends at the target.
    on_duty = [n for n in nodes if n.state is not NodeState.LEAVING]
    added = sum(d.count for d in found if isinstance(d, AddNodes))
    goal = next((d.target for d in found if isinstance(d, SetTarget)), cluster.target)
    assert len(on_duty) + added - len(gone) == goal


@given(nodes_of_any_state, queues, scales, st.integers(0, 8))
def test_the_head_of_the_queue_decides_as_the_whole_queue_would(nodes, queue, scale, target):
    whole = a_cluster(*nodes, scale=scale, target=target, queue=queue)
    head = fitting(whole)[: queue_length_that_matters(scale, nodes)]
    assert plan([replace(whole, queue=tuple(head))], NOW, TIMEOUT) == plan([whole], NOW, TIMEOUT)


@given(queues, st.integers(1, 6))
def test_every_job_that_fits_is_started_once_and_in_order(queue, size):
    """A history: jobs of one step each, on a cluster of `size` nodes, until nothing is left."""
    cluster = a_cluster(*(a_node(i) for i in range(size)), queue=queue)
    order = []
    while started := decisions(cluster, StartJob):
        order += [start.job_id for start in started]
        done = {start.job_id for start in started}
        cluster = replace(cluster, queue=tuple(j for j in cluster.queue if j.id not in done))
    assert order == [job.id for job in fitting(a_cluster(*cluster.nodes, queue=queue))]
    assert all(job.node_count > size for job in cluster.queue)


AUTO = Scale(0, 2, 0, True)
LONG_AGO = NOW - TIMEOUT


def test_a_node_that_timed_out_but_has_to_stay_is_no_deadline():
    """A deadline that has passed would keep the loop spinning until something else changes."""
    waiting = a_cluster(
        a_node(1, since=LONG_AGO),
        a_node(2, NodeState.PREPARING),
        scale=AUTO,
        target=2,
        queue=[QueuedJob(7, 0, 2)],
    )
    assert decisions(waiting, ReleaseNode) == []
    assert next_deadline([waiting], NOW, TIMEOUT) is None


def test_an_unusable_node_of_an_autoscale_cluster_takes_no_jobs_place():
    cluster = a_cluster(a_node(1, NodeState.UNUSABLE), scale=AUTO, target=1, queue=[QueuedJob(7, 0, 1)])
    assert decisions(cluster, AddNodes) == [AddNodes(1, 1)]
    assert next_deadline([cluster], NOW, TIMEOUT) == NOW + TIMEOUT


def test_an_autoscale_cluster_replaces_a_node_that_stayed_unusable():
    scale = Scale(0, 1, 0, True)
    cluster = a_cluster(
        a_node(1, NodeState.UNUSABLE, since=LONG_AGO), scale=scale, target=1, queue=[QueuedJob(7, 0, 1)]
    )
    assert decisions(cluster, ReleaseNode) == [ReleaseNode("n001")]
    assert decisions(cluster, AddNodes) == [AddNodes(1, 1)]
    assert decisions(cluster, Settle) == []


def test_unusable_nodes_of_a_manual_cluster_stay_until_it_is_resized():
    cluster = a_cluster(a_node(1, NodeState.UNUSABLE, since=LONG_AGO))
    assert plan([cluster], NOW, TIMEOUT) == [Settle(1)]
