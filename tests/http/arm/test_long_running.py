"""Long-running operations as their pollers see them (batchai-service.md section 4.1)."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from harness.arm import NEWEST, VERSIONS, Arm, cluster_properties, make_share, unique
from harness.waiting import until

GUID = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
INSTANT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z"
# Told to end, the job goes on until the file is there.
STUBBORN = (
    "trap 'until test -e $AZ_BATCHAI_MOUNT_ROOT/afs/go; do sleep 0.02; done; exit 0' TERM; "
    "touch $AZ_BATCHAI_MOUNT_ROOT/afs/began; while :; do sleep 0.02; done"
)


class Parts:
    """A cluster with a share, a running job, and what an api-version calls them."""

    def __init__(self, arm, version):
        self.arm, self.version, self.flat = arm, version, version != NEWEST
        self.group, self.share = arm.group("long"), unique("share")
        make_share(arm.service, self.share)
        root = arm.provider(self.group)
        self.parent = root if self.flat else f"{root}/workspaces/ws"
        self.jobs = f"{root}/jobs" if self.flat else f"{self.parent}/experiments/ex/jobs"
        if not self.flat:
            arm.put(self.parent, {"location": "eastus"})
            arm.put(f"{self.parent}/experiments/ex", None)
        self.cluster = f"{self.parent}/clusters/cl"
        arm.put(self.cluster, self.body(cluster_properties(arm.service, self.share)), version)
        self.job = f"{self.jobs}/j"
        arm.put(self.job, self.body(self.job_properties()), version)
        directory = arm.service.share(self.share)
        until(lambda: (directory / "began").exists(), "a job that runs")
        self.release = directory / "go"

    def body(self, properties):
        return {"location": "eastus", "properties": properties}

    def job_properties(self):
        return {
            "cluster": {"id": self.cluster},
            "nodeCount": 1,
            "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/afs",
            "customToolkitSettings": {"commandLine": STUBBORN},
        }

    def accepted(self, method, path, body=None):
        """The polling URLs of a 202 that is as recorded."""
        answer = self.arm.ask(method, path, body, self.version)
        assert (answer.status_code, answer.content, answer.headers["Retry-After"]) == (202, b"", "0"), (
            answer.text
        )
        urls = [answer.headers[name] for name in ("Azure-AsyncOperation", "Location")]
        words = (
            "operationresults",
            "operationresults" if self.version == VERSIONS[0] else "operationstatuses",
        )
        ids = set()
        for url, word in zip(urls, words, strict=True):
            assert url.startswith(self.arm.service.endpoint["arm"])
            place = f"{self.arm.subscription}/providers/Microsoft.BatchAI/locations/eastus"
            found = re.fullmatch(rf"{re.escape(place)}/{word}/({GUID})", urlsplit(url).path)
            assert found, url
            assert parse_qs(urlsplit(url).query) == {"api-version": [self.version]}
            ids.add(found[1])
        assert len(ids) == 1
        return urls

    def ended(self, url):
        def over():
            told = self.arm.ask("GET", url, version=None).json()
            return told if told["status"] != "InProgress" else None

        return until(over, f"an end of {url}")

    def names(self, *inner):
        """`resourceId` of an operation: names joined with `$`."""
        return "$".join((self.arm.subscription.rpartition("/")[2], self.group, *inner))


@pytest.fixture(params=VERSIONS)
def parts(arm, request):
    made = Parts(arm, request.param)
    yield made
    made.release.touch()
    arm.ask("DELETE", arm.group_path(made.group))


def test_from_the_request_to_the_end(parts):
    arm, version = parts.arm, parts.version
    status_url, result_url = parts.accepted("POST", f"{parts.job}/terminate")

    running = arm.ask("GET", status_url, version=None)
    assert (running.status_code, running.headers["Retry-After"]) == (200, "1")
    told = running.json()
    assert set(told) == {"id", "name", "status", "startTime"}
    assert (told["id"], told["status"]) == (status_url.partition("?")[0], "InProgress")
    assert status_url.partition("?")[0].endswith(told["name"])
    assert re.fullmatch(INSTANT, told["startTime"])
    result = arm.ask("GET", result_url, version=None)
    if version != VERSIONS[0]:
        assert (result.status_code, result.content) == (202, b"")
        assert (result.headers["Location"], result.headers["Retry-After"]) == (result_url, "1")

    parts.release.touch()
    told = parts.ended(status_url)
    assert set(told) == {"id", "name", "status", "startTime", "endTime", "properties"}
    inner = ("j",) if parts.flat else ("ws", "ex", "j")
    assert (told["status"], told["properties"]) == ("Succeeded", {"resourceId": parts.names(*inner)})
    assert told["startTime"] <= told["endTime"]
    assert "Retry-After" not in arm.ask("GET", status_url, version=None).headers
    assert arm.ask("GET", result_url, version=None).status_code == 200

    # A job that is over is not terminated again, and nothing is to be polled.
    again = arm.ask("POST", f"{parts.job}/terminate", version=version)
    assert (again.status_code, again.content) == (200, b"")
    assert {"Azure-AsyncOperation", "Location"}.isdisjoint(again.headers)


def test_deletes_tell_what_is_gone_and_are_remembered(parts):
    arm, version = parts.arm, parts.version
    parts.release.touch()
    place = () if parts.flat else ("ws",)
    wanted = [(parts.job, (*place, *(() if parts.flat else ("ex",)), "j")), (parts.cluster, (*place, "cl"))]
    if not parts.flat:
        wanted += [(f"{parts.parent}/experiments/ex", ("ws", "ex")), (parts.parent, ("ws",))]
    for path, inner in wanted:
        url, _ = parts.accepted("DELETE", path)
        told = parts.ended(url)
        assert told["properties"]["resourceId"] == parts.names(*inner)
        assert arm.gone(path, version)
        assert arm.ask("GET", url, version=None).json() == told
        assert arm.ask("DELETE", path, version=version).status_code == 204


def test_deleting_again_while_it_is_deleted(parts):
    """Both operations come to their end."""
    first, second = (parts.accepted("DELETE", parts.job)[0] for _ in range(2))
    assert first != second
    shown = parts.arm.ask("GET", parts.job, version=parts.version).json()["properties"]["provisioningState"]
    assert shown.lower() == "deleting"
    parts.release.touch()
    assert {parts.ended(url)["status"] for url in (first, second)} == {"Succeeded"}


def test_one_that_is_not_known(arm):
    place = f"{arm.subscription}/providers/Microsoft.BatchAI/locations/eastus"
    for word in ("operationresults", "operationstatuses"):
        for name in ("00000000-0000-0000-0000-000000000000", "nonsense", "%00"):
            answer = arm.ask("GET", f"{place}/{word}/{name}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ResourceNotFound")


def test_records_survive_kills(new_service):
    """One that was over stays so, one that was in progress comes to its end."""
    service = new_service().up()
    parts = Parts(Arm(service), NEWEST)
    over = parts.ended(parts.accepted("DELETE", f"{parts.parent}/experiments/{made(parts, 'other')}")[0])
    pending, _ = parts.accepted("POST", f"{parts.job}/terminate")
    service.kill()
    service.up()
    assert parts.arm.ask("GET", f"{over['id']}?api-version={NEWEST}", version=None).json() == over
    parts.release.touch()
    assert parts.ended(pending)["status"] == "Succeeded"


def made(parts, name):
    parts.arm.put(f"{parts.parent}/experiments/{name}", None)
    return name
