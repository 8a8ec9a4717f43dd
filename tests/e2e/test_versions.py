"""The three api-versions beside each other: spelling, defaults, places, and what only one of them shows."""

import pytest
from harness.arm import NEWEST, VERSIONS, Lab, cluster_properties, make_share, unique
from harness.waiting import until

OLDEST, MIDDLE = VERSIONS[:2]


@pytest.fixture(scope="module")
def flat(arm):
    """A group, share and cluster made by the oldest version."""
    group, share = arm.group(), unique("share")
    make_share(arm.service, share)
    cluster = f"{arm.provider(group)}/clusters/cl"
    properties = cluster_properties(arm.service, share)
    body = arm.put(cluster, {"location": "eastus", "properties": properties}, OLDEST)
    return group, share, cluster, body


def run(arm, flat, version, name=None, **properties):
    """A finished job of a flat version: its path and body."""
    group, _, cluster, _ = flat
    path = f"{arm.provider(group)}/jobs/{name or unique('job')}"
    body = {
        "location": "eastus",
        "properties": {
            "cluster": {"id": cluster},
            "nodeCount": 1,
            "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/afs",
            "customToolkitSettings": {"commandLine": "echo out"},
            **properties,
        },
    }
    arm.put(path, body, version)

    def finished():
        found = arm.get(path, version)
        return found if found["properties"]["executionState"].lower() in ("succeeded", "failed") else None

    return path, until(finished, f"the end of {path}")


def files(arm, job, version, directory_id="stdouterr"):
    query = {"outputdirectoryid": directory_id}
    answer = arm.ask("POST", f"{job}/listOutputFiles", version=version, query=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["value"]


class TestOldest:
    def test_enums_are_in_pascal_case(self, arm, flat):
        _, _, cluster, created = flat
        assert created["type"] == "Microsoft.BatchAI/Clusters"
        assert created["properties"]["allocationState"] == "Resizing"
        found = until(
            lambda: (body := arm.get(cluster, OLDEST))["properties"]["allocationState"] == "Steady" and body,
            "a steady cluster",
        )
        properties = found["properties"]
        assert properties["provisioningState"] == "Succeeded"
        assert properties["vmPriority"] == "Dedicated"
        assert properties["scaleSettings"]["manual"]["nodeDeallocationOption"] == "Requeue"
        _, job = run(arm, flat, OLDEST)
        assert job["type"] == "Microsoft.BatchAI/Jobs"
        assert job["properties"]["executionState"] == "Succeeded"
        assert job["properties"]["toolType"] == "Custom"

    def test_output_lies_directly_in_the_jobs_directory_without_execution_log(self, arm, flat):
        group, share, _, _ = flat
        path, body = run(arm, flat, OLDEST)
        listed = files(arm, path, OLDEST)
        assert [file["name"] for file in listed] == ["stderr.txt", "stdout.txt"]
        assert {name for file in listed for name in file} == {"name", "downloadUrl", "properties"}
        subscription = arm.service.endpoint["subscription_id"]
        directory = arm.service.share(share) / subscription / group / "jobs" / body["name"]
        assert (directory / "stdout.txt").read_text() == "out\n"
        assert "jobOutputDirectoryPathSegment" not in body["properties"]

    def test_a_job_of_several_nodes_writes_its_output_anew(self, arm, flat):
        """Where the job of the same name before it wrote; other files there stay."""
        group, share, _, _ = flat
        cluster = f"{arm.provider(group)}/clusters/two"
        properties = cluster_properties(arm.service, share, nodes=2)
        arm.put(cluster, {"location": "eastus", "properties": properties}, OLDEST)
        name = unique("job")
        directory = arm.service.share(share) / arm.service.endpoint["subscription_id"] / group / "jobs" / name
        for word in ("first", "second"):
            # On both nodes `echo WORD`, as ranks of one MPI program.
            echo = {"pythonInterpreterPath": "echo", "pythonScriptFilePath": word, "processCount": 2}
            wide = {"cluster": {"id": cluster}, "nodeCount": 2, "customToolkitSettings": None}
            path, body = run(arm, flat, OLDEST, name, **wide, chainerSettings=echo)
            assert body["properties"]["executionState"] == "Succeeded"
            assert (directory / "stdout.txt").read_text() == f"{word}\n" * 2
            (directory / "kept").touch()
            arm.delete(path, OLDEST)
        arm.delete(cluster, OLDEST)
        assert (directory / "kept").exists()

    def test_what_only_it_has_comes_back(self, arm, flat):
        directories = [
            {"id": "MODEL", "pathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/afs", "pathSuffix": "m", "type": "model"}
        ]
        path, body = run(arm, flat, OLDEST, priority=7, outputDirectories=directories)
        assert body["properties"]["priority"] == 7
        assert body["properties"]["outputDirectories"] == [
            {**directories[0], "type": "Model", "createNew": True}
        ]
        assert files(arm, path, OLDEST, "MODEL") == []

    def test_terminated_is_spelled_its_way(self, arm, flat):
        group, _, cluster, _ = flat
        path = f"{arm.provider(group)}/jobs/{unique('job')}"
        body = {
            "location": "eastus",
            "properties": {
                "cluster": {"id": cluster},
                "nodeCount": 50,
                "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/afs",
                "customToolkitSettings": {"commandLine": "true"},
            },
        }
        arm.put(path, body, OLDEST)
        assert arm.ask("POST", f"{path}/terminate", version=OLDEST).status_code == 202
        properties = arm.get(path, OLDEST)["properties"]
        assert properties["executionState"] == "Failed"
        assert properties["executionInfo"]["errors"][0]["code"] == "JobTerminate"


class TestMiddle:
    def test_enums_are_in_lower_case_and_the_log_is_there(self, arm, flat):
        path, body = run(arm, flat, MIDDLE)
        assert body["properties"]["executionState"] == "succeeded"
        assert body["properties"]["toolType"] == "custom"
        listed = files(arm, path, MIDDLE)
        assert [file["name"] for file in listed] == ["execution.log", "stderr.txt", "stdout.txt"]
        assert {file["isDirectory"] for file in listed} == {False}
        segment = body["properties"]["jobOutputDirectoryPathSegment"]
        assert segment.split("/")[-3:-1] == ["jobs", body["name"]]

    def test_it_sees_what_the_oldest_made(self, arm, flat):
        _, _, cluster, _ = flat
        assert arm.get(cluster, MIDDLE)["properties"]["vmPriority"] == "dedicated"


class TestNewest:
    def test_it_sees_what_the_oldest_made_in_the_migrated_workspace(self, arm, flat):
        group, _, _, _ = flat
        path, _ = run(arm, flat, OLDEST)
        name = path.rpartition("/")[2]
        place = f"{arm.provider(group)}/workspaces/migrated-eastus"
        assert arm.get(f"{place}/clusters/cl")["properties"]["allocationState"] == "steady"
        job = arm.get(f"{place}/experiments/migrated/jobs/{name}")
        assert job["properties"]["executionState"] == "succeeded"
        assert job["properties"]["schedulingPriority"] == "normal"

    def test_defaults_are_filled_in(self, arm):
        lab = Lab(arm, nodes=0, vmSize="standard_nc6")
        properties = arm.get(lab.cluster)["properties"]
        assert properties["vmSize"] == "STANDARD_NC6"
        assert properties["vmPriority"] == "dedicated"
        assert properties["scaleSettings"]["manual"]["nodeDeallocationOption"] == "requeue"
        assert properties["virtualMachineConfiguration"]["imageReference"]["version"] == "latest"
        [share] = properties["nodeSetup"]["mountVolumes"]["azureFileShares"]
        assert (share["fileMode"], share["directoryMode"]) == ("0777", "0777")
        assert properties["nodeStateCounts"] == dict.fromkeys(
            [
                "idleNodeCount",
                "runningNodeCount",
                "preparingNodeCount",
                "unusableNodeCount",
                "leavingNodeCount",
            ],
            0,
        )
        job = lab.submit(cntkSettings={"pythonScriptFilePath": "x.py"}, nodeCount=2)
        properties = arm.get(job)["properties"]
        assert properties["schedulingPriority"] == "normal"
        assert properties["constraints"] == {"maxWallClockTime": "P7D"}
        assert properties["cntkSettings"]["languageType"] == "Python"
        assert properties["cntkSettings"]["processCount"] == 2
        assert "executionInfo" not in properties

    def test_enums_are_taken_in_any_case(self, arm):
        lab = Lab(arm, nodes=0, vmPriority="LowPriority")
        assert arm.get(lab.cluster)["properties"]["vmPriority"] == "lowpriority"
        job = lab.submit("true", schedulingPriority="High")
        assert arm.get(job, NEWEST)["properties"]["schedulingPriority"] == "high"
