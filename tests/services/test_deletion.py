"""What stands in the way of one deletion, and what is refused while a group is being deleted."""

from dataclasses import replace

import pytest
from sqlalchemy import text

from openbatchai.domain.errors import ServiceError
from openbatchai.domain.storage_accounts import AccountRequest
from openbatchai.services import accounts, clusters, groups, jobs

from .conftest import cluster_body, job_body

ACCOUNT = AccountRequest(location="eastus", kind="StorageV2", sku="Standard_LRS", tags={}, properties={})


def test_one_object_that_cannot_be_removed_keeps_no_other_one(plane, caplog):
    clusters.put(plane.context, "rg", "ws", "c", cluster_body(count=0), "me")
    place = ("ws", "ex")
    for name in ("bad", "good"):
        jobs.put(plane.context, "rg", place, name, job_body(), 0, "2018", "me")
    refusing = "CREATE TRIGGER refuse BEFORE DELETE ON jobs WHEN old.name = 'bad' "
    refusing += "BEGIN SELECT RAISE(ABORT, 'no'); END"
    plane.store.write(lambda unit: unit.connection.execute(text(refusing)))
    for name in ("bad", "good"):
        jobs.delete(plane.context, "rg", place, name, "me")
    plane.settle()
    plane.settle()
    assert [job.name for job in plane.rows("jobs")] == ["bad"]
    assert len([record for record in caplog.records if "could not be worked on" in record.message]) == 1
    plane.store.write(lambda unit: unit.connection.execute(text("DROP TRIGGER refuse")))
    plane.settle()
    assert plane.rows("jobs") == []
    assert plane.rows("operations", ended=None) == []


def test_accounts_of_a_group_that_is_being_deleted_are_not_written(plane):
    accounts.put(plane.context, "rg", "acct", ACCOUNT, "me")
    before = plane.rows("accounts")
    groups.delete(plane.context, "rg", "me")
    for write in (
        lambda: accounts.put(plane.context, "rg", "acct", ACCOUNT, "me"),
        lambda: accounts.patch(plane.context, "rg", "acct", replace(ACCOUNT, tags={"a": "b"}), "me"),
        lambda: accounts.regenerate_key(plane.context, "rg", "acct", "key1"),
        lambda: accounts.revoke_delegation_keys(plane.context, "rg", "acct", "me"),
    ):
        with pytest.raises(ServiceError) as refused:
            write()
        assert (refused.value.status, refused.value.code) == (409, "ResourceGroupBeingDeleted")
    assert plane.rows("accounts") == before
