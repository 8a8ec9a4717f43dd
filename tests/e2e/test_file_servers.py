"""A file server as the recorded flow used it: one cluster's job writes, another cluster's job reads."""

from pathlib import Path

import pytest
from harness.arm import VERSIONS, Lab, unique
from harness.waiting import until

OLDEST = VERSIONS[0]
PROPERTIES = {
    "vmSize": "STANDARD_D1",
    "sshConfiguration": {"userAccountSettings": {"adminUserName": "demo", "adminUserPassword": "pw"}},
    "dataDisks": {"diskSizeInGB": 10, "diskCount": 2, "storageAccountType": "Standard_LRS"},
}


@pytest.fixture(scope="module")
def lab(arm):
    return Lab(arm, nodes=0)


def make(arm, path, body, version=VERSIONS[-1]):
    answer = arm.ask("PUT", path, body, version=version)
    assert (answer.status_code, answer.content) == (202, b""), answer.text
    poll = answer.headers["Azure-AsyncOperation"]

    def over():
        status = arm.ask("GET", poll).json()
        return status if status["status"] != "InProgress" else None

    assert until(over, "the file server")["status"] == "Succeeded"
    return arm.get(path, version)


def with_nfs(lab, server):
    volumes = lab.arm.get(lab.cluster)["properties"]["nodeSetup"]["mountVolumes"]
    volumes["azureFileShares"][0]["credentials"] = {"accountKey": lab.arm.service.key}
    reference = {"fileServer": {"id": server}, "relativeMountPath": "nfs", "mountOptions": "rw"}
    return {"nodeSetup": {"mountVolumes": {**volumes, "fileServers": [reference]}}}


def test_jobs_of_two_clusters_share_its_files_and_deleting_it_takes_them(lab):
    arm, path = lab.arm, f"{lab.workspace}/fileServers/nfs"
    server = make(arm, path, {"properties": PROPERTIES})
    assert server["properties"]["provisioningState"] == "succeeded"
    directory = Path(server["properties"]["mountSettings"]["mountPoint"])
    writer, reader = (lab.new_cluster(name, **with_nfs(lab, server["id"])) for name in ("writer", "reader"))
    lab.finished(
        lab.submit("echo hi from the host > $AZ_BATCHAI_MOUNT_ROOT/nfs/host.txt", cluster={"id": writer})
    )
    assert (directory / "host.txt").read_text() == "hi from the host\n"
    job = lab.submit("cat $AZ_BATCHAI_MOUNT_ROOT/nfs/host.txt", cluster={"id": reader})
    lab.finished(job)
    assert lab.output(job) == "hi from the host\n"

    assert arm.ask("DELETE", path).status_code == 409
    for cluster in (writer, reader):
        arm.delete(cluster)
    assert (directory / "host.txt").exists()
    arm.delete(path)
    assert not directory.exists()
    assert arm.ask("DELETE", path).status_code == 204


def test_a_job_mounts_a_directory_of_one_made_by_the_oldest_version(lab):
    arm = lab.arm
    path = f"{arm.provider(lab.group)}/fileServers/{unique('old')}"
    server = make(arm, path, {"location": "eastus", "properties": PROPERTIES}, OLDEST)
    assert server["properties"]["mountSettings"]["fileServerType"] == "NFS"
    directory = Path(server["properties"]["mountSettings"]["mountPoint"])
    (directory / "inner").mkdir()
    (directory / "inner" / "data.txt").write_text("inside\n")
    cluster = lab.new_cluster("one")
    reference = {"fileServer": {"id": server["id"]}, "relativeMountPath": "data", "sourceDirectory": "inner"}
    job = lab.submit(
        "cat $AZ_BATCHAI_JOB_MOUNT_ROOT/data/data.txt",
        cluster={"id": cluster},
        mountVolumes={"fileServers": [reference]},
    )
    lab.finished(job)
    assert lab.output(job) == "inside\n"
    listed = arm.get(f"{arm.provider(lab.group)}/fileServers", OLDEST)["value"]
    assert [item["id"] for item in listed] == [server["id"]]


def test_a_directory_that_the_server_has_not_fails_the_job_with_its_name(lab):
    arm = lab.arm
    path = f"{lab.workspace}/fileServers/{unique('bare')}"
    server = make(arm, path, {"properties": PROPERTIES})
    cluster = lab.new_cluster("two")
    reference = {
        "fileServer": {"id": server["id"]},
        "relativeMountPath": "x",
        "sourceDirectory": "../../nodes",
    }
    job = lab.submit("true", cluster={"id": cluster}, mountVolumes={"fileServers": [reference]})
    [error] = lab.finished(job)["executionInfo"]["errors"]
    assert error["code"] == "NFSMountError"
    assert "../../nodes" in str(error["details"])
