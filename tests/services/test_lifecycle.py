"""Clusters and jobs through their lives, over a scripted engine."""

from datetime import timedelta

import pytest

from openbatchai.domain.clusters import NodeState
from openbatchai.domain.errors import ServiceError
from openbatchai.domain.jobs import ExecutionState
from openbatchai.domain.ports import DirectoryEntry, NodeRequest, StepKind
from openbatchai.engines.fake import Behaviour, FakeEngine
from openbatchai.loops.reconciler import Reconciler
from openbatchai.services import clusters, execution, groups, jobs, operations, workspaces
from openbatchai.services.context import Context
from openbatchai.services.keeping import Kept
from openbatchai.wire.batchai.versions import LATEST

from .conftest import KEY, cluster_body, job_body

PLACE = ("ws", "ex")


def put_cluster(plane, name="c", **kwargs):
    return clusters.put(plane.context, "rg", "ws", name, cluster_body(**kwargs), "me")


def put_job(plane, name="j", priority=0, **kwargs):
    return jobs.put(plane.context, "rg", PLACE, name, job_body(**kwargs), priority, "2018", "me").job


def resize(plane, count, deallocation="requeue"):
    settings = {"manual": {"targetNodeCount": count, "nodeDeallocationOption": deallocation}}
    return clusters.patch(plane.context, "rg", "ws", "c", settings, None, LATEST.not_found, "me")


def job(plane, name="j"):
    [found] = plane.rows("jobs", name=name)
    return found


def on(plane, engine):
    """The same service, started anew on this engine."""
    plane.engine = engine
    engine.on_change(plane._note)
    plane.context = Context(**{**vars(plane.context), "engine": engine, "kept": Kept()})
    plane.reconciler = Reconciler(plane.context)


def states(plane):
    return sorted(node.state for node in plane.rows("nodes"))


def test_a_cluster_is_answered_as_resizing_without_nodes_and_comes_up_steady(plane):
    created = put_cluster(plane, count=2)
    assert (created.cluster.allocation_state, created.states) == ("resizing", ())
    plane.settle()
    assert states(plane) == [NodeState.IDLE, NodeState.IDLE]
    assert plane.rows("clusters")[0].allocation_state == "steady"


def test_a_cluster_of_no_nodes_is_steady_at_once(plane):
    assert put_cluster(plane, count=0).cluster.allocation_state == "steady"


def test_a_job_runs_and_succeeds(plane):
    put_cluster(plane)
    assert put_job(plane).execution_state == ExecutionState.QUEUED
    plane.settle()
    done = job(plane)
    assert (done.execution_state, done.exit_code, done.errors) == (ExecutionState.SUCCEEDED, 0, [])
    assert done.started
    assert done.ended
    assert plane.story("job", done.id) == [
        ("create", "queued"),
        ("nodesAllotted", "running"),
        ("runSucceeded", "succeeded"),
    ]
    assert states(plane) == [NodeState.IDLE]


def test_a_failing_job_shows_its_exit_code_and_the_recorded_error(plane):
    put_cluster(plane)
    put_job(plane, command="exit 3")
    plane.settle()
    done = job(plane)
    assert (done.execution_state, done.exit_code) == (ExecutionState.FAILED, 3)
    assert done.errors == [{"code": "JobFailed", "message": "Job failed with non-zero exit code"}]


def test_a_failed_preparation_keeps_the_toolkit_from_starting(plane):
    put_cluster(plane)
    put_job(plane, jobPreparation={"commandLine": "exit 2"})
    plane.settle()
    assert job(plane).errors[0]["code"] == "JobPreparationFailed"
    assert job(plane).exit_code == 2


def test_all_nodes_of_a_wide_job_prepare_before_the_master_starts(plane):
    put_cluster(plane, count=2)
    put_job(plane, nodes=2, jobPreparation={"commandLine": "true"})
    plane.settle()
    runs = [task for task in plane.engine.started if task.run_id]
    assert [[step.kind for step in task.steps] for task in runs] == [
        [StepKind.JOB_PREPARATION],
        [StepKind.JOB_PREPARATION],
        [StepKind.TOOLKIT],
    ]
    assert job(plane).execution_state == ExecutionState.SUCCEEDED


GANG = {
    "nodes": 3,
    "jobPreparation": {"commandLine": "true"},
    "containerSettings": {"imageSourceRegistry": {"image": "private/thing:1"}},
}


def toolkits_begun(plane):
    events = plane.engine.observe({task.id: 0 for task in plane.engine.started if task.run_id})
    return [event for event in events if event.step is StepKind.TOOLKIT]


def test_containers_of_a_wide_job_stay_from_its_preparation_to_its_end(plane):
    put_cluster(plane, count=3)
    put_job(plane, command="sleep 1", **GANG)
    plane.settle()
    tasks = [task for task in plane.engine.started if task.run_id]
    assert [task.continues for task in tasks] == [""] * 3
    assert all(task.waits and task.container for task in tasks)
    assert all(row.prepared for row in plane.rows("tasks", run_id=job(plane).run_id))
    # Those without a process of the job's end at once, the master's runs.
    [running] = [task for task in tasks if plane.engine.is_running(task.id)]
    assert {event.task_id for event in toolkits_begun(plane)} == {task.id for task in tasks}
    plane.engine.finish(running.id, 0)
    plane.settle()
    assert job(plane).execution_state == ExecutionState.SUCCEEDED


def test_a_preparation_that_fails_on_one_node_lets_none_go_on(plane):
    put_cluster(plane, count=3)
    plane.settle()
    failing = iter([0, 7, 0])
    on(
        plane,
        FakeEngine(
            plane.clock,
            plane.content,
            behaviour=lambda task: Behaviour({StepKind.JOB_PREPARATION: next(failing)}),
        ),
    )
    plane.engine.provision([NodeRequest(node.id, 1, 0) for node in plane.rows("nodes")])
    put_job(plane, **GANG)
    plane.settle()
    done = job(plane)
    assert (done.execution_state, done.exit_code) == (ExecutionState.FAILED, 7)
    assert done.errors[0]["code"] == "JobPreparationFailed"
    assert toolkits_begun(plane) == []
    assert states(plane) == [NodeState.IDLE] * 3


def test_a_run_that_an_older_service_began_does_its_job_after_its_preparation(plane):
    # There the preparation of containers was a phase of its own; migration 0010 counts it as -1.
    put_cluster(plane, count=3)
    plane.settle()
    put_job(plane, **GANG)
    plane.reconciler.step()
    run_id = job(plane).run_id
    for row in plane.rows("tasks", run_id=run_id):
        row.phase, row.started, row.ended, row.prepared = -1, True, True, True
        row.ended_at = plane.clock.now()
        plane.store.write(lambda unit, row=row: unit.tasks.save(row))
    before = len([task for task in plane.engine.started if task.run_id])
    plane.settle()
    begun = [task for task in plane.engine.started if task.run_id][before:]
    assert len(begun) == 3
    assert all(len(task.steps) == 2 and task.waits for task in begun)
    assert job(plane).execution_state == ExecutionState.SUCCEEDED
    assert {event.task_id for event in toolkits_begun(plane)} >= {task.id for task in begun}


def test_a_service_that_died_before_it_let_the_nodes_go_on_does_so(plane):
    put_cluster(plane, count=3)
    plane.settle()
    put_job(plane, **GANG)
    # The job's start; its tasks' preparation, which lets them go on; and no effect of that.
    plane.reconciler.step()
    events = execution.observe(plane.context)
    plane.store.write(lambda unit: plane.reconciler.decide(unit, events))
    assert {effect.kind for effect in plane.rows("outbox")} == {"letGoOn"}
    on(plane, plane.engine)
    plane.settle()
    assert job(plane).execution_state == ExecutionState.SUCCEEDED


def test_a_mount_that_cannot_work_is_refused_by_its_path(plane):
    with pytest.raises(ServiceError) as refused:
        put_cluster(plane, key="wrong")
    assert refused.value.target == "properties.nodeSetup.mountVolumes.azureFileShares.0"
    assert "acct" in refused.value.message
    assert plane.rows("clusters") == []


def test_a_key_that_changed_makes_new_nodes_unusable_and_says_why(plane):
    put_cluster(plane)
    plane.content.key = "another"
    plane.settle()
    assert states(plane) == [NodeState.UNUSABLE]
    [error] = plane.rows("clusters")[0].errors
    assert error["code"] == "AZFMountError"
    assert "acct" in str(error)
    assert "share" in str(error)


def test_a_key_that_changed_fails_the_job_and_says_why(plane):
    put_cluster(plane)
    plane.settle()
    share = {
        "accountName": "acct",
        "azureFileUrl": "https://acct.file.core.windows.net/share",
        "credentials": {"accountKey": KEY},
        "relativeMountPath": "j",
    }
    put_job(plane, mountVolumes={"azureFileShares": [share]})
    plane.content.key = "another"
    plane.settle()
    assert job(plane).execution_state == ExecutionState.FAILED
    assert job(plane).errors[0]["code"] == "AZFMountError"


def test_terminating_a_queued_job_ends_it_at_once(plane):
    put_cluster(plane, count=0)
    put_job(plane)
    operation = jobs.terminate(plane.context, "rg", PLACE, "j", LATEST.not_found, "me")
    done = job(plane)
    assert done.execution_state == ExecutionState.FAILED
    assert done.errors[0]["code"] == "JobTerminated"
    assert done.started == done.ended
    assert done.exit_code is None
    plane.settle()
    assert operations.get(plane.context, operation.id).ended


def test_terminating_a_running_job_ends_when_its_processes_are_gone(plane):
    put_cluster(plane)
    put_job(plane, command="sleep 100")
    plane.settle()
    operation = jobs.terminate(plane.context, "rg", PLACE, "j", LATEST.not_found, "me")
    assert job(plane).execution_state == ExecutionState.TERMINATING
    assert operations.get(plane.context, operation.id).ended is None
    plane.settle()
    assert job(plane).execution_state == ExecutionState.FAILED
    assert job(plane).errors[0]["code"] == "JobTerminated"
    assert operations.get(plane.context, operation.id).ended
    assert jobs.terminate(plane.context, "rg", PLACE, "j", LATEST.not_found, "me") is None


def test_secrets_are_wiped_when_the_job_ends(plane):
    put_cluster(plane, count=0)
    put_job(plane, secrets=[{"name": "TOKEN", "value": "s3cret"}])
    assert job(plane).secrets == {"secrets.0.value": "s3cret"}
    jobs.terminate(plane.context, "rg", PLACE, "j", LATEST.not_found, "me")
    assert job(plane).secrets == {}


def test_the_same_request_again_changes_nothing_and_another_one_is_a_conflict(plane):
    put_cluster(plane)
    first = put_job(plane)
    assert put_job(plane).id == first.id
    with pytest.raises(ServiceError) as refused:
        put_job(plane, command="false")
    assert (refused.value.status, refused.value.code) == (409, "Conflict")
    assert len(plane.rows("jobs")) == 1


def test_a_job_on_an_unknown_cluster_is_refused(plane):
    with pytest.raises(ServiceError) as refused:
        put_job(plane, cluster="none")
    assert (refused.value.status, refused.value.code) == (404, "ClusterNotFound")
    assert plane.rows("jobs") == []


def test_deleting_a_running_job_stops_and_removes_it(plane):
    put_cluster(plane)
    put_job(plane, command="sleep 100")
    plane.settle()
    operation = jobs.delete(plane.context, "rg", PLACE, "j", "me")
    plane.settle()
    assert plane.rows("jobs") == []
    assert plane.rows("tasks", job_id=1) == []
    assert operations.get(plane.context, operation.id).ended
    assert states(plane) == [NodeState.IDLE]
    assert jobs.delete(plane.context, "rg", PLACE, "j", "me") is None


def test_deleting_in_the_documents_order_without_waiting_finishes_by_itself(plane):
    put_cluster(plane)
    put_job(plane, command="sleep 100")
    plane.settle()
    jobs.delete(plane.context, "rg", PLACE, "j", "me")
    clusters.delete(plane.context, "rg", "ws", "c", "me")
    operation = groups.delete(plane.context, "rg", "me")
    plane.settle()
    assert operations.get(plane.context, operation.id).ended
    for name in ("jobs", "clusters", "nodes", "experiments", "workspaces", "groups", "outbox"):
        assert plane.rows(name) == [], name


def test_a_deleted_cluster_fails_its_jobs_and_keeps_them(plane):
    put_cluster(plane)
    put_job(plane, command="sleep 100")
    put_job(plane, name="waiting")
    plane.settle()
    clusters.delete(plane.context, "rg", "ws", "c", "me")
    plane.settle()
    assert plane.rows("clusters") == []
    for name in ("j", "waiting"):
        assert job(plane, name).execution_state == ExecutionState.FAILED
        assert job(plane, name).errors[0]["code"] == "ClusterDeleted"


def test_nothing_can_be_created_in_what_is_being_deleted(plane):
    put_cluster(plane)
    put_job(plane, command="sleep 100")
    plane.settle()
    workspaces.delete(plane.context, "rg", "ws", "me")
    with pytest.raises(ServiceError) as refused:
        put_cluster(plane, name="c2")
    assert refused.value.status == 409


@pytest.mark.parametrize(
    ("deallocation", "outcome", "nodes"),
    [
        ("requeue", ExecutionState.QUEUED, []),
        ("terminate", ExecutionState.FAILED, []),
        ("waitforjobcompletion", ExecutionState.RUNNING, [NodeState.RUNNING]),
    ],
)
def test_shrinking_under_a_running_job(plane, deallocation, outcome, nodes):
    put_cluster(plane)
    put_job(plane, command="sleep 100")
    plane.settle()
    resize(plane, 0, deallocation)
    plane.settle()
    assert job(plane).execution_state == outcome
    assert states(plane) == nodes


def test_a_requeued_job_runs_again_and_knows_it(plane):
    put_cluster(plane)
    put_job(plane, command="sleep 100")
    plane.settle()
    resize(plane, 0)
    plane.settle()
    assert job(plane).started is None
    resize(plane, 1)
    plane.settle()
    assert job(plane).execution_state == ExecutionState.RUNNING
    runs = [task for task in plane.engine.started if task.run_id]
    assert [task.environment["OPENBATCHAI_RETRY_COUNT"] for task in runs] == ["0", "1"]
    assert runs[0].run_id != runs[1].run_id


def test_idle_nodes_leave_before_the_job_is_disturbed(plane):
    put_cluster(plane, count=2)
    put_job(plane, command="sleep 100")
    plane.settle()
    resize(plane, 1)
    plane.settle()
    assert states(plane) == [NodeState.RUNNING]
    assert job(plane).execution_state == ExecutionState.RUNNING


def test_autoscale_grows_for_a_job_and_shrinks_when_idle_too_long(plane):
    put_cluster(plane, auto={"minimumNodeCount": 0, "maximumNodeCount": 2})
    plane.settle()
    assert states(plane) == []
    put_job(plane)
    deadline = plane.settle()
    assert job(plane).execution_state == ExecutionState.SUCCEEDED
    assert states(plane) == [NodeState.IDLE]
    assert deadline == plane.clock.now() + timedelta(seconds=300)
    plane.clock.advance(300)
    plane.settle()
    assert states(plane) == []
    assert plane.rows("clusters")[0].allocation_state == "steady"


def test_the_end_of_a_job_is_held_for_a_reader_of_its_log_but_not_for_long(plane):
    put_cluster(plane)
    put_job(plane, command="sleep 100")
    plane.settle()
    plane.content.entries = [DirectoryEntry("stdout.txt", False, 3, plane.clock.now())]
    plane.content.unread = True
    run = next(task for task in plane.engine.started if task.run_id)
    plane.engine.finish(run.id, 0)
    deadline = plane.settle()
    assert job(plane).execution_state == ExecutionState.RUNNING
    assert deadline == plane.clock.now() + timedelta(seconds=2)
    plane.clock.advance(2)
    plane.settle()
    assert job(plane).execution_state == ExecutionState.SUCCEEDED
    assert job(plane).ended == plane.clock.now() - timedelta(seconds=2)


def test_the_end_of_a_job_is_published_when_the_reader_has_seen_all(plane):
    put_cluster(plane)
    put_job(plane, command="sleep 100")
    plane.settle()
    plane.content.entries = [DirectoryEntry("stdout.txt", False, 3, plane.clock.now())]
    plane.content.unread = True
    run = next(task for task in plane.engine.started if task.run_id)
    plane.engine.finish(run.id, 0)
    plane.settle()
    plane.content.unread = False
    plane.settle()
    assert job(plane).execution_state == ExecutionState.SUCCEEDED


def test_a_lost_agent_fails_the_job_and_frees_the_node(plane):
    put_cluster(plane)
    put_job(plane, command="sleep 100")
    plane.settle()
    plane.engine.lose_node(plane.rows("nodes")[0].id)
    plane.settle()
    assert job(plane).execution_state == ExecutionState.FAILED
    assert job(plane).errors[0]["code"] == "NodeAgentLost"
