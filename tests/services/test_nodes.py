"""Nodes that cannot be had, cannot be used, or must not be given work."""

from openbatchai.domain.jobs import ExecutionState
from openbatchai.domain.placement import REPLACEMENT_PAUSES
from openbatchai.engines.fake import FakeEngine
from openbatchai.services import clusters
from openbatchai.wire.batchai.versions import LATEST

from .conftest import KEY
from .test_lifecycle import job, on, put_cluster, put_job, resize
from .test_lifecycle import states as node_states

SETUP = {"setupTask": {"commandLine": "exit 6", "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/afs"}}


def shown(plane, name="c"):
    return clusters.get(plane.context, "rg", "ws", name, LATEST.not_found)


def test_an_unusable_node_is_replaced_so_often_and_then_stays(plane):
    put_cluster(plane, **SETUP)
    plane.settle()
    seen = [node.id for node in plane.rows("nodes")]
    for pause in REPLACEMENT_PAUSES:
        assert node_states(plane) == ["unusable"]
        plane.clock.advance(pause.total_seconds() - 1)
        plane.settle()
        assert [node.id for node in plane.rows("nodes")] == seen[-1:]
        plane.clock.advance(1)
        plane.settle()
        seen += [node.id for node in plane.rows("nodes")]
    assert len(set(seen)) == 4
    plane.clock.advance(24 * 3600)
    plane.settle()
    assert [node.id for node in plane.rows("nodes")] == seen[-1:]
    assert len(plane.rows("clusters")[0].errors) == 1
    first = plane.story("node", seen[0])
    assert [event for event, _ in first][-3:] == ["preparationFailed", "release", "released"]


def test_the_name_of_a_node_tells_nothing_of_its_neighbours(plane):
    put_cluster(plane, count=3)
    plane.settle()
    serials = {node.id.partition("_")[0] for node in plane.rows("nodes")}
    assert len(serials) == 3


def test_an_autoscale_cluster_tries_on_at_a_bounded_rate_and_goes_on_when_the_cause_is_gone(plane):
    put_cluster(plane, auto={"minimumNodeCount": 0, "maximumNodeCount": 20})
    plane.content.key = "another"
    put_job(plane)
    plane.settle()
    for number in range(1, 6):
        plane.clock.advance(REPLACEMENT_PAUSES[-1].total_seconds())
        plane.settle()
        assert node_states(plane) == ["unusable"]
        assert f"(for the {number}. time)" in plane.rows("events", kind="node", event="release")[-1].reason

    plane.content.key = KEY
    plane.clock.advance(REPLACEMENT_PAUSES[-1].total_seconds())
    plane.settle()

    assert job(plane).execution_state == ExecutionState.SUCCEEDED


def test_the_story_of_a_replaced_node_tells_why_and_by_whom(plane):
    put_cluster(plane, **SETUP)
    plane.settle()
    [old] = plane.rows("nodes")
    plane.clock.advance(REPLACEMENT_PAUSES[0].total_seconds())
    plane.settle()
    [new] = plane.rows("nodes")
    reasons = {(event.object_id, event.event): event.reason for event in plane.rows("events", kind="node")}
    assert "exit code 6" in reasons[old.id, "preparationFailed"]
    assert reasons[old.id, "release"] == "it is unusable and will be replaced (for the 1. time of 3)"
    assert reasons[new.id, "allocate"] == f"cluster rg/ws/c in place of {old.id}"


def test_a_cluster_resized_by_hand_begins_anew(plane):
    put_cluster(plane, **SETUP)
    plane.settle()
    for pause in REPLACEMENT_PAUSES:
        plane.clock.advance(pause.total_seconds())
        plane.settle()
    resize(plane, 0)
    plane.settle()
    resize(plane, 1)
    plane.settle()
    [node] = plane.rows("nodes")
    assert node.attempt == 0


def test_a_node_that_waits_for_gpus_is_not_there_and_says_what_it_waits_for(plane):
    on(plane, FakeEngine(plane.clock, plane.content, gpus=2))
    put_cluster(plane, "first", size="STANDARD_NC12")
    plane.settle()
    second = put_cluster(plane, "second", size="STANDARD_NC12")
    plane.settle()

    waiting = shown(plane, "second")
    assert waiting.cluster.allocation_state == "resizing"
    assert waiting.states == ()
    [error] = waiting.cluster.errors
    assert error["code"] == "NodeAllocationWaits"
    assert "it needs 2 GPUs and 0 of 2 are free" in error["message"]
    [node] = plane.rows("nodes", cluster_id=second.cluster.id)
    assert error["details"] == [{"name": "nodeId", "value": node.id}]
    assert [event for event, _ in plane.story("node", node.id)] == ["allocate", "waiting"]

    clusters.delete(plane.context, "rg", "ws", "first", "me")
    plane.settle()

    there = shown(plane, "second")
    assert (there.cluster.allocation_state, there.states, there.cluster.errors) == ("steady", ("idle",), [])


def test_a_node_that_waits_for_gpus_can_be_given_up(plane):
    on(plane, FakeEngine(plane.clock, plane.content, gpus=1))
    put_cluster(plane, "first", size="STANDARD_NC6")
    plane.settle()
    put_cluster(plane, "c", size="STANDARD_NC6")
    plane.settle()

    resize(plane, 0)
    plane.settle()

    found = shown(plane)
    assert (found.cluster.allocation_state, found.states, found.cluster.errors) == ("steady", (), [])
    assert len(plane.rows("nodes")) == 1


def test_no_run_starts_while_the_engine_says_so(plane):
    put_cluster(plane)
    plane.settle()
    plane.engine.held = "the disk of the home is nearly full"
    waiting = put_job(plane)

    again = plane.settle()

    assert job(plane).execution_state == ExecutionState.QUEUED
    assert (again - plane.clock.now()).total_seconds() <= 5
    [event] = plane.rows("events", event="startsHeld")
    assert (event.object_id, event.reason) == (str(waiting.id), "the disk of the home is nearly full")

    plane.engine.held = ""
    plane.clock.advance(5)
    plane.settle()

    assert job(plane).execution_state == ExecutionState.SUCCEEDED
    assert ("startsGoOn", "queued") in plane.story("job", waiting.id)
