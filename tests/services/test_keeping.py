"""The scheduler's view, kept by commits, is the one that would be loaded from the store."""

import itertools
import random
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openbatchai.domain.errors import ServiceError
from openbatchai.domain.placement import plan
from openbatchai.services import clusters, jobs
from openbatchai.services.keeping import load
from openbatchai.wire.batchai.versions import LATEST

from .conftest import SUBSCRIPTION, Plane
from .test_lifecycle import PLACE, put_cluster, put_job, resize

AUTO = {"minimumNodeCount": 0, "maximumNodeCount": 3}

steps = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.sampled_from([0, 1000]), st.integers(1, 3), st.booleans()),
        st.tuples(st.just("end"), st.integers(0, 5), st.sampled_from([0, 1])),
        st.tuples(st.just("resize"), st.integers(0, 3), st.sampled_from(["requeue", "terminate"])),
        st.tuples(st.just("terminate"), st.integers(0, 5)),
        st.tuples(st.just("delete"), st.integers(0, 5)),
        st.tuples(st.just("time"), st.sampled_from([10, 400])),
        st.tuples(st.just("round")),
        st.tuples(st.just("fail")),
        st.tuples(st.just("cluster"), st.booleans()),
    ),
    max_size=25,
)


class BrokenError(Exception):
    """What undoes a whole transaction."""


def do(plane, number, what, *values):
    """One step of a history; what is impossible at that moment is left out."""
    present = [job for job in plane.rows("jobs") if not job.deleting]
    there = bool(plane.rows("clusters", deleting=False))
    runs = [task.id for task in plane.engine.started if task.run_id and plane.engine.is_running(task.id)]
    match what, *values:
        case "submit", priority, nodes, long if there:
            put_job(plane, f"j{number}", priority, nodes=nodes, command="sleep 9" if long else "true")
        case "end", which, code if runs:
            plane.engine.finish(runs[which % len(runs)], code)
        case "resize", count, how if there:
            resize(plane, count, how)
        case "terminate", which if present:
            name = present[which % len(present)].name
            jobs.terminate(plane.context, "rg", PLACE, name, LATEST.not_found, "me")
        case "delete", which if present:
            jobs.delete(plane.context, "rg", PLACE, present[which % len(present)].name, "me")
        case "time", seconds:
            plane.clock.advance(seconds)
        case "round", *_:
            plane.reconciler.step()
            plane.reconciler.clean()
        case "fail", *_:
            undo_a_round(plane)
        case "cluster", automatic if not plane.rows("clusters"):
            put_cluster(plane, count=2, auto=AUTO if automatic else None)
        case "cluster", True if there:
            clusters.delete(plane.context, "rg", "ws", "c", "me")


def undo_a_round(plane):
    """A round that fails at the very end, after its decisions are in the kept view."""

    def work(unit):
        plane.reconciler.decide(unit)
        raise BrokenError

    with pytest.raises(BrokenError):
        plane.store.write(work)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.booleans(), steps)
def test_the_kept_view_and_one_loaded_from_the_store_give_the_same_plan(tmp_path_factory, automatic, history):
    plane = Plane(tmp_path_factory.mktemp("plane"))
    try:
        put_cluster(plane, count=2, auto=AUTO if automatic else None)
        plane.settle()
        for number, step in enumerate(history):
            do(plane, number, *step)
            same_plan(plane)
            assert add_up(plane) in (True, None)
        plane.settle()
        same_plan(plane)
    finally:
        plane.store.close()


def same_plan(plane):
    def work(unit):
        kept, loaded = plane.reconciler.kept.current(unit), load(unit.connection)
        assert kept == loaded
        now, timeout = plane.clock.now(), plane.context.idle_timeout
        for cluster_id, cluster in kept.clusters.items():
            assert plan(cluster, now, timeout) == plan(loaded.clusters[cluster_id], now, timeout)

    plane.store.write(work)


_STATES = ("idle", "running", "preparing", "unusable", "leaving")


def add_up(plane):
    """Whether the counts of the cluster, as a client reads them, add up; None when there is no cluster."""
    try:
        found = clusters.get(plane.context, "rg", "ws", "c", LATEST.not_found)
    except ServiceError:
        return None
    shown = LATEST.cluster(found, SUBSCRIPTION)["properties"]
    counts = shown["nodeStateCounts"]
    assert set(counts) == {f"{state}NodeCount" for state in _STATES}
    return sum(counts.values()) == shown["currentNodeCount"]


def random_step(chance):
    """As `steps` has them, and a cluster again when there is none."""
    what = chance.choice(
        ["submit", "submit", "end", "resize", "terminate", "delete", "time", "round", "round"]
    )
    values = {
        "submit": lambda: (chance.choice([0, 1000]), chance.randint(1, 3), chance.random() < 0.5),
        "end": lambda: (chance.randint(0, 5), chance.choice([0, 1])),
        "resize": lambda: (chance.randint(0, 3), chance.choice(["requeue", "terminate"])),
        "terminate": lambda: (chance.randint(0, 5),),
        "delete": lambda: (chance.randint(0, 5),),
        "time": lambda: (chance.choice([10, 400]),),
        "round": lambda: (),
    }
    return (what, *values[what]())


@pytest.mark.slow
def test_the_counts_of_nodes_add_up_in_10_000_polled_answers(plane):
    """One thread asks, while a history passes on another."""
    chance, answers = random.Random(5), []

    def poll():
        answers.extend(add_up(plane) for _ in range(10_000))

    put_cluster(plane, count=3)
    thread = threading.Thread(target=poll)
    thread.start()
    for number in itertools.count():
        if not thread.is_alive():
            break
        do(plane, number, *random_step(chance))
    thread.join()
    assert len(answers) == 10_000
    assert set(answers) == {True}


def test_a_view_that_cannot_be_kept_up_is_loaded_anew(plane):
    put_cluster(plane)
    plane.settle()
    plane.reconciler.kept.committed(["nonsense"])
    plane.reconciler.kept._view.clusters.clear()
    plane.reconciler.kept.lost()
    put_job(plane)
    plane.settle()
    assert [job.execution_state for job in plane.rows("jobs")] == ["succeeded"]


def test_many_jobs_start_over_several_transactions_that_let_others_in(plane):
    put_cluster(plane, count=70)
    plane.settle()
    for number in range(70):
        put_job(plane, f"j{number}", command="sleep 9")
    deadline = plane.reconciler.step()
    assert len(plane.rows("runs")) == 64
    assert deadline == plane.clock.now()
    plane.reconciler.step()
    assert len(plane.rows("runs")) == 70
