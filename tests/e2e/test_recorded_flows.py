"""The recorded flows of the real service, replayed: statuses, headers, shapes and the order of states.

The service under test creates as recorded (202), has the recorded storage accounts, and runs the flows' jobs
for real; container images stand for this machine's Python. What differs on purpose is in docs/api.md, and
here by name: no subnets, `leavingNodeCount` in 2017-09-01-preview, operations that are over sooner.
"""

import json
import re
import sys
from itertools import groupby, takewhile
from pathlib import Path

import pytest
from harness.arm import Arm, unique
from harness.service import Service
from harness.waiting import until

RECORDED = Path(__file__).parents[3] / "shared" / "spec" / "batchai" / "recorded"
RECORDED_SUBSCRIPTION = "/subscriptions/00000000-0000-0000-0000-000000000000"
SHARED_HEADERS = ("content-type", "cache-control")
PRESENT_HEADERS = ("azure-asyncoperation", "location", "etag", "last-modified")
ORDER = ["queued", "running", "terminating", "succeeded", "failed"]

pytestmark = [
    pytest.mark.skipif(
        not RECORDED.is_dir(), reason="the recorded flows are in ../shared, which is not here"
    ),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def recorded_service(tmp_path_factory):
    home = tmp_path_factory.mktemp("recorded") / "home"
    service = Service(home, {"recordedCreates": True, "images": {"*": sys.executable}})
    yield service.up()
    service.discard()


def flows():
    return sorted(RECORDED.glob("*/*.jsonl")) if RECORDED.is_dir() else []


def shape(value):
    """Names and types; of a list, the shape of its first item."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "number" if isinstance(value, (int, float)) else type(value).__name__


class Replay:
    def __init__(self, service, version, lines):
        self.arm, self.version, self.lines = Arm(service), version, lines
        self.group = unique("replayed")
        self.arm.put(self.arm.group_path(self.group), {"location": "eastus"})
        self.keys = {}
        self.operation = None
        self.urls = {}
        text = json.dumps(lines)
        for account in sorted(set(re.findall(r"https://(\w+)\.(?:file|blob)\.core\.windows\.net", text))):
            # Accounts are one name space: each replay has its own of the recorded names.
            own = f"r{abs(hash((self.group, account))):x}"[:24]
            path = f"{self.arm.group_path(self.group)}/providers/Microsoft.Storage/storageAccounts/{own}"
            body = {"location": "eastus", "sku": {"name": "Standard_LRS"}, "kind": "Storage"}
            self.arm.put(path, body)
            keys = self.arm.ask("POST", f"{path}/listKeys").json()["keys"]
            self.keys[account] = (own, keys[0]["value"])

    def own(self, text):
        """A recorded text with our subscription, group and accounts."""
        text = text.replace(RECORDED_SUBSCRIPTION, self.arm.subscription)
        text = re.sub(r"(resourceGroups/)[^/?\"]+", rf"\g<1>{self.group}", text)
        for account, (own, key) in self.keys.items():
            text = text.replace(account, own)
            text = re.sub(r'("accountKey": )"[^"]*"', rf'\1"{key}"', text)
        return text

    def run(self):
        self.prepare()
        for (method, uri), group in groupby(self.lines, lambda line: (line["method"], line["uri"])):
            lines = list(group)
            if ".core.windows.net" in uri:
                for line in lines:
                    self.storage(line)
            elif "operationresults" in uri or "operationstatuses" in uri:
                self.poll(lines)
            elif method == "GET":
                self.watch(uri, lines)
            else:
                for line in lines:
                    self.change(line)

    def prepare(self):
        """What was there before the recording began: the job flows' workspace and cluster."""
        bodies = [line["request"] for line in self.lines if line["method"] == "PUT" and line["request"]]
        jobs = [body for body in map(self.body, bodies) if body and "cluster" in body.get("properties", {})]
        made = [line["uri"] for line in self.lines if line["method"] == "PUT" and "/clusters/" in line["uri"]]
        if not jobs or made:
            return
        path = self.own(jobs[0]["properties"]["cluster"]["id"])
        parent = path.rpartition("/clusters/")[0]
        if "/workspaces/" in parent:
            self.arm.put(parent, {"location": "northeurope"})
            self.arm.put(f"{parent}/experiments/experiment", None)
        if not self.keys:
            self.keys["own"] = (self.arm.service.account, self.arm.service.key)
        account, (own, key) = next(iter(self.keys.items()))
        self.make("file", account, "share")
        self.make("blob", account, "container")
        mounts = {
            "azureFileShares": [
                {
                    "accountName": own,
                    "azureFileUrl": f"https://{own}.file.core.windows.net/share",
                    "credentials": {"accountKey": key},
                    "relativeMountPath": "azfiles",
                }
            ],
            "azureBlobFileSystems": [
                {
                    "accountName": own,
                    "containerName": "container",
                    "credentials": {"accountKey": key},
                    "relativeMountPath": "azblob",
                }
            ],
        }
        body = {
            "location": "eastus",
            "properties": {
                "vmSize": "STANDARD_D1",
                "scaleSettings": {"manual": {"targetNodeCount": 1}},
                "userAccountSettings": {"adminUserName": "demo"},
                "nodeSetup": {"mountVolumes": mounts},
            },
        }
        assert self.arm.ask("PUT", path, body, self.version).status_code == 202

    def body(self, request):
        """Some bodies were recorded as the text of a Python value around the JSON."""
        if isinstance(request, dict) or request is None:
            return request
        text = request[request.find("{") : request.rfind("}") + 1]
        return json.loads(re.sub(r'\\+(?=")', r"\\", text))

    def storage(self, line):
        """Shares and containers are made; output files are fetched by the URL that we gave."""
        path = line["uri"].partition("?")[0].split("/")
        account, service = path[2].split(".")[:2]
        if line["method"] == "PUT":
            assert self.make(service, account, path[3]) == line["status"]
            return
        name = path[-1]
        if name in self.urls and isinstance(line["response"], str):
            answer = self.arm.http.get(self.urls[name], timeout=30)
            assert answer.status_code == 200, line["uri"]
            if name.startswith(("stdout", "result")) and "\n" in line["response"]:
                assert answer.text == line["response"]

    def make(self, service, account, name):
        from azure.core.exceptions import ResourceExistsError
        from azure.storage.blob import BlobServiceClient
        from azure.storage.fileshare import ShareServiceClient

        own, key = self.keys[account]
        url = f"{self.arm.service.endpoint[service]}/{own}"
        try:
            if service == "file":
                ShareServiceClient(url, credential=key).create_share(name)
            else:
                BlobServiceClient(url, credential=key).create_container(name)
        except ResourceExistsError:
            return 409
        return 201

    def change(self, line):
        """PUT, PATCH, POST or DELETE: the same status, headers and shape, and for PATCH the same state."""
        request = self.body(line["request"])
        body = json.loads(self.own(json.dumps(request))) if request is not None else None
        answer = self.ask(line, body)
        self.compare(line, answer)
        if line["method"] == "POST" and "listOutputFiles" in line["uri"] and answer.status_code == 200:
            files = answer.json()["value"]
            self.urls = {file["name"]: file["downloadUrl"] for file in files if "downloadUrl" in file}
            # One zero-byte marker blob per directory was an artefact of blobfuse.
            recorded = dict.fromkeys(file["name"] for file in line["response"]["value"])
            names = [file["name"] for file in files]
            # Ours are sorted; the oldest version gave the files of job preparation first.
            assert names == (sorted(recorded) if self.version.startswith("2017") else list(recorded))
        self.operation = answer.headers.get("Azure-AsyncOperation", self.operation)

    def poll(self, lines):
        def over():
            answer = self.arm.ask("GET", self.operation, version=None)
            assert answer.status_code == 200
            return answer if answer.json()["status"] != "InProgress" else None

        answer = until(over, f"the end of {self.operation}", 30)
        last = lines[-1]
        assert answer.json()["status"] == last["response"]["status"]
        assert shape(answer.json()) == shape(last["response"])
        recorded_names = last["response"]["properties"]["resourceId"].split("$")[2:]
        assert answer.json()["properties"]["resourceId"].split("$")[2:] == recorded_names

    def watch(self, uri, lines):
        """GETs of one address: until it is as recorded last; the states passed are in the recorded order."""
        last, passed = lines[-1], []
        # Where the recording looked at something else in between, we may be further already.
        position = next(number for number, line in enumerate(self.lines) if line is last)
        here = [line for line in self.lines[position:] if line["uri"] == uri]
        to_come = takewhile(lambda line: line["method"] == "GET", here)
        wanted = [self.state(line["response"]) for line in to_come]

        def reached():
            answer = self.ask(last)
            if answer.status_code != last["status"]:
                return None
            state = self.state(answer.json())
            if state and (not passed or passed[-1] != state):
                passed.append(state)
            # In a tuple: an answer with a 404 is false.
            return (answer,) if state in wanted else None

        try:
            (answer,) = until(reached, f"{uri} as recorded", 30)
        except AssertionError as error:
            raise AssertionError(f"{wanted} does not come after {passed}") from error
        ranks = [ORDER.index(state["executionState"]) for state in passed if "executionState" in state]
        assert ranks == sorted(ranks), passed
        self.compare(last, answer)

    def state(self, body):
        properties = body.get("properties", {}) if isinstance(body, dict) else {}
        names = ("provisioningState", "executionState", "currentNodeCount")
        state = {name: properties[name] for name in names if name in properties}
        state = {name: value.lower() if isinstance(value, str) else value for name, value in state.items()}
        # The preview once counted an unusable node of none.
        counts = properties["nodeStateCounts"] if properties.get("currentNodeCount") else {}
        return state | {name: count for name, count in counts.items() if name != "leavingNodeCount"}

    def ask(self, line, body=None):
        path = self.own(line["uri"].removeprefix("https://management.azure.com").partition("?")[0])
        text = line["uri"].partition("?")[2]
        query = dict(pair.split("=", 1) for pair in text.split("&") if pair and "api-version" not in pair)
        return self.arm.ask(line["method"], path, body, self.version, query=query)

    def compare(self, line, answer):
        what = (line["method"], line["uri"], answer.text[:500])
        assert answer.status_code == line["status"], what
        for name in SHARED_HEADERS:
            if name in line["headers"]:
                assert answer.headers.get(name) == line["headers"][name], (what, name)
        for name in PRESENT_HEADERS:
            assert (name in answer.headers) == (name in line["headers"]), (what, name)
        recorded = line["response"]
        if not isinstance(recorded, dict) or line["status"] >= 400:
            if isinstance(recorded, dict):
                assert answer.json()["error"]["code"] == recorded["error"]["code"], what
            return
        mine, theirs = self.normal(answer.json()), self.normal(recorded)
        assert shape(mine) == shape(theirs), what
        assert mine.get("type") == theirs.get("type"), what

    def normal(self, body):
        """Without what differs on purpose."""
        body = json.loads(json.dumps(body).replace("credentialsInfo", "credentials"))
        if isinstance(body.get("value"), list):
            directories = {item.get("name") for item in body["value"] if item.get("fileType") == "directory"}
            # blobfuse listed each directory twice: its marker blob as a file, then the directory.
            body["value"] = [
                item
                for item in body["value"]
                if item.get("fileType") != "file" or item.get("name") not in directories
            ]
        for item in body["value"] if isinstance(body.get("value"), list) else [body]:
            properties = item.get("properties", {})
            properties.pop("subnet", None)
            if "nodeStateCounts" in properties:
                properties["nodeStateCounts"].pop("leavingNodeCount", None)
        return body


@pytest.mark.parametrize("path", flows(), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_recorded_flow(recorded_service, path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    Replay(recorded_service, path.parent.name, lines).run()
