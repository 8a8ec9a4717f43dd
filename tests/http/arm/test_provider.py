"""Usages, operations and remote login, over the real service."""

import pytest
from harness.arm import NEWEST, VERSIONS, Lab

OLDEST, MIDDLE = VERSIONS[:2]


@pytest.fixture(scope="module")
def lab(arm):
    return Lab(arm, nodes=2)


@pytest.mark.parametrize("version", VERSIONS)
def test_operations_are_listed_without_a_subscription(arm, version):
    found = arm.get("/providers/Microsoft.BatchAI/operations", version)["value"]
    names = {operation["name"] for operation in found}
    assert "Microsoft.BatchAI/workspaces/experiments/jobs/write" in names
    assert "Microsoft.BatchAI/workspaces/fileservers/delete" in names


def test_usages_count_the_clusters_of_a_region(lab):
    arm = lab.arm
    path = f"{arm.subscription}/providers/Microsoft.BatchAI/locations"

    def count(location, name="Clusters", version=NEWEST):
        found = arm.get(f"{path}/{location}/usages", version)["value"]
        [usage] = [item for item in found if item["name"]["value"] == name]
        assert usage["unit"] == "Count"
        return usage["currentValue"], usage["limit"]

    before, limit = count("eastus")
    assert limit == 200
    cores = count("eastus", "Standard D Family Cluster Dedicated vCPUs")[0]
    cluster = lab.new_cluster("more", 0)
    assert count("East US")[0] == before + 1
    assert count("eastus", "Standard D Family Cluster Dedicated vCPUs")[0] == cores
    assert count("westus2")[0] == 0
    assert count("eastus", "ActiveJobs", MIDDLE)[1] > count("eastus", "ActiveJobs", MIDDLE)[0]
    arm.delete(cluster)
    assert count("eastus")[0] == before


def test_the_oldest_version_has_no_usages(arm):
    path = f"{arm.subscription}/providers/Microsoft.BatchAI/locations/eastus/usages"
    answer = arm.ask("GET", path, version=OLDEST)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "NoRegisteredProviderFound")
    assert f"'{NEWEST}, {MIDDLE}'" in answer.json()["error"]["message"]


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_nodes_tell_how_to_log_in(lab, method):
    arm = lab.arm
    job = lab.submit("sleep 60")
    lab.reaches(job, "running")

    def logins(path):
        answer = arm.ask(method, f"{path}/listRemoteLoginInformation")
        assert answer.status_code == 200, answer.text
        return answer.json()["value"]

    of_cluster = logins(lab.cluster)
    assert len({node["ipAddress"] for node in of_cluster}) == 2
    assert {node["port"] for node in of_cluster} == {22}
    [of_job] = logins(job)
    assert of_job in of_cluster
    arm.delete(job)
    missing = arm.ask(method, f"{lab.workspace}/clusters/none/listRemoteLoginInformation")
    assert missing.json()["error"]["code"] == "ClusterNotFound"
