"""Scheduling as stated rules, over random clusters and random histories."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from openbatchai.domain.clusters import Deallocation, NodeState, Scale
from openbatchai.domain.placement import (
    BACKFILL_DEPTH,
    REPLACEMENT_PAUSES,
    AddNodes,
    ReleaseNode,
    ReplaceNode,
    SetTarget,
    Settle,
    StartJob,
    VacateNode,
    next_deadline,
    plan,
)
from openbatchai.domain.view import ClusterView, NodeView, RunView
from openbatchai.domain.waiting import QueuedJob

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TIMEOUT = timedelta(seconds=300)


def manual(count, deallocation=Deallocation.REQUEUE):
    return Scale(count, count, count, False, deallocation)


def a_node(position, state=NodeState.IDLE, **kwargs):
    return NodeView(f"n{position:03d}", state, kwargs.pop("since", NOW), **kwargs)


def a_cluster(*nodes, scale=None, target=None, queue=(), deleting=False, runs=()):
    scale = scale or manual(len(nodes))
    target = scale.initial if target is None else target
    return ClusterView(
        1, scale, target, deleting=deleting, resizing=True, nodes=nodes, queue=queue, runs=runs
    )


def decisions(cluster, kind, now=NOW):
    return [d for d in plan(cluster, now, TIMEOUT) if isinstance(d, kind)]


def starts(cluster, now=NOW):
    return [d.job_id for d in decisions(cluster, StartJob, now)]


def test_a_job_starts_when_all_its_nodes_are_idle():
    cluster = a_cluster(a_node(1), a_node(2), queue=[QueuedJob(7, 0, 2)])
    assert decisions(cluster, StartJob) == [StartJob(7, ("n001", "n002"))]


def test_a_wide_job_at_the_head_is_not_overtaken():
    cluster = a_cluster(
        a_node(1), a_node(2, NodeState.RUNNING, run_id="r1"), queue=[QueuedJob(7, 0, 2), QueuedJob(8, 0, 1)]
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
    nodes = (a_node(1, NodeState.RUNNING, run_id="r5"), a_node(2), a_node(3, NodeState.UNUSABLE))
    assert decisions(a_cluster(*nodes, scale=manual(2)), ReleaseNode) == [ReleaseNode("n003")]
    assert decisions(a_cluster(*nodes, scale=manual(1)), ReleaseNode) == [
        ReleaseNode("n003"),
        ReleaseNode("n002"),
    ]


def test_shrinking_to_nothing_vacates_running_nodes_as_the_settings_say():
    cluster = a_cluster(
        a_node(1, NodeState.RUNNING, run_id="r5"), scale=manual(0, Deallocation.WAIT), target=1
    )
    assert decisions(cluster, VacateNode) == [VacateNode("n001", "r5", Deallocation.WAIT)]
    assert decisions(cluster, SetTarget) == [SetTarget(1, 0)]


def test_a_node_that_leaves_after_its_run_is_replaced_when_the_cluster_grows_again():
    cluster = a_cluster(a_node(1, NodeState.RUNNING, run_id="r5", leave_after_run=True), scale=manual(1))
    assert decisions(cluster, AddNodes) == [AddNodes(1, 1)]


def test_autoscale_grows_to_the_demand_within_its_maximum():
    cluster = a_cluster(scale=Scale(0, 3, 0, True), queue=[QueuedJob(i, 0, 2) for i in range(4)])
    assert decisions(cluster, SetTarget) == [SetTarget(1, 3)]
    assert decisions(cluster, AddNodes) == [AddNodes(1, 3)]


def test_autoscale_keeps_an_idle_node_until_the_timeout():
    scale = Scale(0, 3, 0, True)
    fresh = a_cluster(a_node(1, since=NOW - timedelta(seconds=299)), scale=scale, target=1)
    assert decisions(fresh, SetTarget) == []
    assert next_deadline(fresh, NOW, TIMEOUT) == NOW + timedelta(seconds=1)
    stale = a_cluster(a_node(1, since=NOW - TIMEOUT), scale=scale, target=1)
    assert decisions(stale, SetTarget) == [SetTarget(1, 0)]
    assert decisions(stale, ReleaseNode) == [ReleaseNode("n001")]


def test_a_deleted_cluster_releases_all_but_running_nodes():
    nodes = (a_node(1), a_node(2, NodeState.RUNNING, run_id="r1"), a_node(3, NodeState.PREPARING))
    assert plan(a_cluster(*nodes, deleting=True), NOW, TIMEOUT) == [
        ReleaseNode("n001"),
        ReleaseNode("n003"),
    ]


states = st.sampled_from(list(NodeState))
nodes_of_any_state = st.lists(states, max_size=8).map(
    lambda found: tuple(
        a_node(i, state, run_id=f"r{i}" if state is NodeState.RUNNING else "")
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
    found = plan(cluster, NOW, TIMEOUT)
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
    # Strict order, but for what says which job it passed.
    in_order = [start.job_id for start in started if start.passed is None]
    before = [job for job in sorted(queue, key=lambda j: (-j.priority, j.id)) if job.id in in_order]
    assert [job.id for job in before] == in_order
    # The node count ends at the target.
    on_duty = [n for n in nodes if n.state is not NodeState.LEAVING]
    added = sum(d.count for d in found if isinstance(d, AddNodes))
    goal = next((d.target for d in found if isinstance(d, SetTarget)), cluster.target)
    assert len(on_duty) + added - len(gone) == goal


class Farm:
    """A cluster through a history: what the plan says is done, runs end when the history says so.

    `promised` is the latest start of the job that holds the reservation, found without the code under test.
    """

    def __init__(self, size):
        self.now = NOW
        self.cluster = a_cluster(*(a_node(i) for i in range(size)))
        self.limits = {}
        self.order = []

    def submit(self, job):
        self.limits[job.id] = job
        self.cluster.queue.add(job)

    def settle(self):
        for start in decisions(self.cluster, StartJob, self.now):
            job = self.limits[start.job_id]
            self.cluster.queue.discard(job.id, job.priority, job.node_count)
            until = self.now + timedelta(seconds=job.limit_s)
            self.cluster.runs[job.id] = RunView(f"r{job.id}", until)
            for node_id in start.node_ids:
                assert node_id in {node.id for node in self.cluster.of(NodeState.IDLE)}
                self.cluster.put(NodeView(node_id, NodeState.RUNNING, self.now, f"r{job.id}"))
            self.order.append(job.id)

    def end(self, job_id):
        run = self.cluster.runs.pop(job_id)
        for node in list(self.cluster.nodes()):
            if node.run_id == run.run_id:
                self.cluster.put(NodeView(node.id, NodeState.IDLE, self.now))

    def pass_time(self, seconds):
        """No run outlives its limit."""
        until = self.now + timedelta(seconds=seconds)
        while ending := sorted((run.until, job) for job, run in self.cluster.runs.items()):
            if ending[0][0] > until:
                break
            self.now = ending[0][0]
            self.end(ending[0][1])
            self.settle()
        self.now = until

    def promised(self):
        """The head of the queue, and when it starts at the latest if nothing else is ever submitted."""
        head = next(self.cluster.queue.in_order(len(self.cluster)), None)
        if head is None:
            return None
        free = len(self.cluster.of(NodeState.IDLE))
        ends = sorted(
            run.until
            for run in self.cluster.runs.values()
            for node in self.cluster.of(NodeState.RUNNING)
            if node.run_id == run.run_id
        )
        return head.id, self.now if free >= head.node_count else ends[head.node_count - free - 1]


steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("submit"),
            st.sampled_from([0, 0, 0, 1000]),
            st.integers(1, 5),
            st.sampled_from([10, 60, 600]),
        ),
        st.tuples(st.just("end"), st.integers(0, 4)),
        st.tuples(st.just("time"), st.sampled_from([1, 30, 400])),
    ),
    max_size=40,
)


@given(steps, st.integers(1, 5))
def test_the_start_that_the_head_is_sure_of_never_moves_back(history, size):
    farm, number, before = Farm(size), 0, None
    for what, *values in history:
        if what == "submit":
            number += 1
            farm.submit(QueuedJob(number, *values))
            if before is not None and values[0] > farm.limits[before[0]].priority:
                # Who has priority does go before it.
                before = None
        elif what == "end" and farm.cluster.runs:
            running = sorted(farm.cluster.runs)
            farm.end(running[values[0] % len(running)])
        elif what == "time":
            farm.pass_time(values[0])
        farm.settle()
        after = farm.promised()
        if before is not None and after is not None and before[0] == after[0]:
            assert after[1] <= max(before[1], farm.now)
        before = after
        idle = len(farm.cluster.of(NodeState.IDLE))
        head = next(farm.cluster.queue.in_order(size), None)
        assert head is None or head.node_count > idle


@given(steps, st.integers(1, 5))
def test_every_job_that_fits_is_started_once_and_every_other_never(history, size):
    farm, jobs = Farm(size), []
    for what, *values in history:
        if what == "submit":
            jobs.append(QueuedJob(len(jobs) + 1, *values))
            farm.submit(jobs[-1])
        elif what == "time":
            farm.pass_time(values[0])
        farm.settle()
    farm.pass_time(100_000)
    assert sorted(farm.order) == [job.id for job in jobs if job.node_count <= size]
    assert [job.id for job in farm.cluster.queue.in_order()] == [
        job.id for job in sorted(jobs, key=lambda j: (-j.priority, j.id)) if job.node_count > size
    ]


def running(position, until, job_id):
    return a_node(position, NodeState.RUNNING, run_id=f"r{job_id}"), (job_id, RunView(f"r{job_id}", until))


def test_a_job_that_ends_before_the_head_can_start_goes_first():
    node, run = running(1, NOW + timedelta(seconds=100), 1)
    queue = [QueuedJob(7, 0, 2), QueuedJob(8, 0, 1, 101), QueuedJob(9, 0, 1, 100)]
    cluster = a_cluster(node, a_node(2), queue=queue, runs=[run])
    assert decisions(cluster, StartJob) == [StartJob(9, ("n002",), passed=7)]


def test_a_job_goes_first_on_nodes_that_the_head_will_not_need():
    (one, run), (two, _) = (running(i, NOW + timedelta(seconds=100), 1) for i in (1, 2))
    queue = [QueuedJob(7, 0, 3), QueuedJob(8, 0, 2), QueuedJob(9, 0, 1), QueuedJob(10, 0, 1)]
    # At the end of the run all four are free, and one is left over.
    cluster = a_cluster(one, two, a_node(3), a_node(4), queue=queue, runs=[run])
    assert starts(cluster) == [9]


def test_a_node_that_comes_up_may_be_ready_at_any_moment():
    queue = [QueuedJob(7, 0, 2), QueuedJob(8, 0, 1, 1)]
    assert starts(a_cluster(a_node(1, NodeState.PREPARING), a_node(2), queue=queue)) == []


def test_a_job_for_which_too_few_nodes_are_usable_holds_nobody_back():
    nodes = (a_node(1, NodeState.UNUSABLE), a_node(2))
    assert starts(a_cluster(*nodes, queue=[QueuedJob(7, 0, 2), QueuedJob(8, 0, 1)])) == [8]


def test_the_nodes_of_what_starts_now_come_back_by_their_limits():
    queue = [QueuedJob(6, 0, 1, 50), QueuedJob(7, 0, 2), QueuedJob(8, 0, 1, 50)]
    assert starts(a_cluster(a_node(1), a_node(2), queue=queue)) == [6, 8]
    queue[2] = QueuedJob(8, 0, 1, 51)
    assert starts(a_cluster(a_node(1), a_node(2), queue=queue)) == [6]


def test_who_may_go_first_is_looked_for_in_a_bounded_part_of_the_queue():
    node, run = running(1, NOW + timedelta(seconds=100), 1)

    def queue(between):
        others = [QueuedJob(8 + i, 0, 1) for i in range(between)]
        return [QueuedJob(7, 0, 2), *others, QueuedJob(900, 0, 1, 10)]

    def found(between):
        return starts(a_cluster(node, a_node(2), queue=queue(between), runs=[run]))

    assert found(BACKFILL_DEPTH - 1) == [900]
    assert found(BACKFILL_DEPTH) == []


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
    assert next_deadline(waiting, NOW, TIMEOUT) is None


def given_up(**kwargs):
    return a_node(1, NodeState.UNUSABLE, attempt=len(REPLACEMENT_PAUSES), **kwargs)


def test_an_autoscale_cluster_does_not_grow_around_an_unusable_node():
    """It would be at its maximum at once where all nodes fail; the node is replaced after its pause."""
    for attempt, pause in enumerate((*REPLACEMENT_PAUSES, REPLACEMENT_PAUSES[-1], REPLACEMENT_PAUSES[-1])):
        unusable = a_node(1, NodeState.UNUSABLE, attempt=attempt)
        cluster = a_cluster(unusable, scale=AUTO, target=1, queue=[QueuedJob(7, 0, 1)])
        assert plan(cluster, NOW, TIMEOUT) == [Settle(1)]
        assert next_deadline(cluster, NOW, TIMEOUT) == NOW + pause
        assert plan(cluster, NOW + pause, TIMEOUT) == [ReplaceNode("n001")]


def test_an_autoscale_cluster_grows_beside_unusable_nodes_for_more_jobs():
    nodes = [a_node(1, NodeState.UNUSABLE), a_node(2, NodeState.RUNNING, run_id="r5")]
    cluster = a_cluster(*nodes, scale=Scale(0, 9, 0, True), target=2, queue=[QueuedJob(7, 0, 3)])
    assert decisions(cluster, AddNodes) == [AddNodes(1, 2)]


def test_a_short_idle_timeout_shortens_no_pause_before_a_node_that_is_needed():
    at_once = timedelta(0)
    for scale, queue in ((Scale(0, 1, 0, True), [QueuedJob(7, 0, 1)]), (Scale(1, 2, 1, True), [])):
        for attempt, pause in enumerate((*REPLACEMENT_PAUSES, REPLACEMENT_PAUSES[-1])):
            cluster = a_cluster(
                a_node(1, NodeState.UNUSABLE, attempt=attempt), scale=scale, target=1, queue=queue
            )
            assert plan(cluster, NOW, at_once) == [Settle(1)]
            assert next_deadline(cluster, NOW, at_once) == NOW + pause


def test_unusable_nodes_of_a_manual_cluster_stay_until_it_is_resized():
    cluster = a_cluster(given_up(since=LONG_AGO))
    assert plan(cluster, NOW, TIMEOUT) == [Settle(1)]


def test_an_unusable_node_is_replaced_after_a_pause_that_grows():
    for attempt, pause in enumerate(REPLACEMENT_PAUSES):
        cluster = a_cluster(a_node(1, NodeState.UNUSABLE, attempt=attempt))
        assert decisions(cluster, ReplaceNode) == []
        assert next_deadline(cluster, NOW, TIMEOUT) == NOW + pause
        assert plan(cluster, NOW + pause, TIMEOUT) == [ReplaceNode("n001")]
    assert list(REPLACEMENT_PAUSES) == sorted(set(REPLACEMENT_PAUSES))


def test_an_unusable_node_that_has_to_leave_is_not_replaced():
    nodes = [a_node(i, NodeState.UNUSABLE, since=LONG_AGO) for i in (1, 2)]
    cluster = a_cluster(*nodes, scale=manual(1))
    assert decisions(cluster, ReleaseNode) == [ReleaseNode("n001")]
    assert decisions(cluster, ReplaceNode) == [ReplaceNode("n002")]


def test_an_autoscale_cluster_replaces_only_nodes_that_a_job_waits_for():
    unusable = a_node(1, NodeState.UNUSABLE, since=NOW - REPLACEMENT_PAUSES[0])
    needed = a_cluster(unusable, scale=Scale(0, 1, 0, True), target=1, queue=[QueuedJob(7, 0, 1)])
    assert decisions(needed, ReplaceNode) == [ReplaceNode("n001")]
    too_wide = a_cluster(unusable, scale=Scale(0, 1, 0, True), target=1, queue=[QueuedJob(7, 0, 2)])
    assert decisions(too_wide, ReplaceNode) == []
    kept = a_cluster(unusable, scale=Scale(1, 2, 1, True), target=1)
    assert decisions(kept, ReplaceNode) == [ReplaceNode("n001")]
