"""What a job uses, by the API beside Azure's and by the metrics."""

from harness.arm import Arm, Lab
from harness.waiting import until


def test_a_running_job_is_measured(new_service):
    service = new_service({"sampleSeconds": 0.1, "maxOutputMiB": 1})
    lab = Lab(Arm(service.up()))
    url = f"{lab.arm.subscription}/providers/OpenBatchAI/usage"
    job = lab.submit("sleep 1000")
    name = job.rpartition("/")[2]

    def measured():
        answer = lab.arm.ask("GET", url, query={"job": job})
        assert answer.status_code == 200, answer.text
        [node] = answer.json()["value"] or [{"samples": []}]
        return node if len(node["samples"]) > 1 else None

    node = until(measured, "two samples")
    assert node["nodeId"].startswith("tvm-")
    assert {"time", "cpuSeconds", "memoryBytes", "processes"} <= node["samples"][0].keys()
    metrics = lab.arm.http.get(f"{service.endpoint['arm']}/metrics", timeout=30).text
    assert f'batchai_job_memory_bytes{{job="{name}",node="{node["nodeId"]}"}}' in metrics
    assert "# HELP batchai_active_nodes Active Nodes" in metrics
    refused = lab.arm.ask("GET", url, query={"job": lab.cluster})
    assert refused.status_code == 400
    loud = lab.submit("yes", cluster={"id": lab.new_cluster("second")})
    [error] = lab.finished(loud)["executionInfo"]["errors"]
    assert error["code"] == "OutputLimitExceeded"
