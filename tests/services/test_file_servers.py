"""File servers over a scripted engine: making, mounting, deleting."""

import pytest

from openbatchai.domain.errors import Fault, ServiceError
from openbatchai.services import clusters, file_servers, operations, workspaces
from openbatchai.wire import arm
from openbatchai.wire.batchai.versions import LATEST, VERSIONS

from .conftest import SUBSCRIPTION, cluster_body

BODY = {
    "location": "eastus",
    "properties": {
        "vmSize": "STANDARD_D1",
        "sshConfiguration": {"userAccountSettings": {"adminUserName": "u", "adminUserPassword": "secret"}},
        "dataDisks": {"diskSizeInGB": 10, "diskCount": 2, "storageAccountType": "Standard_LRS"},
    },
}
ROOT = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.BatchAI"


def put(plane, name="nfs", workspace="ws", body=BODY):
    version = LATEST if workspace else VERSIONS["2018-03-01"]
    return file_servers.put(plane.context, "rg", workspace, name, version.file_server_request(body), "me")


def delete(plane, name="nfs"):
    return file_servers.delete(plane.context, "rg", "ws", name, "me")


def mounting(plane, name="c", reference=f"{ROOT}/workspaces/WS/fileServers/NFS", **extra):
    volumes = {"fileServers": [{"fileServer": {"id": reference}, "relativeMountPath": "nfs", **extra}]}
    return clusters.put(plane.context, "rg", "ws", name, cluster_body(mountVolumes=volumes), "me")


def is_over(plane, operation):
    return operations.get(plane.context, operation.id).ended is not None


def test_it_is_creating_until_the_engine_has_made_it(plane):
    created, operation = put(plane)
    shown = LATEST.file_server(created, SUBSCRIPTION)["properties"]
    assert (shown["provisioningState"], "mountSettings" in shown) == ("creating", False)
    assert not is_over(plane, operation)
    plane.settle()
    assert is_over(plane, operation)
    found = file_servers.get(plane.context, "rg", "ws", "nfs", LATEST.not_found)
    shown = LATEST.file_server(found, SUBSCRIPTION)["properties"]
    assert shown["provisioningState"] == "succeeded"
    assert shown["mountSettings"]["mountPoint"] == found.server.facts["mountPoint"]


def test_the_same_again_makes_nothing_twice_and_another_is_refused(plane):
    put(plane)
    assert put(plane)[1] is not None
    plane.settle()
    assert put(plane)[1] is None
    assert len(plane.rows("file_servers")) == 1
    other = {**BODY, "properties": {**BODY["properties"], "vmSize": "STANDARD_D2"}}
    with pytest.raises(ServiceError, match="different properties"):
        put(plane, body=other)


def test_no_password_is_shown_or_kept_in_clear(plane):
    put(plane)
    [row] = plane.rows("file_servers")
    assert "secret" not in str(row.spec)
    assert list(row.secrets.values()) == ["secret"]


def test_a_cluster_mounts_it_by_either_spelling_of_its_id(plane):
    put(plane)
    put(plane, "old", workspace=None)
    plane.settle()
    mounting(plane)
    mounting(plane, "d", f"{ROOT}/fileServers/old")
    plane.settle()
    assert [node.state for node in plane.rows("nodes")] == ["idle", "idle"]
    spec = plane.rows("clusters", name="c")[0].spec
    assert spec["nodeSetup"]["mountVolumes"]["fileServers"][0]["fileServer"]["id"] == (
        f"{ROOT}/workspaces/ws/fileservers/nfs"
    )
    shown = VERSIONS["2018-03-01"].cluster(
        clusters.get(plane.context, "rg", "ws", "d", LATEST.not_found), SUBSCRIPTION
    )
    flat = shown["properties"]["nodeSetup"]["mountVolumes"]["fileServers"][0]["fileServer"]["id"]
    assert flat == f"{ROOT}/fileservers/old"


def test_mounting_one_that_is_not_there_names_the_property(plane):
    with pytest.raises(ServiceError) as refused:
        mounting(plane)
    assert refused.value.target == "properties.nodeSetup.mountVolumes.fileServers.0.fileServer.id"
    assert plane.rows("clusters") == []


def test_it_cannot_be_deleted_while_a_cluster_mounts_it(plane):
    put(plane)
    mounting(plane)
    plane.settle()
    with pytest.raises(ServiceError) as refused:
        delete(plane)
    assert (refused.value.status, "clusters" in refused.value.message) == (409, True)
    clusters.delete(plane.context, "rg", "ws", "c", "me")
    plane.settle()
    operation = delete(plane)
    plane.settle()
    assert is_over(plane, operation)
    assert plane.rows("file_servers") == []
    assert delete(plane) is None


def test_a_workspace_takes_its_file_servers_along(plane):
    put(plane)
    mounting(plane)
    plane.settle()
    workspaces.delete(plane.context, "rg", "ws", "me")
    plane.settle()
    assert (plane.rows("file_servers"), plane.rows("workspaces")) == ([], [])


def test_nodes_that_cannot_mount_it_say_so(plane):
    put(plane)
    # Before the engine has made it: the cluster's nodes come up after it, in the order of their decision.
    mounting(plane)
    plane.settle()
    plane.engine.remove_file_server(next(iter(plane.engine.file_servers)))
    clusters.patch(
        plane.context, "rg", "ws", "c", {"manual": {"targetNodeCount": 2}}, None, LATEST.not_found, "me"
    )
    plane.settle()
    assert sorted(node.state for node in plane.rows("nodes")) == ["idle", "unusable"]
    assert plane.rows("clusters")[0].errors[0]["code"] == Fault.FILE_SERVER_MOUNT


def test_making_one_that_is_deleted_meanwhile_fails(plane):
    _, making = put(plane)
    deleting = delete(plane)
    plane.settle()
    told = arm.operation_status("url", operations.get(plane.context, making.id))
    assert (told["status"], told["error"]["code"]) == ("Failed", "FileServerNotFound")
    assert "nfs" in told["error"]["message"]
    assert "properties" not in told
    assert arm.operation_status("url", operations.get(plane.context, deleting.id))["status"] == "Succeeded"
