"""What happened to an object, and why a job waits."""

import pytest

from openbatchai.domain.errors import ServiceError
from openbatchai.services import clusters, jobs, retention, stories, workspaces
from openbatchai.wire.batchai.versions import LATEST

from .conftest import SUBSCRIPTION, job_body
from .test_lifecycle import PLACE, put_cluster, put_job, resize


def told(plane, name, **kwargs):
    found, events = stories.events(plane.context, name, 1000, all_of_it=kwargs.get("all_of_it", False))
    return found.kind, [(event.kind, event.event) for event in events]


def why(plane, name):
    return stories.waiting(plane.context, name)


def test_the_story_of_a_job_with_all_its_parts_is_told_in_order(plane):
    put_cluster(plane)
    put_job(plane)
    plane.settle()
    assert told(plane, "j") == (
        "job",
        [("job", "create"), ("job", "nodesAllotted"), ("job", "runSucceeded")],
    )
    assert told(plane, "j", all_of_it=True)[1] == [
        ("job", "create"),
        ("run", "start"),
        ("job", "nodesAllotted"),
        ("task", "started"),
        ("task", "stepStarted toolkit"),
        ("task", "stepEnded toolkit"),
        ("task", "ended"),
        ("run", "succeeded"),
        ("job", "runSucceeded"),
    ]


def test_every_run_of_a_requeued_job_has_its_own_story(plane):
    put_cluster(plane)
    put_job(plane, command="sleep 100")
    plane.settle()
    resize(plane, 0)
    plane.settle()
    resize(plane, 1)
    plane.settle()
    first, second = sorted(plane.rows("runs"), key=lambda run: run.attempt)
    assert (first.state, second.state) == ("withdrawn", "active")
    assert told(plane, first.id) == ("run", [("run", "start"), ("run", "stop"), ("run", "withdrawn")])
    assert told(plane, second.id) == ("run", [("run", "start")])


def test_the_story_of_a_node_outlives_it(plane):
    put_cluster(plane)
    plane.settle()
    [node] = plane.rows("nodes")
    resize(plane, 0)
    plane.settle()
    assert plane.rows("nodes") == []
    events = [event for _, event in told(plane, node.id)[1]]
    assert events == ["allocate", "provisioned", "prepared", "release", "released"]


def test_the_story_of_a_cluster_has_its_nodes_that_are_gone_and_no_other_clusters(plane):
    put_cluster(plane, "other")
    put_cluster(plane)
    plane.settle()
    mine = {node.id for node in plane.rows("nodes") if node.cluster_id == plane.rows("clusters")[1].id}
    resize(plane, 0)
    plane.settle()
    resize(plane, 1)
    plane.settle()
    mine |= {node.id for node in plane.rows("nodes") if node.cluster_id == plane.rows("clusters")[1].id}
    _, events = stories.events(plane.context, "c", 1000, all_of_it=True)
    assert {event.object_id for event in events if event.kind == "node"} == mine
    assert len(mine) == 2


@pytest.mark.parametrize("prefix", ["", f"/subscriptions/{SUBSCRIPTION}"])
def test_resources_are_found_by_their_ids_in_any_case(plane, prefix):
    put_cluster(plane)
    put_job(plane)
    place = f"{prefix}/resourcegroups/RG/providers/Microsoft.BatchAI/workspaces/WS"
    assert told(plane, f"{place}/clusters/C")[0] == "cluster"
    assert told(plane, f"{place}/experiments/EX/jobs/J")[0] == "job"
    assert told(plane, f"{place}/experiments/ex") == ("experiment", [("experiment", "create")])
    assert told(plane, place)[0] == "workspace"


def test_a_name_that_several_have_is_refused_with_all_of_their_ids(plane):
    put_cluster(plane)
    put_job(plane)
    workspaces.put_experiment(plane.context, "rg", "ws", "other", "me")
    jobs.put(plane.context, "rg", ("ws", "other"), "j", job_body(), 0, "2018", "me")
    with pytest.raises(ServiceError) as refused:
        told(plane, "j")
    assert refused.value.status == 400
    assert "experiments/ex/jobs/j" in refused.value.message
    assert "experiments/other/jobs/j" in refused.value.message


@pytest.mark.parametrize("name", ["none", "/resourceGroups/rg/providers/Microsoft.BatchAI/nonsense/x", "/x"])
def test_what_never_was_is_not_found(plane, name):
    with pytest.raises(ServiceError) as refused:
        told(plane, name)
    assert refused.value.status == 404


def test_a_job_that_waits_says_what_for(plane):
    put_cluster(plane, count=2)
    put_job(plane, "first", command="sleep 100")
    plane.settle()
    plane.clock.advance(1)
    put_job(plane, "wide", nodes=2)
    put_job(plane, "narrow")
    put_job(plane, "huge", nodes=3)
    plane.settle()
    _, waiting, message = why(plane, "wide")
    assert (waiting.reason, waiting.position, waiting.needs) == ("nodesBusy", 1, 2)
    assert message == (
        "It is the next to start and needs 2 nodes; of the cluster's nodes: 1 idle, 1 busy. By the limits of "
        "the jobs that run, it starts at 2026-01-08 00:00:00Z at the latest."
    )
    _, waiting, message = why(plane, "narrow")
    assert (waiting.reason, waiting.position) == ("jobsBeforeIt", 2)
    assert message == (
        "1 job is before it; the next to start, wide, needs 2 nodes. It needs 1 node; "
        "of the cluster's nodes: 1 idle, 1 busy."
    )
    _, waiting, message = why(plane, "huge")
    assert (waiting.reason, waiting.position) == ("neverFits", 0)
    assert message == (
        "It needs 3 nodes, and the cluster has at most 2 nodes: it starts when the cluster is resized."
    )
    assert why(plane, "first")[1:] == (None, "It does not wait: it is running.")


def test_a_job_of_an_empty_cluster_says_so(plane):
    put_cluster(plane, count=0)
    put_job(plane)
    plane.settle()
    assert "a target of 0 nodes" in why(plane, "j")[2]


def test_a_job_that_waits_for_nodes_to_come_up_says_so(plane):
    setup = {"commandLine": "sleep 100", "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT"}
    put_cluster(plane, setupTask=setup)
    put_job(plane)
    plane.settle()
    _, waiting, message = why(plane, "j")
    assert waiting.reason == "nodesComingUp"
    assert message == (
        "It is the next to start and needs 1 node; of the cluster's nodes: 1 preparing. Nodes are coming up."
    )


def test_a_job_whose_nodes_are_unusable_says_so(plane):
    put_cluster(plane)
    plane.content.key = "another"
    put_job(plane)
    plane.settle()
    _, waiting, message = why(plane, "j")
    assert waiting.reason == "tooFewUsableNodes"
    assert "1 unusable" in message


def test_a_job_that_was_just_submitted_is_about_to_start(plane):
    put_cluster(plane)
    plane.settle()
    put_job(plane)
    assert why(plane, "j")[1].reason == "starting"


def test_only_jobs_wait(plane):
    put_cluster(plane)
    with pytest.raises(ServiceError, match="is no job, but a cluster"):
        why(plane, "c")


def test_every_transition_says_who_made_it(plane):
    put_cluster(plane)
    put_job(plane, command="sleep 100")
    plane.settle()
    jobs.terminate(plane.context, "rg", PLACE, "j", LATEST.not_found, "somebody")
    plane.settle()
    clusters.delete(plane.context, "rg", "ws", "c", "somebody")
    plane.settle()
    _, events = stories.events(plane.context, "j", 1000, all_of_it=True)
    actors = {(event.kind, event.event): event.actor for event in events}
    assert actors["job", "terminate"] == actors["run", "stop"] == "somebody"
    assert actors["job", "nodesAllotted"] == "service"


WS = "/resourceGroups/rg/providers/Microsoft.BatchAI/workspaces/ws"


@pytest.fixture
def deleted(plane):
    """A job and a cluster of one node that were, and are no more. Returns what their stories were."""
    put_cluster(plane)
    put_job(plane)
    plane.settle()
    before = {name: stories.events(plane.context, name, 1000, all_of_it=True)[1] for name in ("j", "c")}
    jobs.delete(plane.context, "rg", PLACE, "j", "me")
    clusters.delete(plane.context, "rg", "ws", "c", "me")
    plane.settle()
    assert (plane.rows("jobs"), plane.rows("clusters"), plane.rows("nodes")) == ([], [], [])
    return before


@pytest.mark.parametrize(
    ("name", "text"),
    [("j", "J"), ("j", f"{WS}/experiments/EX/jobs/j"), ("c", "c"), ("c", f"{WS}/clusters/C")],
)
def test_the_story_of_what_was_deleted_is_found_by_its_name(plane, deleted, name, text):
    found, events = stories.events(plane.context, text, 1000, all_of_it=True)
    assert found.name == name
    assert events[: len(deleted[name])] == deleted[name]
    assert {event.kind for event in deleted[name]} == (
        {"job", "run", "task"} if name == "j" else {"cluster", "node"}
    )
    own = [event.event for event in events if event.kind == found.kind]
    assert own[-1] == "removed"
    assert "delete" in own
    assert told(plane, text)[0] == found.kind


def test_a_name_that_is_used_again_is_that_of_the_present_one(plane, deleted):
    put_cluster(plane)
    plane.settle()
    [node] = plane.rows("nodes")
    again = stories.events(plane.context, "c", 1000, all_of_it=True)[1]
    assert {event.object_id for event in again if event.kind == "node"} == {node.id}
    assert not {event.id for event in again} & {event.id for event in deleted["c"]}
    clusters.delete(plane.context, "rg", "ws", "c", "me")
    plane.settle()
    last = stories.events(plane.context, "c", 1000, all_of_it=True)[1]
    assert last[: len(again)] == again


def test_whole_workspaces_are_found_with_what_they_held(plane, deleted):
    workspaces.delete(plane.context, "rg", "ws", "me")
    plane.settle()
    assert told(plane, WS)[1][-1] == ("workspace", "removed")
    assert told(plane, f"{WS}/experiments/ex")[1][-1] == ("experiment", "removed")
    assert told(plane, f"{WS}/experiments/ex/jobs/j")[0] == "job"


def test_several_of_a_name_that_were_deleted_are_told_apart(plane, deleted):
    put_cluster(plane)
    workspaces.put_experiment(plane.context, "rg", "ws", "other", "me")
    jobs.put(plane.context, "rg", ("ws", "other"), "j", job_body(), 0, "2018", "me")
    jobs.delete(plane.context, "rg", ("ws", "other"), "j", "me")
    plane.settle()
    with pytest.raises(ServiceError) as refused:
        told(plane, "j")
    paths = [f"{WS}/experiments/{name}/jobs/j" for name in ("ex", "other")]
    assert all(path in refused.value.message for path in paths)
    assert [told(plane, path)[0] for path in paths] == ["job", "job"]


def test_what_is_deleted_does_not_wait(plane, deleted):
    with pytest.raises(ServiceError) as refused:
        stories.waiting(plane.context, "j")
    assert (refused.value.status, refused.value.message) == (404, "The job 'j' is deleted.")


def test_stories_of_what_was_deleted_go_with_their_events(plane, deleted):
    plane.clock.advance(91 * 86400)
    retention.prune(plane.context)
    with pytest.raises(ServiceError) as refused:
        told(plane, "j")
    assert refused.value.status == 404
