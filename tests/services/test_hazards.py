"""What must not happen however unlucky the moment: stuck states, a dead reconciler, a run repeated."""

from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import literal_column

from openbatchai.domain.errors import ServiceError
from openbatchai.domain.jobs import ExecutionState
from openbatchai.domain.ports import DirectoryEntry
from openbatchai.domain.storage_accounts import AccountRequest
from openbatchai.engines.fake import FakeEngine
from openbatchai.services import accounts, clusters, groups, jobs, operations, outputs
from openbatchai.store import tables
from openbatchai.wire.batchai.versions import LATEST

from .test_lifecycle import PLACE, job, on, put_cluster, put_job, resize, states


class Unstartable(FakeEngine):
    """An engine on which no job can be started."""

    def start(self, task):
        if task.run_id:
            raise OSError("no space left on device")
        super().start(task)


class Stubborn(FakeEngine):
    """An engine whose tasks do not mind being told to end; the test ends them."""

    def signal(self, task_id, signal): ...

    def runs(self):
        return [task.id for task in self.started if task.run_id and self.is_running(task.id)]


def terminate(plane):
    return jobs.terminate(plane.context, "rg", PLACE, "j", LATEST.not_found, "me")


@pytest.fixture
def wide(plane):
    """A job of two nodes that runs and minds no signal."""
    on(plane, Stubborn(plane.clock, plane.content))
    put_cluster(plane, count=2)
    put_job(
        plane,
        nodes=2,
        customToolkitSettings=None,
        customMpiSettings={"commandLine": "sleep 100", "processCount": 2},
    )
    plane.settle()
    assert job(plane).execution_state == ExecutionState.RUNNING
    return plane


def test_terminating_a_job_that_is_being_requeued_while_its_nodes_end_one_by_one(wide):
    resize(wide, 0)
    wide.settle()
    first, second = wide.engine.runs()
    wide.engine.finish(first, 143)
    wide.settle()
    operation = terminate(wide)
    wide.engine.finish(second, 143)
    wide.settle()
    assert job(wide).execution_state == ExecutionState.FAILED
    assert job(wide).errors[0]["code"] == "JobTerminated"
    assert operations.get(wide.context, operation.id).ended
    assert states(wide) == []


def test_a_run_that_failed_on_one_node_is_not_repeated_when_the_cluster_shrinks(wide):
    first, second = wide.engine.runs()
    wide.engine.finish(first, 3)
    wide.settle()
    resize(wide, 0)
    wide.settle()
    wide.engine.finish(second, 143)
    wide.settle()
    assert (job(wide).execution_state, job(wide).exit_code) == (ExecutionState.FAILED, 3)


@pytest.mark.parametrize("deallocation", ["requeue", "terminate"])
def test_a_run_that_is_over_but_not_published_is_not_undone_when_the_cluster_shrinks(plane, deallocation):
    put_cluster(plane)
    put_job(plane, command="sleep 100")
    plane.settle()
    plane.content.entries = [DirectoryEntry("stdout.txt", False, 3, plane.clock.now())]
    plane.content.unread = True
    [run] = [task for task in plane.engine.started if task.run_id]
    plane.engine.finish(run.id, 0)
    plane.settle()
    resize(plane, 0, deallocation)
    plane.settle()
    plane.clock.advance(2)
    plane.settle()
    assert (job(plane).execution_state, job(plane).exit_code) == (ExecutionState.SUCCEEDED, 0)
    assert states(plane) == []


def test_a_job_that_cannot_be_started_can_be_terminated(plane):
    on(plane, Unstartable(plane.clock, plane.content))
    put_cluster(plane)
    put_job(plane)
    plane.settle()
    assert job(plane).execution_state == ExecutionState.RUNNING
    terminate(plane)
    plane.settle()
    assert job(plane).execution_state == ExecutionState.FAILED
    assert states(plane) == ["idle"]
    assert plane.rows("outbox") == []


def test_a_run_started_just_before_a_crash_is_stopped_before_its_end_is_published(plane):
    """The engine started the task; the service died before it wrote that down, then the user gave up."""
    put_cluster(plane)
    plane.settle()
    put_job(plane, command="sleep 100")
    plane.settle()
    [run] = [task for task in plane.engine.started if task.run_id]
    [row] = plane.rows("tasks", id=run.id)
    row.started = False
    plane.store.write(lambda unit: unit.tasks.save(row))
    terminate(plane)
    plane.settle()
    assert not plane.engine.is_running(run.id)
    assert job(plane).execution_state == ExecutionState.FAILED


def test_storage_that_cannot_be_read_holds_up_nobody(plane):
    """A job may well take away the permissions of its own output directory."""
    put_cluster(plane)
    put_job(plane)
    put_job(plane, name="other")
    plane.content.failure = PermissionError(13, "Permission denied")
    plane.settle()
    assert job(plane).execution_state == ExecutionState.SUCCEEDED
    assert job(plane, "other").execution_state == ExecutionState.SUCCEEDED


def list_output(plane):
    def url_of(item, sas):
        return f"{item.path}?{sas}"

    return outputs.listing(plane.context, job(plane), "stdouterr", ".", 60, url_of)


def test_output_that_cannot_be_read_is_said_to_be(plane):
    put_account(plane)
    put_cluster(plane)
    put_job(plane)
    plane.content.failure = PermissionError(13, "Permission denied")
    with pytest.raises(ServiceError, match="Permission denied") as refused:
        list_output(plane)
    assert refused.value.status == 409


def test_output_in_an_account_that_is_gone_is_none(plane):
    put_account(plane)
    put_cluster(plane)
    put_job(plane)
    plane.content.entries = [DirectoryEntry("stdout.txt", False, 3, plane.clock.now())]
    assert [file.name for file in list_output(plane)] == ["stdout.txt"]
    plane.content.failure = OSError("its content cannot be removed yet")
    accounts.delete(plane.context, "rg", "acct", "me")
    assert list_output(plane) == []


def test_a_damaged_job_stops_no_other(plane):
    put_cluster(plane, count=2)
    damaged = put_job(plane, name="damaged", command="sleep 100")
    plane.settle()
    plane.store.write(lambda unit: unit.tasks.remove(job_id=damaged.id))
    put_job(plane)
    plane.settle()
    assert job(plane).execution_state == ExecutionState.SUCCEEDED


def test_a_damaged_job_that_cannot_be_removed_stops_no_other(plane):
    put_cluster(plane)
    damaged = put_job(plane, name="damaged")
    other = put_job(plane, name="other")
    plane.settle()
    broken = (
        tables.tasks.update().where(tables.tasks.c.job_id == damaged.id).values(fault=literal_column("'{'"))
    )
    plane.store.write(lambda unit: unit.connection.execute(broken))
    for name in ("damaged", "other"):
        jobs.delete(plane.context, "rg", PLACE, name, "me")
    put_job(plane)
    plane.settle()
    assert job(plane).execution_state == ExecutionState.SUCCEEDED
    assert {row.id for row in plane.rows("jobs")} == {damaged.id, job(plane).id}
    assert other.id not in {row.id for row in plane.rows("jobs")}


def test_an_unusable_node_of_an_autoscale_cluster_leaves_and_takes_its_error_along(plane):
    auto = {"minimumNodeCount": 0, "maximumNodeCount": 1}
    put_cluster(plane, auto=auto)
    plane.content.key = "another"
    queued = put_job(plane)
    plane.settle()
    assert states(plane) == ["unusable"]
    jobs.delete(plane.context, "rg", PLACE, queued.name, "me")
    deadline = plane.settle()
    assert deadline == plane.clock.now() + timedelta(seconds=300)
    plane.clock.advance(300)
    plane.settle()
    assert states(plane) == []
    assert plane.rows("clusters")[0].errors == []


class TestAccounts:
    @pytest.fixture
    def account(self, plane):
        return put_account(plane)

    def test_a_new_account_is_not_lost_to_the_deletion_of_its_predecessor(self, plane, account):
        """The name is free again only when the old content is gone."""
        operation = groups.delete(plane.context, "rg", "me")
        plane.store.write(plane.reconciler.decide)
        assert not operations.get(plane.context, operation.id).ended
        groups.put(plane.context, "other", "eastus", {}, "me")
        with pytest.raises(Exception, match="already taken"):
            put_account(plane, "other")
        plane.settle()
        assert operations.get(plane.context, operation.id).ended
        put_account(plane, "other")
        plane.settle()
        assert plane.content.accounts == {"acct"}

    def test_deleting_one_survives_a_crash(self, plane, account):
        plane.content.failure = OSError("killed here")
        accounts.delete(plane.context, "rg", "acct", "me")
        plane.settle()
        assert plane.content.accounts == {"acct"}
        plane.content.failure = None
        plane.clock.advance(1)
        plane.settle()
        assert plane.content.accounts == set()

    def test_regenerating_one_key_leaves_what_another_request_did_to_the_other(self, plane, account):
        def meanwhile():
            accounts.regenerate_key(plane.context, "rg", "acct", "key2")

        context = replace(plane.context, store=Interrupted(plane.store, meanwhile))
        accounts.regenerate_key(context, "rg", "acct", "key1")
        left = accounts.get(plane.context, "rg", "acct").secrets
        assert left["key1"] != account.secrets["key1"]
        assert left["key2"] != account.secrets["key2"]


def put_account(plane, group="rg"):
    return accounts.put(
        plane.context, group, "acct", AccountRequest("eastus", "Storage", "Standard_LRS", {}, {}), "me"
    )


def test_a_key_that_died_while_it_was_being_looked_up_is_not_remembered(plane):
    put_account(plane)

    def meanwhile():
        accounts.regenerate_key(plane.context, "rg", "acct", "key1")
        ring.forget("acct")

    ring = accounts.StoredKeys(Interrupted(plane.store, meanwhile))
    ring.keys("acct")
    assert ring.keys("acct")[0] == accounts.get(plane.context, "rg", "acct").secrets["key1"]


class Interrupted:
    """A store in which something else happens once, right after the first read."""

    def __init__(self, store, meanwhile):
        self._store = store
        self._meanwhile = [meanwhile]
        self.write = store.write

    @contextmanager
    def read(self):
        with self._store.read() as unit:
            yield unit
        while self._meanwhile:
            self._meanwhile.pop()()


def test_a_cluster_is_deleted_while_its_nodes_prepare(plane):
    setup = {"commandLine": "sleep 100", "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT"}
    put_cluster(plane, setupTask=setup)
    plane.settle()
    assert states(plane) == ["preparing"]
    clusters.delete(plane.context, "rg", "ws", "c", "me")
    plane.settle()
    assert plane.rows("clusters") == []
    assert plane.rows("outbox") == []
