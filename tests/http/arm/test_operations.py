"""Every operation of every api-version, once, over the running service.

The harness holds each answer against the published swagger and notes which operation it was; from that the
coverage table in docs/api-coverage.md is made (`make api-coverage`), and the last test says when it is stale.
"""

import os
from pathlib import Path

import pytest
from harness import contract
from harness.arm import VERSIONS, cluster_properties, make_share, unique
from harness.waiting import until

NEWEST = VERSIONS[-1]
TABLE = Path(__file__).parents[3] / "docs" / "api-coverage.md"

pytestmark = pytest.mark.skipif(
    not contract.SPEC.is_dir(), reason="the published swaggers are in ../shared, which is not here"
)

FILE_SERVER = {
    "vmSize": "STANDARD_D1",
    "sshConfiguration": {"userAccountSettings": {"adminUserName": "demo", "adminUserPassword": "pw"}},
    "dataDisks": {"diskSizeInGB": 10, "diskCount": 2, "storageAccountType": "Standard_LRS"},
}


class Places:
    """Where the resources of one api-version are: below the group, or in a workspace and experiment."""

    def __init__(self, arm, version):
        self.arm, self.version = arm, version
        self.flat = version != NEWEST
        self.group = arm.group()
        self.root = arm.provider(self.group)
        self.share = unique("share")
        make_share(arm.service, self.share)
        self.parent = self.root
        self.jobs = f"{self.root}/jobs"
        if not self.flat:
            self.parent = f"{self.root}/workspaces/ws"
            arm.put(self.parent, {"location": "eastus"})
            arm.put(f"{self.parent}/experiments/ex", None)
            self.jobs = f"{self.parent}/experiments/ex/jobs"
        self.cluster = f"{self.parent}/clusters/cl"
        self.put(self.cluster, cluster_properties(arm.service, self.share))

    def body(self, properties):
        return {"properties": properties} | ({"location": "eastus"} if self.flat else {})

    def put(self, path, properties):
        return self.arm.put(path, self.body(properties), self.version)

    def get(self, path):
        return self.arm.get(path, self.version)

    def listed(self, path):
        return [item["name"] for item in self.get(path)["value"]]

    def post(self, path, **query):
        answer = self.arm.ask("POST", path, version=self.version, query=query)
        assert answer.status_code in (200, 202), answer.text
        return answer

    def submit(self, name, command):
        path = f"{self.jobs}/{name}"
        self.put(
            path,
            {
                "cluster": {"id": self.cluster},
                "nodeCount": 1,
                "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/afs",
                "customToolkitSettings": {"commandLine": command},
            },
        )
        return path

    def finished(self, job):
        def over():
            properties = self.get(job)["properties"]
            return properties if properties["executionState"].lower() in ("succeeded", "failed") else None

        return until(over, f"the end of {job}")


@pytest.fixture(scope="module", params=VERSIONS)
def places(arm, request):
    return Places(arm, request.param)


def test_operations_of_the_provider(places):
    assert places.get("/providers/Microsoft.BatchAI/operations")["value"]


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_usages(arm, version):
    assert arm.get(f"{arm.subscription}/providers/Microsoft.BatchAI/locations/eastus/usages", version)[
        "value"
    ]


def test_workspaces_and_experiments(arm):
    root = arm.provider(arm.group())
    path = f"{root}/workspaces/one"
    arm.put(path, {"location": "eastus", "tags": {"a": "b"}})
    patched = arm.ask("PATCH", path, {"tags": {"c": "d"}})
    assert patched.json()["tags"] == {"c": "d"}
    experiment = f"{path}/experiments/trial"
    arm.put(experiment, None)
    assert arm.get(experiment)["name"] == "trial"
    assert [item["name"] for item in arm.get(f"{path}/experiments")["value"]] == ["trial"]
    assert [item["name"] for item in arm.get(f"{root}/workspaces")["value"]] == ["one"]
    everywhere = arm.get(f"{arm.subscription}/providers/Microsoft.BatchAI/workspaces")["value"]
    assert arm.get(path)["id"] in [item["id"] for item in everywhere]
    arm.delete(experiment)
    arm.delete(path)


def test_clusters(places):
    arm, version = places.arm, places.version
    path = f"{places.parent}/clusters/more"
    properties = cluster_properties(arm.service, places.share, nodes=0)
    assert places.put(path, properties)["name"] == "more"
    assert places.listed(f"{places.parent}/clusters") == ["cl", "more"]
    if places.flat:
        everywhere = f"{arm.subscription}/providers/Microsoft.BatchAI/clusters"
        assert {"cl", "more"} <= set(places.listed(everywhere))
    scale = {"manual": {"targetNodeCount": 1, "nodeDeallocationOption": "terminate"}}
    patched = arm.ask("PATCH", path, {"properties": {"scaleSettings": scale}}, version)
    assert patched.json()["properties"]["scaleSettings"]["manual"]["targetNodeCount"] == 1
    until(lambda: places.get(path)["properties"]["nodeStateCounts"]["idleNodeCount"] == 1, "an idle node")
    logins = places.post(f"{path}/listRemoteLoginInformation").json()["value"]
    assert [login["port"] for login in logins] == [22]
    arm.delete(path, version)


def test_jobs(places):
    arm, version = places.arm, places.version
    job = places.submit("one", "echo done")
    assert places.finished(job)["executionInfo"]["exitCode"] == 0
    files = places.post(f"{job}/listOutputFiles", outputdirectoryid="stdouterr").json()["value"]
    assert "stdout.txt" in [file["name"] for file in files]
    assert places.listed(places.jobs) == ["one"]
    if places.flat:
        assert "one" in places.listed(f"{arm.subscription}/providers/Microsoft.BatchAI/jobs")
    endless = places.submit("two", "sleep 600")
    until(lambda: places.get(endless)["properties"]["executionState"].lower() == "running", "a running job")
    assert len(places.post(f"{endless}/listRemoteLoginInformation").json()["value"]) == 1
    assert places.post(f"{endless}/terminate").status_code == 202
    assert places.finished(endless)["executionState"].lower() == "failed"
    assert places.post(f"{endless}/terminate").status_code == 200
    for path in (job, endless):
        arm.delete(path, version)


def test_file_servers(places):
    arm, version = places.arm, places.version
    path = f"{places.parent}/fileServers/nfs"
    answer = arm.ask("PUT", path, places.body(FILE_SERVER), version)
    assert answer.status_code == 202, answer.text
    until(lambda: places.get(path)["properties"]["provisioningState"].lower() == "succeeded", "a file server")
    assert places.listed(f"{places.parent}/fileServers") == ["nfs"]
    if places.flat:
        assert "nfs" in places.listed(f"{arm.subscription}/providers/Microsoft.BatchAI/fileServers")
    arm.delete(path, version)


def table() -> str:
    """The coverage table, from what the tests of this module proved."""
    names = sorted({operation.id for version in VERSIONS for operation in contract.operations(version)})
    head = [
        "# Operations of Microsoft.BatchAI",
        "",
        "Which test proves which operation of which api-version, over the running service, its requests and",
        "answers held against the published swagger. Made by `make api-coverage`; a test fails when it is "
        "stale.",
        "",
        "| operation | " + " | ".join(VERSIONS) + " |",
        "|---|" + "---|" * len(VERSIONS),
    ]
    rows = []
    for name in names:
        cells = []
        for version in VERSIONS:
            offered = any(operation.id == name for operation in contract.operations(version))
            tests = {
                test.rpartition("::")[2].partition("[")[0]
                for test in contract.proven.get((version, name), ())
                if "test_operations.py" in test
            }
            cells.append(", ".join(f"`{test}`" for test in sorted(tests)) if offered else "–")
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    where = f"The tests are in `{Path(__file__).relative_to(TABLE.parents[1])}`; – is not in that version."
    return "\n".join([*head, *rows, "", where, ""])


def test_the_coverage_table_is_current(request):
    here = [item for item in request.session.items if item.path == request.path]
    if len(here) < 16:
        pytest.skip("the table is made from all tests of this module")
    missing = [
        (version, operation.id)
        for version in VERSIONS
        for operation in contract.operations(version)
        if not contract.proven.get((version, operation.id))
    ]
    assert missing == []
    if "UPDATE_API_COVERAGE" in os.environ:
        TABLE.write_text(table())
    assert TABLE.read_text() == table(), "`make api-coverage` writes it anew"
