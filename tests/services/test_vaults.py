"""Secrets named by reference: checked at creation, read when a task starts."""

import pytest

from openbatchai.domain.errors import ServiceError
from openbatchai.domain.jobs import ExecutionState
from openbatchai.services import clusters, jobs, vaults

from .conftest import KEY, cluster_body, job_body

PLACE = ("ws", "ex")
URL = "https://vault1.vault.azure.net/secrets/storage-key"


def reference(url=URL):
    return {"sourceVault": {"id": "/vaults/vault1"}, "secretUrl": url}


def volumes(url=URL):
    share = {
        "accountName": "acct",
        "azureFileUrl": "https://acct.file.core.windows.net/share",
        "credentials": {"accountKeySecretReference": reference(url)},
        "relativeMountPath": "afs",
    }
    return {"azureFileShares": [share]}


def put_cluster(plane, url=URL):
    return clusters.put(plane.context, "rg", "ws", "c", cluster_body(mountVolumes=volumes(url)), "me")


def put_job(plane, name="j", **extra):
    secrets = [{"name": "TOKEN", "valueSecretReference": reference()}]
    return jobs.put(plane.context, "rg", PLACE, name, job_body(secrets=secrets, **extra), 0, "2018", "me").job


def test_a_mount_takes_its_key_from_the_store(plane):
    vaults.put(plane.context, "Vault1", "Storage-Key", KEY)
    put_cluster(plane)
    plane.settle()
    assert [node.state for node in plane.rows("nodes")] == ["idle"]
    assert KEY not in str(plane.rows("clusters"))


@pytest.mark.parametrize(
    "url", [URL, f"{URL}/0123456789", "https://other1.vault.azure.net/secrets/storage-key"]
)
def test_what_leads_to_no_secret_is_refused_by_its_path(plane, url):
    if url != URL:
        vaults.put(plane.context, "vault1", "storage-key", KEY)
    with pytest.raises(ServiceError) as refused:
        put_cluster(plane, url)
    assert refused.value.target == (
        "properties.nodeSetup.mountVolumes.azureFileShares.0.credentials.accountKeySecretReference.secretUrl"
    )
    assert plane.rows("clusters") == []


def test_a_job_gets_the_newest_version_there_is_when_it_starts(plane):
    first = vaults.put(plane.context, "vault1", "storage-key", "old")
    clusters.put(plane.context, "rg", "ws", "c", cluster_body(count=1), "me")
    put_job(plane)
    vaults.put(plane.context, "vault1", "storage-key", "new")
    plane.settle()
    [task] = [task for task in plane.engine.started if task.run_id]
    assert task.secrets == {"TOKEN": "new"}
    assert vaults.listing(plane.context)[1].version == first.version


def test_a_secret_is_kept_while_an_unfinished_job_names_it(plane):
    vaults.put(plane.context, "vault1", "storage-key", "x")
    clusters.put(plane.context, "rg", "ws", "c", cluster_body(count=0), "me")
    put_job(plane)
    with pytest.raises(ServiceError, match="job j"):
        vaults.delete(plane.context, "vault1", "storage-key")
    jobs.terminate(plane.context, "rg", PLACE, "j", None, "me")
    plane.settle()
    assert plane.rows("jobs")[0].execution_state == ExecutionState.FAILED
    vaults.delete(plane.context, "vault1", "storage-key")
    with pytest.raises(ServiceError) as missing:
        vaults.delete(plane.context, "vault1", "storage-key")
    assert missing.value.status == 404


@pytest.mark.parametrize(("vault", "name"), [("1", "a"), ("vault1", "a_b"), ("v" * 30, "a")])
def test_names_that_key_vault_would_not_take(plane, vault, name):
    with pytest.raises(ServiceError):
        vaults.put(plane.context, vault, name, "x")


def test_a_vault_of_one_letter_is_refused_for_its_name(plane):
    with pytest.raises(ServiceError, match="'v' cannot be the name of a key vault: that has 3 to 24"):
        vaults.put(plane.context, "v", "token", "x")
    spec = {"valueSecretReference": {"secretUrl": "https://v.vault.azure.net/secrets/token"}}
    with plane.context.store.read() as unit, pytest.raises(ServiceError, match="VAULT has 3 to 24 letters"):
        vaults.check(unit, spec, "properties")
