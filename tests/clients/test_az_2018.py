"""`az batchai` of October 2018: what today's version can no longer do, with the client of the time."""

import pytest
from harness.arm import unique
from harness.waiting import until

from .azure_cli import AzureCli
from .azure_cli_2018 import program

CREDENTIALS = "--user-name demo --password Dem0Pa$$w0rd"


@pytest.fixture(scope="module")
def az(service, tmp_path_factory):
    directory = tmp_path_factory.mktemp("az")
    return AzureCli(service, directory / "user", program(directory))


@pytest.fixture(scope="module")
def inside(az):
    """The words for a resource group and a workspace of its own."""
    group, workspace = unique("azg"), unique("azw")
    az(f"group create -n {group} -l eastus")
    az(f"batchai workspace create -g {group} -n {workspace}")
    return f"-g {group} -w {workspace}"


def idle(az, inside, cluster):
    def counted():
        return az(f"batchai cluster show {inside} -n {cluster}")["nodeStateCounts"]["idleNodeCount"] == 1

    until(counted, f"an idle node of {cluster}")


def test_a_file_server_from_its_creation_to_its_end(az, inside):
    name, cluster = unique("azn"), unique("azc")
    disks = "--disk-count 2 --disk-size 10 --storage-sku Premium_LRS --caching-type readonly"
    made = az(f"batchai file-server create {inside} -n {name} -s STANDARD_D2 {disks} {CREDENTIALS}")
    assert (made["provisioningState"], made["dataDisks"]["diskCount"]) == ("succeeded", 2)
    [row] = az.table(f"batchai file-server show {inside} -n {name}")
    assert (row["Name"], row["Disks"], row["Internal IP"]) == (name, "2 x 10 Gb", "127.0.0.1")
    assert name in [one["Name"] for one in az.table(f"batchai file-server list {inside}")]
    made = az(f"batchai cluster create {inside} -n {cluster} -s STANDARD_D1 -t 1 {CREDENTIALS} --nfs {name}")
    [mounted] = made["nodeSetup"]["mountVolumes"]["fileServers"]
    assert mounted["fileServer"]["id"].endswith(f"/{name}")
    idle(az, inside, cluster)
    assert cluster in az.refused(f"batchai file-server delete {inside} -n {name} -y")
    az(f"batchai cluster delete {inside} -n {cluster} -y")
    az(f"batchai file-server delete {inside} -n {name} -y")
    assert "is not found" in az.refused(f"batchai file-server show {inside} -n {name}", 3)


def test_a_cluster_with_storage_of_its_own(az, inside):
    """Also scaled, and with the files of its setup task listed."""
    name = unique("azc")
    output = "--setup-task-output '$AZ_BATCHAI_MOUNT_ROOT/autoafs'"
    words = f"-s STANDARD_D1 -t 1 {CREDENTIALS} --use-auto-storage"
    made = az(f"batchai cluster create {inside} -n {name} {words} --setup-task 'echo set up' {output}")
    mounts = made["nodeSetup"]["mountVolumes"]
    [share], [container] = mounts["azureFileShares"], mounts["azureBlobFileSystems"]
    assert (share["relativeMountPath"], container["relativeMountPath"]) == ("autoafs", "autobfs")
    idle(az, inside, name)
    files = az(f"batchai cluster file list {inside} -c {name}")
    assert sorted((file["name"][:6], file["size"]) for file in files) == [("stderr", 0), ("stdout", 7)]
    # The next one finds what the first has made.
    again = az(f"batchai cluster create {inside} -n {unique('azc')} {words}")
    assert again["nodeSetup"]["mountVolumes"]["azureFileShares"][0]["accountName"] == share["accountName"]
    scaled = az(f"batchai cluster auto-scale {inside} -n {name} --min 1 --max 2")["scaleSettings"]
    assert (scaled["autoScale"]["maximumNodeCount"], scaled["manual"]) == (2, None)
    fixed = az(f"batchai cluster resize {inside} -n {name} -t 1")["scaleSettings"]
    assert (fixed["autoScale"], fixed["manual"]["targetNodeCount"]) == (None, 1)
    az("group delete -n batchaiautostorage -y")
