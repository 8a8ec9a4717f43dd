"""Made-up requests over every operation of the three swaggers, and over what ARM has around them, on a
service with resources of every kind.

Whatever is asked: an answer comes, and no 5xx; what succeeded has the shape of the swagger; what was refused
says why and has changed nothing in the store. A short form runs always, 20,000 requests per version with
`make test-campaign`; a failure prints its request, and `CAMPAIGN_SEED` repeats a run.
"""

import contextlib
import http.client
import json
import os
import sqlite3
import ssl
from collections import Counter
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

import pytest
from harness import contract
from harness.arm import VERSIONS, Arm, cluster_properties, make_share, mount
from harness.generated import Made, Maker, World, ascii_target, published
from harness.service import Service
from harness.waiting import until

from openbatchai.dataplane.errors import StorageCode
from openbatchai.domain.errors import Code

SEED = int(os.environ.get("CAMPAIGN_SEED", "1"))
SHORT, FULL = 250, 20_000
ANSWER_WITHIN_S = 30
# With few cores to give away quotas are reached, too.
SETTINGS = {"quotas": {"Total Cluster Dedicated Regional vCPUs": 8, "Clusters": 12}, "idleTimeoutSeconds": 1}
# Containers and shares at ARM are refused as the data plane refuses them.
CODES = {*map(str, Code), *(code.value[0] for code in StorageCode)}
MADE_GROUPS = ("made1", "made2")
WORKSPACES = ("w2", "migrated-eastus")
CLUSTERS = ("c1", "c2", "c3", "c4")
# What only clients change: of each table, the columns that loops never write.
ROWS = {
    "resource_groups": "key, name, location, tags, deleting",
    "storage_accounts": "key, name, group_key, location, kind, sku, tags, secrets, "
    "(select deleting from resource_groups as owner where owner.key = group_key)",
    "workspaces": "id, name, location, tags, etag, deleting",
    "experiments": "id, name, etag, deleting",
    "clusters": "id, name, spec, legacy, location, tags, fingerprint, etag, deleting",
    "file_servers": "id, name, spec, location, tags, fingerprint, etag, deleting",
    "jobs": "id, name, spec, legacy, location, tags, fingerprint, cluster_id, priority, etag, deleting",
    "registrations": "namespace, state, 0",
    "vault_secrets": "id, vault, name, version, 0",
    "operations": "id, kind, target, 1",
}

pytestmark = pytest.mark.skipif(
    not contract.SPEC.is_dir(), reason="the published swaggers are in ../shared, which is not here"
)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    started = Service(tmp_path_factory.mktemp("campaign") / "home", SETTINGS).up()
    yield started
    started.discard()


@pytest.fixture(scope="module")
def arm(service):
    return Arm(service)


@pytest.fixture(params=VERSIONS)
def inhabited(arm, request):
    made = Inhabited(arm, request.param)
    yield made
    made.leave()


def test_made_up_requests(inhabited):
    answered = campaign(inhabited, SHORT)
    # A campaign in which everything is refused, or nothing, would prove little.
    assert sum(times for (_, status, _), times in answered.items() if status < 300) > SHORT / 5
    assert sum(times for (_, status, _), times in answered.items() if status >= 400) > SHORT / 5


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_made_up_requests(inhabited):
    answered = campaign(inhabited, FULL)
    succeeded = {operation for operation, status, _ in answered if status < 300}
    assert {operation.id for operation in contract.operations(inhabited.version)} <= succeeded


def test_made_up_requests_around_batch_ai(arm):
    campaign(Around(arm), SHORT)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_made_up_requests_around_batch_ai(arm):
    campaign(Around(arm), FULL)


def settled(arm, path, body, version):
    """Make what is not there, or is being deleted; what is there stays, whoever made it."""

    def there():
        found = arm.ask("GET", path, version=version)
        if found.status_code == 200:
            return found.json()["properties"]["provisioningState"].lower() != "deleting"
        return arm.ask("PUT", path, body, version).status_code in (200, 201)

    until(there, f"{path} is there")


class Inhabited:
    """A resource group with a resource of every kind, of which clients of one api-version know."""

    def __init__(self, arm, version):
        self.arm, self.version = arm, version
        self.flat = version != VERSIONS[-1]
        self.group = arm.group("campaign")
        self.root = root = arm.provider(self.group)
        self.share = f"share{self.group}"
        make_share(arm.service, self.share)
        self.parent = root if self.flat else f"{root}/workspaces/ws"
        self.jobs = f"{root}/jobs" if self.flat else f"{self.parent}/experiments/ex/jobs"
        vault = f"{arm.subscription}/providers/OpenBatchAI/vaults/campaign/secrets/here"
        arm.put(vault, {"value": arm.service.key})
        self.settle()

    def settle(self):
        """Make again what was deleted: a path that was cut may have been its group's."""
        settled(self.arm, self.arm.group_path(self.group), {"location": "eastus"}, self.version)
        if not self.flat:
            self._settled(self.parent, {"location": "eastus"})
            self._settled(f"{self.parent}/experiments/ex", {})
        if self.arm.ask("GET", f"{self.parent}/clusters/cl", version=self.version).status_code == 404:
            self._make_room()
        self._settled(f"{self.parent}/clusters/cl", self._cluster())
        self._settled(f"{self.parent}/fileServers/fs", self._body(FILE_SERVER))
        for name, command in (("done", "echo done"), ("long", "sleep 3600")):
            self._settled(f"{self.jobs}/{name}", self._job(command))

    def _make_room(self):
        """Other clusters may have taken all of the quota."""
        places = [self.root]
        if not self.flat:
            places = [f"{self.root}/workspaces/{name}" for name in ("ws", *WORKSPACES)]
        for place in places:
            for name in CLUSTERS:
                self.arm.ask("DELETE", f"{place}/clusters/{name}", version=self.version)

    def leave(self):
        if not self.arm.gone(path := self.arm.group_path(self.group)):
            self.arm.ask("DELETE", path)
            until(lambda: self.arm.gone(path), "an end of the group")

    def _settled(self, path, body):
        settled(self.arm, path, body, self.version)

    def _body(self, properties):
        return {"location": "eastus", "properties": properties}

    def _cluster(self):
        return self._body(cluster_properties(self.arm.service, self.share))

    def _job(self, command):
        return self._body(
            {
                "cluster": {"id": f"{self.parent}/clusters/cl"},
                "nodeCount": 1,
                "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/afs",
                "customToolkitSettings": {"commandLine": command},
            }
        )

    def spec(self):
        return published(self.version)

    def world(self):
        service = self.arm.service
        [share] = mount(service, self.share)["azureFileShares"]
        commands = ("true", "exit 3", "echo x", "sleep 0.2", "sleep 3600", "false")
        paths = (
            "$AZ_BATCHAI_MOUNT_ROOT/afs",
            "$AZ_BATCHAI_JOB_TEMP",
            "$AZ_BATCHAI_JOB_MOUNT_ROOT/afs",
            "./here",
        )
        return World(
            names={
                "subscriptionId": [service.endpoint["subscription_id"]],
                "resourceGroupName": [self.group],
                "workspaceName": ["ws"] * 4 + [*WORKSPACES, "absent"],
                "experimentName": ["ex"] * 4 + ["e2", "migrated", "absent"],
                "clusterName": ["cl", *CLUSTERS],
                "jobName": ["done", "long", "j1", "j2", "j3", "j4", "j5"],
                "fileServerName": ["fs", "f1", "f2"],
                "location": ["eastus", "East%20US", "westus2", "nowhere"],
            },
            texts={
                "location": ["eastus", "East US", "westeurope"],
                "cluster.id": [
                    f"{self.parent}/clusters/{name}" for name in ("cl", "cl", "cl", "c1", "absent")
                ],
                "fileServer.id": [f"{self.parent}/fileservers/{name}" for name in ("fs", "f1")],
                "id": ["INPUT", "MODEL", "a_1"],
                "vmSize": ["STANDARD_D1", "standard_nc6", "STANDARD_D1_V2"],
                "nodeCount": [1, 1, 2],
                "accountName": [service.account],
                "azureFileUrl": [share["azureFileUrl"]],
                "accountKey": [service.key],
                "relativeMountPath": ["afs", "other", "a/b"],
                "commandLine": commands,
                "commandLineArgs": ["-v", "--a=$AZ_BATCHAI_NUM_GPUS"],
                "mountCommand": ["true", "false"],
                "mountOptions": ["rw", "ro"],
                "pythonScriptFilePath": ["absent.py", "$AZ_BATCHAI_MOUNT_ROOT/afs/absent.py"],
                "configFilePath": ["absent.cntk"],
                "pythonInterpreterPath": ["python3", "/bin/false"],
                "languageType": ["Python", "brainscript"],
                "stdOutErrPathPrefix": paths,
                "pathPrefix": paths,
                "path": paths,
                "pathSuffix": ["files", "a/b"],
                "maxWallClockTime": ["P1D", "PT1H", "PT2S"],
                "secretUrl": [
                    f"https://campaign.vault.azure.net/secrets/{name}" for name in ("here", "absent")
                ],
                "minimumNodeCount": [0],
                "maximumNodeCount": [1, 2],
                "diskSizeInGB": [1, 10],
                "diskCount": [1, 2],
                "processCount": [1, 2],
                "workerCount": [1],
                "parameterServerCount": [1],
                "storageAccountType": ["Standard_LRS"],
                "outputdirectoryid": ["stdouterr", "stdouterr", "MODEL", "nothing"],
                "directory": [".", "a", "..", "/"],
                "$filter": ["name eq 'a'"],
                "$select": ["name", "properties/vmSize"],
            },
            kept=frozenset({"ws", "ex", "cl", "fs", "done", "long"}),
        )


class Around:
    """Groups, lists of resources, providers and storage accounts, of which no swagger is here."""

    version = "2021-04-01"

    def __init__(self, arm):
        self.arm = arm
        self.settle()

    def settle(self):
        """A group and an account; neither is deleted by the campaign."""
        path = self.arm.group_path("around")
        settled(self.arm, path, {"location": "eastus", "tags": {"kept": "yes"}}, self.version)
        for namespace in ("Microsoft.Storage", "Microsoft.BatchAI"):
            self.arm.ask("POST", f"{self.arm.subscription}/providers/{namespace}/register")
        account = "providers/Microsoft.Storage/storageAccounts/aroundkept"
        for other in MADE_GROUPS:
            # Its name is taken everywhere when a request has made it there.
            self.arm.ask("DELETE", f"{self.arm.group_path(other)}/{account}", version=self.version)
        body = {"location": "eastus", "kind": "StorageV2", "sku": {"name": "Standard_LRS"}}
        settled(self.arm, f"{path}/{account}", body, self.version)

    def spec(self):
        root = "/subscriptions/{subscriptionId}"
        group = f"{root}/resourceGroups/{{resourceGroupName}}"
        storage = "providers/Microsoft.Storage"
        account = f"{group}/{storage}/storageAccounts/{{accountName}}"
        listed, located = (
            [*map(_query, ("$filter", "$top", "$expand"))],
            {"required": ["location"], "properties": LOCATED},
        )
        sku = {"required": ["name"], "properties": {"name": _STRING}}
        stored = {
            "required": ["location", "sku"],
            "properties": {**LOCATED, "kind": _STRING, "sku": sku},
        }
        paths = {
            "/subscriptions": {"get": []},
            "/tenants": {"get": []},
            "/providers": {"get": listed},
            "/providers/{namespace}": {"get": []},
            root: {"get": []},
            f"{root}/locations": {"get": []},
            f"{root}/resourcegroups": {"get": listed},
            group: {"put": [_body(located)], "patch": [_body(located)], "get": [], "head": [], "delete": []},
            f"{group}/exportTemplate": {"post": [_body(located)]},
            f"{root}/resources": {"get": listed},
            f"{group}/resources": {"get": listed},
            f"{root}/providers": {"get": listed},
            f"{root}/providers/{{namespace}}": {"get": []},
            f"{root}/providers/{{namespace}}/register": {"post": []},
            f"{root}/providers/{{namespace}}/unregister": {"post": []},
            f"{root}/{storage}/checkNameAvailability": {"post": [_body({"properties": {"name": _STRING}})]},
            f"{root}/{storage}/storageAccounts": {"get": listed},
            f"{group}/{storage}/storageAccounts": {"get": listed},
            account: {"put": [_body(stored)], "patch": [_body(stored)], "get": [], "delete": []},
            f"{account}/listKeys": {"post": listed},
            f"{account}/regenerateKey": {"post": [_body({"properties": {"keyName": _STRING}})]},
            f"{account}/blobServices/default/containers": {"get": listed},
            f"{account}/blobServices/default/containers/{{name}}": {
                "put": [_body(located)],
                "get": [],
                "delete": [],
            },
            f"{account}/fileServices/default/shares/{{name}}": {
                "put": [_body(located)],
                "get": [],
                "delete": [],
            },
        }
        return {"paths": {path: _operations(methods) for path, methods in paths.items()}}

    def world(self):
        return World(
            names={
                "subscriptionId": [self.arm.subscription.rpartition("/")[2]],
                "resourceGroupName": ["around"] * 4 + [*MADE_GROUPS, "absent"],
                "namespace": ["Microsoft.BatchAI", "microsoft.storage", "Microsoft.Resources", "Microsoft.X"],
                "accountName": ["aroundkept"] * 3 + ["aroundone", "aroundtwo", "a", "Around"],
                "name": ["one", "two", "three", "$root"],
            },
            texts={
                "location": ["eastus", "West US", "mars"],
                "kind": ["StorageV2", "Storage", "BlobStorage"],
                "sku.name": ["Standard_LRS", "Standard_LRS", "Premium_LRS", "x"],
                "name": ["aroundone", "free123"],
                "keyName": ["key1", "key2", "key3"],
                "$filter": [
                    "tagName eq 'tag0' and tagValue eq 'value'",
                    "name eq 'around'",
                    "name ne 'x' or",
                ],
                "$top": ["1", "1000", "0"],
                "$expand": ["createdTime", "kerb", "nothing"],
            },
            kept=frozenset({"around", "aroundkept"}),
        )


_STRING = {"type": "string"}
LOCATED = {"location": _STRING, "tags": {"additionalProperties": _STRING}, "properties": {"type": "object"}}


def _query(name):
    return {"name": name, "in": "query", "type": "string"}


def _body(schema):
    return {"name": "parameters", "in": "body", "schema": schema}


def _operations(methods):
    return {method: {"parameters": parameters} for method, parameters in methods.items()}


FILE_SERVER = {
    "vmSize": "STANDARD_D1",
    "sshConfiguration": {"userAccountSettings": {"adminUserName": "demo", "adminUserPassword": "pw"}},
    "dataDisks": {"diskSizeInGB": 10, "diskCount": 1, "storageAccountType": "Standard_LRS"},
}


@dataclass
class Got:
    status: int
    headers: http.client.HTTPMessage
    content: bytes


class Line:
    """One kept connection; nothing of a target is rewritten, as `requests` would do."""

    def __init__(self, arm):
        url = urlsplit(arm.service.endpoint["arm"])
        context = ssl.create_default_context(cafile=arm.service.endpoint["ca_bundle"])
        self._connection = http.client.HTTPSConnection(
            url.hostname, url.port, timeout=ANSWER_WITHIN_S, context=context
        )
        self._token = arm.token()

    def ask(self, made: Made) -> Got:
        headers = {"Authorization": f"Bearer {self._token}", **made.headers}
        self._connection.request(made.method, ascii_target(made.target), made.content, headers)
        answer = self._connection.getresponse()
        return Got(answer.status, answer.headers, answer.read())


class Dump:
    """What the store holds of clients' doing, read beside the running service."""

    def __init__(self, service):
        self._connection = sqlite3.connect(f"file:{service.home / 'control.db'}?mode=ro", uri=True)

    def take(self):
        tables = {
            table: {row[0]: row for row in self._connection.execute(f"select {columns} from {table}")}
            for table, columns in ROWS.items()
        }
        query = "select max(id) from events where actor != 'service'"
        [(events,)] = self._connection.execute(query)
        return tables, events

    def close(self):
        self._connection.close()


def changes(before, after):
    """What differs, apart from what was being deleted before and is gone now."""
    found = []
    for table, rows in before[0].items():
        now = after[0][table]
        found += [
            f"{table} {key}: {row} -> {now[key]}" for key, row in rows.items() if now.get(key, row) != row
        ]
        found += [f"{table} {key} is gone" for key in rows.keys() - now.keys() if not rows[key][-1]]
        found += [f"{table} {key} is new" for key in now.keys() - rows.keys()]
    if before[1] != after[1]:
        found.append("an event was written")
    return found


def campaign(inhabited, count):
    """Ask `count` made-up requests, and hold each answer against what must hold; what was answered."""
    maker = Maker(inhabited.version, SEED, inhabited.world(), inhabited.spec())
    answered: Counter[tuple[str, int, str]] = Counter()
    with contextlib.closing(Dump(inhabited.arm.service)) as dump:
        line = Line(inhabited.arm)
        for number in range(count):
            if number % 250 == 249:
                inhabited.settle()
                line = Line(inhabited.arm)  # tokens do not live for ever
            made = maker.make()
            before = dump.take()
            got = line.ask(made)
            faults = problems(made, got)
            if got.status >= 400:
                faults += changes(before, dump.take())
            assert not faults, f"{number}: {made}\n{got.status} {got.content[:500]!r}\n{faults}"
            answered[told(made, got)] += 1
    assert inhabited.arm.service.running()
    for (operation, status, code), times in sorted(answered.items()):
        print(f"{inhabited.version} {operation} {status} {code} {times}")
    return answered


def operation_of(made):
    """By the api-version that the request names; None where it is no operation of a swagger."""
    path, _, query = made.target.partition("?")
    return contract.operation_of(dict(parse_qsl(query)).get("api-version", "").lower(), made.method, path)


def told(made, got):
    operation = operation_of(made)
    body = json.loads(got.content) if got.status >= 400 and got.content[:1] == b"{" else {}
    return operation.id if operation else made.method, got.status, body.get("error", {}).get("code", "")


def problems(made, got):
    """What is wrong with an answer."""
    if got.status >= 500:
        return ["a failure of the service"]
    if got.content == b"Invalid HTTP request received.":
        return []  # what is no HTTP never reached the API
    if not made.target.lower().startswith(("/subscriptions", "/providers")):
        return []  # nor did what is no path of it; the root is a page for people
    body = json.loads(got.content) if got.content else None
    if got.status >= 400:
        if made.method == "HEAD":
            return [] if body is None else ["a body for HEAD"]
        error = (body or {}).get("error", {})
        good = error.get("code") in CODES and error.get("message")
        return [] if good else ["a refusal that is none"]
    operation = operation_of(made)
    if operation is None or got.status == 304:
        return []
    if str(got.status) not in operation.answers:
        return [f"{operation.id} does not answer so"]
    schema = operation.answers[str(got.status)]
    return contract.faults(operation.version, schema, body) if schema is not None and body is not None else []
