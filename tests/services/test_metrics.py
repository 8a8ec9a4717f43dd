"""What is counted, under which names."""

from datetime import UTC, datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families

from openbatchai.domain.ports import Sample
from openbatchai.services import clusters, preemption, usage
from openbatchai.services.metrics import Metrics

from .conftest import cluster_body
from .test_hazards import Stubborn
from .test_lifecycle import on, put_cluster, put_job, resize

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def values(metrics):
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
    }


def helps(metrics):
    return {f.documentation for f in text_string_to_metric_families(metrics.exposition().decode())}


@pytest.fixture
def metrics(plane):
    found = Metrics(plane.context)
    found.start()
    return found


def test_the_names_are_azures(metrics):
    words = ("Total", "Active", "Idle", "Unusable", "Preempted", "Leaving")
    azures = {f"{word} {what}" for word in words for what in ("Nodes", "Cores")}
    assert azures | {"Job Submitted", "Job Completed", "Quota Utilization Percentage"} <= helps(metrics)


def test_nodes_and_cores_by_cluster(plane, metrics):
    put_cluster(plane, "busy", count=2, size="STANDARD_D3")
    put_cluster(plane, "broken", setupTask={"commandLine": "exit 1", "stdOutErrPathPrefix": "x"})
    plane.settle()
    put_job(plane, cluster="busy", command="sleep 10")
    plane.settle()
    found = values(metrics)
    assert found["batchai_total_nodes", "busy"] == 2
    assert (found["batchai_active_nodes", "busy"], found["batchai_idle_nodes", "busy"]) == (1, 1)
    assert (found["batchai_total_cores", "busy"], found["batchai_active_cores", "busy"]) == (8, 4)
    assert found["batchai_unusable_nodes", "broken"] == 1
    assert found["batchai_jobs", "running"] == 1


def test_jobs_are_counted_once_from_the_start_on(plane, metrics):
    put_cluster(plane)
    put_job(plane, "good")
    put_job(plane, "bad", command="exit 1")
    plane.settle()
    for _ in range(2):
        found = values(metrics)
        assert found["batchai_jobs_submitted_total",] == 2
        assert found["batchai_jobs_completed_total", "succeeded"] == 1
        assert found["batchai_jobs_completed_total", "failed"] == 1
    later = Metrics(plane.context)
    later.start()
    assert values(later)["batchai_jobs_submitted_total",] == 0


def test_nodes_that_were_taken_away_and_are_not_gone_yet(plane, metrics):
    on(plane, Stubborn(plane.clock, plane.content))
    body = cluster_body(count=2, size="STANDARD_D3")
    body.spec["vmPriority"] = "lowpriority"
    clusters.put(plane.context, "rg", "ws", "c", body, "me")
    put_job(plane, command="sleep 10")
    plane.settle()
    [task] = plane.engine.runs()
    [node] = [node for node in plane.rows("nodes") if node.state == "running"]
    preemption.preempt(plane.context, "c", node.id, "somebody")
    plane.settle()

    found = values(metrics)

    assert (found["batchai_preempted_nodes", "c"], found["batchai_preempted_cores", "c"]) == (1, 4)
    assert (found["batchai_total_nodes", "c"], found["batchai_active_nodes", "c"]) == (3, 1)
    plane.engine.finish(task, 143)
    plane.settle()
    for _ in range(2):
        found = values(metrics)
        assert (found["batchai_preempted_nodes", "c"], found["batchai_total_nodes", "c"]) == (0, 2)
        assert found["batchai_preemptions_total",] == 1


def test_who_is_not_needed_any_more_was_not_preempted(plane, metrics):
    on(plane, Stubborn(plane.clock, plane.content))
    put_cluster(plane)
    put_job(plane, command="sleep 10")
    plane.settle()
    resize(plane, 0, "waitforjobcompletion")
    plane.settle()
    found = values(metrics)
    assert (found["batchai_preempted_nodes", "c"], found["batchai_total_nodes", "c"]) == (0, 1)


def test_the_use_of_a_quota(plane, metrics):
    plane.context.quotas["Clusters"] = 4
    put_cluster(plane)
    assert values(metrics)["batchai_quota_utilization_percentage", "Clusters"] == 25


def test_what_a_running_job_uses(plane, metrics):
    put_cluster(plane)
    put_job(plane, command="sleep 10")
    plane.settle()
    [task] = plane.rows("tasks", kind="run")
    for seconds in (1.0, 2.5):
        plane.engine.measure(task.id, Sample(NOW, seconds, 2**20, 3))

    found = values(metrics)
    job, [node] = usage.of_job(plane.context, "j")

    assert found["batchai_job_cpu_seconds", "j", task.node_id] == 2.5
    assert not any(name[0] == "batchai_job_gpu_percent" for name in found)
    assert (job.name, node.node_id) == ("j", task.node_id)
    assert [sample.cpu_seconds for sample in node.samples] == [1.0, 2.5]
    plane.engine.finish(task.id)
    plane.settle()
    assert not any(name[0] == "batchai_job_cpu_seconds" for name in values(metrics))
    assert len(usage.of_job(plane.context, "j")[1][0].samples) == 2
