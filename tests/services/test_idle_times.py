"""How long a cluster keeps an idle node, where that is its own."""

from datetime import timedelta

import pytest

from openbatchai.domain.errors import ServiceError
from openbatchai.loops.reconciler import Reconciler
from openbatchai.services import clusters, idletimes
from openbatchai.services.context import Context
from openbatchai.services.keeping import Kept

from .test_lifecycle import put_cluster, put_job, states

AUTO = {"minimumNodeCount": 0, "maximumNodeCount": 2}


@pytest.fixture
def idle(plane):
    """Two clusters with an idle node each."""
    for name in ("c", "other"):
        put_cluster(plane, name, auto=AUTO)
        put_job(plane, f"of-{name}", cluster=name)
    plane.settle()
    assert states(plane) == ["idle", "idle"]
    return plane


def where(plane):
    return [row.cluster_id for row in plane.rows("nodes")]


def number(plane, name):
    [row] = plane.rows("clusters", name=name)
    return row.id


def test_a_cluster_of_its_own_time_leaves_others_alone(idle):
    assert idletimes.put(idle.context, "c", 10, "me") == idletimes.IdleTime("c", 10, True)
    assert idle.settle() == idle.clock.now() + timedelta(seconds=10)
    idle.clock.advance(10)
    idle.settle()
    assert where(idle) == [number(idle, "other")]
    idle.clock.advance(290)
    idle.settle()
    assert where(idle) == []


def test_a_longer_time_and_the_homes_again(idle):
    idletimes.put(idle.context, "c", 3600, "me")
    idle.clock.advance(300)
    idle.settle()
    assert where(idle) == [number(idle, "c")]
    assert idletimes.put(idle.context, "c", None, "me") == idletimes.IdleTime("c", 300, False)
    idle.settle()
    assert where(idle) == []


def test_no_time_at_all(idle):
    idletimes.put(idle.context, "c", 0, "me")
    idle.settle()
    assert where(idle) == [number(idle, "other")]


def test_it_outlives_the_service(idle):
    idletimes.put(idle.context, "c", 10, "me")
    idle.context = Context(**{**vars(idle.context), "kept": Kept()})
    idle.reconciler = Reconciler(idle.context)
    assert idletimes.get(idle.context, "C") == idletimes.IdleTime("c", 10, True)
    idle.clock.advance(10)
    idle.settle()
    assert where(idle) == [number(idle, "other")]


def test_the_story_of_the_cluster_tells_who_changed_it(idle):
    idletimes.put(idle.context, "c", 10, "me")
    idletimes.put(idle.context, "c", 10, "you")
    [event] = idle.rows("events", event="idleTime")
    assert (event.object_id, event.before, event.after) == (str(number(idle, "c")), "300 s", "10 s")
    assert event.actor == "me"


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), 1e9, True, "60", [60]])
def test_what_is_no_time_is_refused(idle, seconds):
    with pytest.raises(ServiceError) as refused:
        idletimes.put(idle.context, "c", seconds, "me")
    assert (refused.value.status, refused.value.code) == (400, "InvalidPropertyValue")
    assert not idletimes.get(idle.context, "c").is_own


def test_which_cluster(idle):
    with pytest.raises(ServiceError) as unknown:
        idletimes.get(idle.context, "none")
    assert (unknown.value.status, unknown.value.code) == (404, "ClusterNotFound")
    clusters.delete(idle.context, "rg", "ws", "c", "me")
    with pytest.raises(ServiceError) as deleting:
        idletimes.put(idle.context, "c", 10, "me")
    assert deleting.value.status == 409
