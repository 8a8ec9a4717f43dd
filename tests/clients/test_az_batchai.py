"""Every `az batchai` command of azure-cli 2.91, with its options, as JSON and as the tables it makes.

Some do not work in that version whatever answers: they end in an error of their own before they ask, or ask
for something else. Those are here too, with what a user does instead.
"""

import json
import re

import pytest
from harness.arm import unique
from harness.waiting import until

from .azure_cli import AzureCli

PASSWORD = "Dem0Pa$$w0rd"
CREDENTIALS = f"--user-name demo --password {PASSWORD}"
# It never names a file server or an auto-scale update that the library it came with could send.
BROKEN = "The command failed with an unexpected error"


@pytest.fixture(scope="module")
def az(service, tmp_path_factory):
    return AzureCli(service, tmp_path_factory.mktemp("az") / "user")


class Place:
    """A resource group with a workspace, an experiment, and an account with a share and a container."""

    def __init__(self, az):
        self.az = az
        self.group, self.workspace, self.experiment = unique("azg"), unique("azw"), unique("aze")
        self.account, self.share, self.container = unique("azacct").replace("-", ""), "shared", "contained"
        az(f"group create -n {self.group} -l eastus")
        az(f"batchai workspace create -g {self.group} -n {self.workspace}")
        az(f"batchai experiment create {self.inside} -n {self.experiment}")
        az(f"storage account create -n {self.account} --sku Standard_LRS -g {self.group}")
        az(f"storage share create -n {self.share} --account-name {self.account}")
        az(f"storage container create -n {self.container} --account-name {self.account}")

    @property
    def inside(self):
        return f"-g {self.group} -w {self.workspace}"

    @property
    def jobs(self):
        return f"{self.inside} -e {self.experiment}"

    @property
    def mounts(self):
        account = f"--storage-account-name {self.account}"
        return f"{account} --afs-name {self.share} --bfs-name {self.container}"

    def cluster(self, *options, nodes=1):
        """A new cluster, its nodes idle."""
        name = unique("azc")
        words = f"-n {name} -s STANDARD_D1 -t {nodes} {CREDENTIALS} {' '.join(options)}"
        self.az(f"batchai cluster create {self.inside} {words}")
        self.idle(name, nodes)
        return name

    def idle(self, cluster, nodes):
        def counted():
            shown = self.az(f"batchai cluster show {self.inside} -n {cluster}")
            return shown["nodeStateCounts"]["idleNodeCount"] == nodes

        until(counted, f"{nodes} idle nodes of {cluster}")


@pytest.fixture(scope="module")
def place(az):
    return Place(az)


@pytest.fixture(scope="module")
def cluster(place):
    return place.cluster()


@pytest.fixture
def job_file(tmp_path):
    def write(command, **more):
        path = tmp_path / f"{unique('job')}.json"
        properties = {
            "nodeCount": 1,
            "customToolkitSettings": {"commandLine": command},
            "stdOutErrPathPrefix": "$AZ_BATCHAI_JOB_MOUNT_ROOT/afs",
            "outputDirectories": [{"id": "OUT", "pathPrefix": "$AZ_BATCHAI_JOB_MOUNT_ROOT/bfs"}],
            **more,
        }
        path.write_text(json.dumps({"$schema": "https://example.org/job.json", "properties": properties}))
        return path

    return write


def names(listed):
    return [one["name"] for one in listed]


class TestWorkspacesAndExperiments:
    def test_workspaces(self, az, place):
        name = unique("azw")
        made = az(f"batchai workspace create -g {place.group} -n {name} -l westus2")
        assert (made["location"], made["provisioningState"]) == ("westus2", "succeeded")
        assert made["resourceGroup"] == place.group
        assert az(f"batchai workspace show -g {place.group} -n {name}")["id"] == made["id"]
        assert az(f"batchai workspace show --ids {made['id']}")["name"] == name
        assert sorted(names(az(f"batchai workspace list -g {place.group}"))) == sorted(
            [place.workspace, name]
        )
        assert name in names(az("batchai workspace list"))
        row = {"Name": name, "Resource Group": place.group, "Location": "westus2", "State": "succeeded"}
        assert az.table(f"batchai workspace show -g {place.group} -n {name}") == [row]
        assert row in az.table("batchai workspace list")
        az(f"batchai workspace delete -g {place.group} -n {name} -y")
        assert "WorkspaceNotFound" in az.refused(f"batchai workspace show -g {place.group} -n {name}", 3)
        # Without a location it is the group's.
        assert az(f"batchai workspace show -g {place.group} -n {place.workspace}")["location"] == "eastus"

    def test_experiments(self, az, place):
        name = unique("aze")
        made = az(f"batchai experiment create {place.inside} -n {name}")
        assert made["type"] == "Microsoft.BatchAI/workspaces/experiments"
        assert az(f"batchai experiment show {place.inside} -n {name}") == made
        assert name in names(az(f"batchai experiment list {place.inside}"))
        row = {
            "Name": name,
            "Resource Group": place.group,
            "Workspace": place.workspace,
            "State": "succeeded",
        }
        assert az.table(f"batchai experiment show {place.inside} -n {name}") == [row]
        assert row in az.table(f"batchai experiment list {place.inside}")
        az(f"batchai experiment delete {place.inside} -n {name} --yes --no-wait")
        until(lambda: name not in names(az(f"batchai experiment list {place.inside}")), "its deletion")


class TestClusters:
    def test_with_mounts_and_a_setup_task(self, az, place, service):
        setup = "echo set up; echo by the task > $AZ_BATCHAI_MOUNT_ROOT/bfs/made.txt"
        task = f"--setup-task '{setup}' --setup-task-output '$AZ_BATCHAI_MOUNT_ROOT/files/setup'"
        options = "--afs-mount-path files --vm-priority lowpriority --image UbuntuLTS"
        name = place.cluster(place.mounts, options, task)
        shown = az(f"batchai cluster show {place.inside} -n {name}")
        assert (shown["vmPriority"], shown["allocationState"]) == ("lowpriority", "steady")
        image = shown["virtualMachineConfiguration"]["imageReference"]
        assert (image["publisher"], image["offer"]) == ("Canonical", "UbuntuServer")
        mounts = shown["nodeSetup"]["mountVolumes"]
        [share], [container] = mounts["azureFileShares"], mounts["azureBlobFileSystems"]
        assert (share["relativeMountPath"], container["relativeMountPath"]) == ("files", "bfs")
        blobs = az(f"storage blob list -c {place.container} --account-name {place.account}")
        assert "made.txt" in names(blobs)
        # The command asks the share's root for names that begin with the whole path: 2.91 lists none.
        assert az(f"batchai cluster file list {place.inside} -c {name}") == []
        assert (
            az.line(f"az batchai cluster file list {place.inside} -c {name} -p . --expiry 5 -o table") == "\n"
        )
        suffix = shown["nodeSetup"]["setupTask"]["stdOutErrPathSuffix"]
        words = f"-s {place.share} -p setup/{suffix} --account-name {place.account}"
        listed = names(az(f"storage file list {words}"))
        assert any(one.startswith("stdout") for one in listed), listed

    def test_shown_listed_resized_and_deleted(self, az, place):
        name = place.cluster("--image UbuntuDSVM --vm-priority dedicated")
        row = {
            "Name": name,
            "Resource Group": place.group,
            "Workspace": place.workspace,
            "VM Size": "STANDARD_D1",
            "State": "steady",
            **dict.fromkeys(("Running", "Preparing", "Leaving", "Unusable"), "0"),
            "Idle": "1",
        }
        assert az.table(f"batchai cluster show {place.inside} -n {name}") == [row]
        assert row in az.table(f"batchai cluster list {place.inside}")
        assert name in names(az(f"batchai cluster list {place.inside}"))
        az(f"batchai cluster resize {place.inside} -n {name} -t 2")
        place.idle(name, 2)
        nodes = az(f"batchai cluster node list {place.inside} -c {name}")
        assert len({(node["nodeId"], node["ipAddress"]) for node in nodes}) == 2
        table = az.table(f"batchai cluster node list {place.inside} -c {name}")
        assert {(node["ID"], node["IP"], float(node["SSH Port"])) for node in table} == {
            (node["nodeId"], node["ipAddress"], node["port"]) for node in nodes
        }
        az(f"batchai cluster resize {place.inside} -n {name} -t 0")
        place.idle(name, 0)
        assert "already exists" in az.refused(
            f"batchai cluster create {place.inside} -n {name} -s STANDARD_D1 -t 1 {CREDENTIALS}"
        )
        az(f"batchai cluster delete {place.inside} -n {name} -y")
        assert "ClusterNotFound" in az.refused(f"batchai cluster show {place.inside} -n {name}", 3)

    def test_every_other_option(self, az, place, tmp_path):
        name, subscription = unique("azc"), az("account show --query id")
        group = f"/subscriptions/{subscription}/resourceGroups/{place.group}/providers"
        subnet = f"{group}/Microsoft.Network/virtualNetworks/v/subnets/s"
        image = f"{group}/Microsoft.Compute/images/mine"
        words = f"-i Canonical:UbuntuServer:16.04-LTS:latest --custom-image {image} --subnet {subnet}"
        made = az(
            f"batchai cluster create {place.inside} -n {name} -s Standard_D2 --min 0 --max 2 {words} "
            "-u demo --generate-ssh-keys"
        )
        assert made["scaleSettings"]["autoScale"] == {
            "initialNodeCount": 0,
            "minimumNodeCount": 0,
            "maximumNodeCount": 2,
        }
        assert made["virtualMachineConfiguration"]["imageReference"]["virtualMachineImageId"] == image
        assert made["subnet"]["id"] == subnet
        assert made["userAccountSettings"]["adminUserSshPublicKey"].startswith("ssh-rsa ")
        config = tmp_path / "cluster.json"
        account = "<AZURE_BATCHAI_STORAGE_ACCOUNT>"
        share = {
            "azureFileUrl": f"https://{account}.file.core.windows.net/{place.share}",
            "accountName": account,
            "credentials": {"accountKey": "<AZURE_BATCHAI_STORAGE_KEY>"},
            "relativeMountPath": "by-file",
        }
        properties = {
            "vmSize": "STANDARD_D1",
            "scaleSettings": {"manual": {"targetNodeCount": 0}},
            "nodeSetup": {"mountVolumes": {"azureFileShares": [share]}},
        }
        config.write_text(json.dumps({"properties": properties}))
        name = unique("azc")
        made = az(
            f"batchai cluster create {place.inside} -n {name} -f {config} {CREDENTIALS} -t 1 "
            f"--storage-account-name {place.account}"
        )
        [mounted] = made["nodeSetup"]["mountVolumes"]["azureFileShares"]
        assert (mounted["accountName"], mounted["relativeMountPath"]) == (place.account, "by-file")
        assert mounted["credentials"]["accountKey"] is None

    def test_auto_storage(self, az, place):
        """2.91 cannot make the account itself: what it sends as its name is no JSON object. One that is there
        in its group and the workspace's region is used."""
        words = f"{place.inside} -s STANDARD_D1 -t 1 {CREDENTIALS} --use-auto-storage"
        first = az.refused(f"batchai cluster create -n {unique('azc')} {words}")
        assert "InvalidValuesForRequestParameters" in first or "InvalidRequestContent" in first
        assert az("group exists -n batchaiautostorage") is True
        account = unique("bai").replace("-", "")
        az(f"storage account create -n {account} -g batchaiautostorage -l eastus --sku Standard_LRS")
        made = az(f"batchai cluster create -n {unique('azc')} {words}")
        mounts = made["nodeSetup"]["mountVolumes"]
        [share], [container] = mounts["azureFileShares"], mounts["azureBlobFileSystems"]
        assert (share["relativeMountPath"], container["relativeMountPath"]) == ("autoafs", "autobfs")
        assert share["accountName"] == container["accountName"] == account
        az("group delete -n batchaiautostorage -y")

    def test_auto_scale(self, az, place, cluster):
        words = f"{place.inside} -n {cluster} --min 0 --max 1"
        assert BROKEN in az.refused(f"batchai cluster auto-scale {words}")
        wanted = {"minimumNodeCount": 1, "maximumNodeCount": 2}
        body = json.dumps({"properties": {"scaleSettings": {"autoScale": wanted}}})
        shown = az(f"batchai cluster show {place.inside} -n {cluster}")
        url = f"{shown['id']}?api-version=2018-05-01"
        changed = az(f"rest --method patch --url {url}", "--body", body)
        assert changed["properties"]["scaleSettings"]["autoScale"]["maximumNodeCount"] == 2
        az(f"batchai cluster resize {place.inside} -n {cluster} -t 1")
        after = az(f"batchai cluster show {place.inside} -n {cluster}")
        assert after["scaleSettings"] == shown["scaleSettings"]

    def test_commands_on_a_node(self, az, place, cluster):
        """A node's address is this machine's; whether an ssh server lets `demo` in is its own matter."""
        said = az.refused(f"batchai cluster node exec {place.inside} -c {cluster} --exec true -p {PASSWORD}")
        assert re.search(r"Unable to connect to port 22 on 127\.|Connection to remote host failed", said)


class TestFileServers:
    def test_they_are_listed(self, az, place):
        words = (
            "-s STANDARD_D2 --disk-count 2 --disk-size 10 --storage-sku Premium_LRS --caching-type readonly"
        )
        name = unique("azn")
        create = f"batchai file-server create {place.inside} -n {name} {words} {CREDENTIALS}"
        assert BROKEN in az.refused(create)
        properties = {
            "vmSize": "STANDARD_D2",
            "sshConfiguration": {
                "userAccountSettings": {"adminUserName": "demo", "adminUserPassword": PASSWORD}
            },
            "dataDisks": {"diskCount": 2, "diskSizeInGB": 10, "storageAccountType": "Premium_LRS"},
        }
        workspace = az(f"batchai workspace show -g {place.group} -n {place.workspace}")["id"]
        url = f"{workspace}/fileServers/{name}?api-version=2018-05-01"
        az(f"rest --method put --url {url}", "--body", json.dumps({"properties": properties}))

        def listed():
            [found] = az(f"batchai file-server list {place.inside}")
            return found["provisioningState"] == "succeeded" and found

        found = until(listed, "the file server")
        assert found["mountSettings"]["mountPoint"].startswith("/")
        [row] = az.table(f"batchai file-server list {place.inside}")
        shown = {key: row[key] for key in ("Name", "Resource Group", "Size", "Disks", "Public IP")}
        assert shown == {
            "Name": name,
            "Resource Group": place.group,
            "Size": "STANDARD_D2",
            "Disks": "2 x 10 Gb",
            "Public IP": "127.0.0.1",
        }
        # Its cluster and job commands cannot name one by --nfs either.
        words = f"-n {unique('azc')} -s STANDARD_D1 -t 1 {CREDENTIALS} --nfs {name}"
        assert BROKEN in az.refused(f"batchai cluster create {place.inside} {words}")


class TestJobs:
    def create(self, az, place, cluster, file):
        name = unique("azj")
        made = az(f"batchai job create {place.jobs} -n {name} -c {cluster} -f {file} {place.mounts}")
        assert made["name"] == name
        return name

    def test_one_that_succeeds(self, az, place, cluster, job_file):
        prints = "echo out; echo err >&2"
        writes = "cd $AZ_BATCHAI_OUTPUT_OUT; mkdir sub; echo 1 > r.txt; echo 22 > sub/s.txt"
        name = self.create(az, place, cluster, job_file(f"{prints}; {writes}"))
        az(f"batchai job wait {place.jobs} -n {name} --interval 1")
        shown = az(f"batchai job show {place.jobs} -n {name}")
        assert (shown["executionState"], shown["executionInfo"]["exitCode"]) == ("succeeded", 0)
        row = {
            "Name": name,
            "Cluster": cluster,
            "Cluster RG": place.group,
            "Cluster Workspace": place.workspace,
            "Tool": "custom",
            "Nodes": "1",
            "State": "succeeded",
            "Exit code": "0",
        }
        assert az.table(f"batchai job show {place.jobs} -n {name}") == [row]
        assert row in az.table(f"batchai job list {place.jobs}")
        of = f"{place.jobs} -j {name}"
        assert names(az(f"batchai job file list {of}")) == ["execution.log", "stderr.txt", "stdout.txt"]
        files = az.table(f"batchai job file list {of} -d OUT --expiry 10")
        assert [(file["Name"], file["Type"], file["Size"]) for file in files] == [
            ("r.txt", "file", "2"),
            ("sub", "directory", ""),
        ]
        [inner] = az(f"batchai job file list {of} -d OUT -p sub")
        assert (inner["name"], inner["contentLength"]) == ("s.txt", 3)
        assert az.line(f"az batchai job file stream {of} -f stdout.txt") == "out\n"
        assert az.line(f"az batchai job file stream {of} -f stderr.txt") == "err\n"
        assert az.line(f"az batchai job file stream {of} -d OUT -p sub -f s.txt") == "22\n"
        assert az.line(f"az batchai job file stream {of} -f none.txt") == ""
        assert "OUT" in az.refused(f"batchai job file list {of} -d NONE")
        assert "already exists" in az.refused(
            f"batchai job create {place.jobs} -n {name} -c {cluster} -f {job_file('true')}"
        )
        az(f"batchai job delete {place.jobs} -n {name} -y")
        assert "JobNotFound" in az.refused(f"batchai job show {place.jobs} -n {name}", 3)

    def test_one_that_fails(self, az, place, cluster, job_file):
        name = self.create(az, place, cluster, job_file("exit 7"))
        az.refused(f"batchai job wait {place.jobs} -n {name} --interval 1", 7)
        [row] = [row for row in az.table(f"batchai job list {place.jobs}") if row["Name"] == name]
        assert (row["State"], row["Exit code"]) == ("failed", "7")

    def test_one_that_is_terminated(self, az, place, cluster, job_file):
        identity = az(f"batchai cluster show {place.inside} -n {cluster}")["id"]
        name = self.create(az, place, identity, job_file("echo begun; sleep 600"))
        of = f"{place.jobs} -j {name}"
        until(lambda: az(f"batchai job node list {of}"), "its node")
        [node] = az.table(f"batchai job node list {of}")
        assert node["IP"].startswith("127.")
        said = az.refused(f"batchai job node exec {of} --exec true -p {PASSWORD}")
        assert re.search(r"Unable to connect to port 22 on 127\.|Connection to remote host failed", said)
        az(f"batchai job terminate {place.jobs} -n {name} -y")
        shown = az(f"batchai job show {place.jobs} -n {name}")
        assert shown["executionState"] == "failed"
        assert [error["code"] for error in shown["executionInfo"]["errors"]] == ["JobTerminated"]

    def test_one_that_has_its_cluster_and_mounts_from_its_file(self, az, place, cluster, job_file):
        account = "<AZURE_BATCHAI_STORAGE_ACCOUNT>"
        volumes = {
            "azureFileShares": [
                {
                    "azureFileUrl": f"https://{account}.file.core.windows.net/{place.share}",
                    "relativeMountPath": "afs",
                }
            ],
            "azureBlobFileSystems": [
                {"accountName": account, "containerName": place.container, "relativeMountPath": "bfs"}
            ],
        }
        file = job_file("echo by file", mountVolumes=volumes)
        name = unique("azj")
        az(
            f"batchai job create {place.jobs} -n {name} -c {cluster} -f {file} "
            f"--storage-account-name {place.account}"
        )
        assert az.line(f"az batchai job file stream {place.jobs} -j {name} -f stdout.txt") == "by file\n"


def test_usages(az, place):
    usages = {one["name"]["value"]: one for one in az("batchai list-usages -l eastus")}
    assert usages["Clusters"]["unit"] == "Count"
    rows = {row["Value"]: row for row in az.table("batchai list-usages -l eastus")}
    assert set(rows) == {one["name"]["localizedValue"] for one in usages.values()}
    assert int(rows["Clusters"]["Limit"]) == usages["Clusters"]["limit"]


def commands_of(az, group):
    """The commands below a group, by its help."""
    text = az.line(f"az {group} --help")
    sections = dict(re.findall(r"^(Subgroups|Commands):\n(.*?)(?:\n\n|\Z)", text, re.MULTILINE | re.DOTALL))

    def entries(section):
        return re.findall(r"^ {4}([a-z-]+) ", sections.get(section, ""), re.MULTILINE)

    yield from (f"{group} {name}" for name in entries("Commands"))
    for name in entries("Subgroups"):
        yield from commands_of(az, f"{group} {name}")


def test_no_command_is_left_out(az, request):
    """Of those that the program itself names in its help. `list-usages` it hides."""
    mine = [item for item in request.session.items if item.path == request.path]
    if len(mine) < len(re.findall(r"^ *def test_", request.path.read_text(), re.MULTILINE)):
        pytest.skip("not all of this file runs")
    known = {*commands_of(az, "batchai"), "batchai list-usages"}
    assert len(known) >= 30
    assert {name for name in known if not any(ran.startswith(f"az {name} -") for ran in az.ran)} == set()
