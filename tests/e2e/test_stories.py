"""`batchai events` and `batchai why`, and the API behind them."""

import json

import pytest
from harness.arm import Lab
from harness.waiting import until


@pytest.fixture(scope="module")
def lab(arm):
    return Lab(arm)


def batchai(lab, *words):
    done = lab.arm.service.batchai(*words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def own(lab, path, **query):
    root = f"{lab.arm.subscription}/providers/OpenBatchAI"
    return lab.arm.ask("GET", f"{root}/{path}", query=query)


def test_the_story_of_a_job_and_of_the_node_it_ran_on(lab):
    job = lab.submit("echo hello")
    lab.finished(job)
    name = job.rpartition("/")[2]
    story = batchai(lab, "events", name)
    assert [(event["event"], event["to"]) for event in story] == [
        ("create", "queued"),
        ("nodesAllotted", "running"),
        ("runSucceeded", "succeeded"),
    ]
    assert story[0]["actor"] == lab.arm.service.endpoint["client_id"]
    assert batchai(lab, "events", job) == story
    whole = batchai(lab, "events", name, "--all")
    assert {event["kind"] for event in whole} == {"job", "run", "task"}
    assert batchai(lab, "events", name, "--top", "1") == story[-1:]
    assert {event["object"] for event in story} == {name}
    node = story[1]["reason"].removeprefix("on ")
    assert "prepared" in [event["event"] for event in batchai(lab, "events", node)]
    assert batchai(lab, "why", name)["message"] == "It does not wait: it has succeeded."


def test_a_job_that_can_never_fit_waits_and_says_why(lab):
    job = lab.submit("true", nodeCount=9)
    answer = batchai(lab, "why", job)
    assert answer["reason"] == "neverFits"
    assert answer["nodesNeeded"] == 9
    assert answer["maximumNodeCount"] == 1
    assert "resized" in answer["message"]
    assert lab.arm.get(job)["properties"]["executionState"] == "queued"


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("events", {}, 400),
        ("waiting", {}, 400),
        ("events", {"object": "nothing-of-this-name"}, 404),
        ("waiting", {"job": "nothing-of-this-name"}, 404),
        ("events", {"object": "x", "$top": "0"}, 400),
    ],
)
def test_what_cannot_be_answered_is_refused_with_a_code(lab, path, query, status):
    answer = own(lab, path, **query)
    assert answer.status_code == status
    assert answer.json()["error"]["code"]


def test_the_command_says_what_the_service_says(lab):
    done = lab.arm.service.batchai("why", "nothing-of-this-name")
    assert done.returncode != 0
    assert "There is no job 'nothing-of-this-name'." in done.stderr


def test_a_preempted_node_is_replaced_and_its_job_runs_again(lab):
    cluster = lab.new_cluster("cheap", vmPriority="lowpriority")
    # The first run waits to be preempted; the second knows that it is one, and finds what the first wrote.
    command = (
        'echo "run $OPENBATCHAI_RETRY_COUNT" >> $AZ_BATCHAI_MOUNT_ROOT/afs/runs.txt; '
        '[ "$OPENBATCHAI_RETRY_COUNT" = 1 ] || sleep 100'
    )
    job = lab.submit(command, cluster={"id": cluster})
    lab.reaches(job, "running")
    runs = lab.arm.service.share(lab.share) / "runs.txt"
    until(runs.exists, "the first run at work")
    [node] = batchai(lab, "node", "list", cluster)
    taken = batchai(lab, "node", "preempt", cluster, node["id"])
    assert taken["leavesAfterRun"]
    assert lab.finished(job)["executionState"] == "succeeded"
    assert runs.read_text() == "run 0\nrun 1\n"
    # Its job may have run elsewhere before the node itself is released.
    until(
        lambda: node["id"] not in [each["id"] for each in batchai(lab, "node", "list", cluster)],
        "the preempted node gone",
    )
    story = batchai(lab, "events", cluster, "--all")
    assert (node["id"], "preempt") in [(event["object"], event["event"]) for event in story]


def test_dedicated_nodes_are_not_preempted(lab):
    done = lab.arm.service.batchai("node", "preempt", lab.cluster)
    assert done.returncode != 0
    assert "dedicated" in done.stderr


def test_the_idle_time_of_a_cluster(lab):
    cluster = lab.new_cluster("idle", 0)
    found = batchai(lab, "cluster", "idle-time", cluster)
    assert (found["cluster"], found["isOwn"]) == ("idle", False)
    assert batchai(lab, "cluster", "idle-time", "idle", "0.5")["idleTimeSeconds"] == 0.5
    assert own(lab, "idleTime", cluster=cluster).json()["isOwn"] is True
    assert batchai(lab, "cluster", "idle-time", "idle", "default") == found
    refused = ((["soon"], "neither a number"), (["1", "2"], "at most one"), (["1e12"], "31536000"))
    for words, reason in refused:
        done = lab.arm.service.batchai("cluster", "idle-time", "idle", *words)
        assert done.returncode == 1
        assert reason in done.stderr
