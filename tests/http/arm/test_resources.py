"""What surrounds Batch AI at ARM: subscriptions, groups, lists of resources, headers, metadata."""

import re
from datetime import datetime
from urllib.parse import urlsplit

import pytest
from harness.arm import NEWEST, Arm, Lab, unique
from harness.waiting import until

FILE_SERVER = {
    "vmSize": "STANDARD_D1",
    "sshConfiguration": {"userAccountSettings": {"adminUserName": "demo", "adminUserPassword": "pw"}},
    "dataDisks": {"diskSizeInGB": 1, "diskCount": 1, "storageAccountType": "Standard_LRS"},
}


@pytest.fixture(scope="module")
def groups(arm):
    """Three groups with tags, a workspace in the first and in the second, an account in the second."""
    mark = unique("mark")
    made = [unique("tagged") for _ in range(3)]
    for i, name in enumerate(made):
        tags = {"Mark": mark, "number": str(i)}
        arm.put(arm.group_path(name), {"location": "West US 2", "tags": tags})
    for name in made[:2]:
        workspace = {"location": "eastus", "tags": {"Of": name}}
        arm.put(f"{arm.provider(name)}/workspaces/{name}", workspace)
    account = {"location": "eastus", "sku": {"name": "Standard_LRS"}, "kind": "StorageV2"}
    arm.put(account_path(arm, made[1], unique("acct")), account)
    return mark, made


def account_path(arm, group, name):
    return f"{arm.group_path(group)}/providers/Microsoft.Storage/storageAccounts/{name}"


def listed(arm, path, **query):
    answer = arm.ask(
        "GET", path, version="2021-04-01", query={f"${name}": text for name, text in query.items()}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def names(arm, path, **query):
    return [item["name"] for item in listed(arm, path, **query)["value"]]


class TestSubscriptions:
    @pytest.mark.parametrize("version", ["2016-06-01", "2022-12-01", "2099-01-01", "2014-04-01-preview"])
    def test_of_any_api_version(self, arm, version):
        [found] = arm.get("/subscriptions", version)["value"]
        assert arm.get(arm.subscription, version) == found
        assert (found["id"], found["state"]) == (arm.subscription, "Enabled")
        assert arm.get("/tenants", version)["value"][0]["tenantId"] == found["tenantId"]

    def test_locations_are_those_that_are_taken(self, arm):
        found = arm.get(f"{arm.subscription}/locations", "2022-12-01")["value"]
        shown = {item["name"]: item["displayName"] for item in found}
        assert shown["eastus2"] == "East US 2"
        assert {"westus", "uksouth", "japaneast"} < set(shown)

    def test_paths_in_any_case(self, arm):
        name = arm.group("Mixed")
        for path in (
            arm.group_path(name.upper()),
            arm.group_path(name).replace("resourceGroups", "RESOURCEGROUPS"),
        ):
            assert arm.get(path)["name"] == name


class TestGroups:
    def test_life(self, arm):
        name = unique("life")
        path = arm.group_path(name)
        assert arm.ask("HEAD", path).status_code == 404
        assert arm.ask("PUT", path, {"location": "eastus", "tags": {"a": "b"}}).status_code == 201
        assert arm.ask("PUT", path, {"location": "East US", "tags": {"a": "b"}}).status_code == 200
        assert arm.ask("HEAD", path).status_code == 204
        assert arm.ask("PATCH", path, {}).json()["tags"] == {"a": "b"}
        assert arm.ask("PATCH", path, {"tags": {"c": "d"}}).json()["tags"] == {"c": "d"}
        assert arm.ask("PATCH", path, {"tags": {}}).json()["tags"] == {}
        assert arm.ask("DELETE", path).status_code == 202
        until(lambda: arm.gone(path), "an end of the group")
        missing = arm.ask("DELETE", path)
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "ResourceGroupNotFound")

    @pytest.mark.parametrize(
        "tags",
        [
            *({"a": 1}, ["a"], {"": "b"}, {"n" * 513: "v"}, {"n": "v" * 257}, {"A": "1", "a": "2"}),
            {str(i): "v" for i in range(51)},
        ],
    )
    def test_tags_that_are_none(self, arm, tags):
        path = arm.group_path(unique("tags"))
        answer = arm.ask("PUT", path, {"location": "eastus", "tags": tags})
        assert (answer.status_code, answer.json()["error"]["target"]) == (400, "tags")
        assert arm.gone(path)

    def test_filters(self, arm, groups):
        mark, made = groups
        path = f"{arm.subscription}/resourcegroups"
        assert names(arm, path, filter=f"tagName eq 'mark' and tagValue eq '{mark}'") == made
        both = f"tagname eq 'mark' and tagvalue eq '{mark}' and name ne '{made[0]}'"
        assert names(arm, path, filter=both) == made[1:]
        assert names(arm, path, filter="tagName eq 'nobody has it'") == []

    def test_pages(self, arm, groups):
        mark, made = groups
        answer = listed(arm, f"{arm.subscription}/resourcegroups", filter=f"tagValue eq '{mark}'", top="2")
        found = [group["name"] for group in answer["value"]]
        assert found == made[:2]
        last = arm.ask("GET", answer["nextLink"], version=None).json()
        assert [group["name"] for group in last["value"]] == made[2:]
        assert "nextLink" not in last

    @pytest.mark.parametrize(
        "query", [{"filter": "nonsense"}, {"top": "0"}, {"top": "x"}, {"skiptoken": "x"}]
    )
    def test_queries_that_are_none(self, arm, query):
        query = {f"${name}": text for name, text in query.items()}
        for kind in ("resourcegroups", "resources"):
            answer = arm.ask("GET", f"{arm.subscription}/{kind}", query=query)
            assert answer.status_code == 400, answer.text
            assert [answer.json()["error"]["target"]] == list(query)

    def test_deleting_takes_everything_along(self, arm):
        """Jobs that run, clusters, file servers, accounts with their content: nothing stays of a group."""
        lab = Lab(arm)
        account = account_path(arm, lab.group, unique("acct"))
        arm.put(account, {"location": "eastus", "sku": {"name": "Standard_LRS"}, "kind": "StorageV2"})
        accepted = arm.ask("PUT", f"{lab.workspace}/fileServers/fs", {"properties": FILE_SERVER})
        assert accepted.status_code == 202, accepted.text
        lab.reaches(lab.submit("sleep 600"), "running")
        group = arm.group_path(lab.group)
        answer = arm.ask("DELETE", group)
        assert (answer.status_code, answer.content) == (202, b"")
        assert answer.headers["Retry-After"] == "0"
        polled = answer.headers["Location"]
        assert urlsplit(polled).path.startswith(f"{arm.subscription}/operationresults/")
        assert (
            arm.ask("PUT", group, {"location": "eastus"}).json()["error"]["code"]
            == "ResourceGroupBeingDeleted"
        )

        def over():
            poll = arm.ask("GET", polled, version=None)
            assert poll.status_code in (200, 202), poll.text
            if poll.status_code == 202:
                assert poll.headers["Retry-After"] == "1"
                assert poll.headers["Location"] == polled
            return poll.status_code == 200

        until(over, "an end of the operation")
        for path in (group, lab.workspace, lab.cluster, account, f"{lab.workspace}/fileServers/fs"):
            assert arm.gone(path), path
        assert account not in [item["id"] for item in listed(arm, f"{arm.subscription}/resources")["value"]]


class TestList:
    def test_of_a_group(self, arm, groups):
        _, made = groups
        found = listed(arm, f"{arm.group_path(made[1])}/resources")["value"]
        assert [item["type"] for item in found] == [
            "Microsoft.BatchAI/workspaces",
            "Microsoft.Storage/storageAccounts",
        ]
        workspace, account = found
        assert workspace["id"] == f"{arm.provider(made[1])}/workspaces/{made[1]}"
        assert (workspace["location"], workspace["tags"]) == ("eastus", {"Of": made[1]})
        assert (account["kind"], account["sku"]["name"]) == ("StorageV2", "Standard_LRS")
        assert "createdTime" not in account
        for item in found:
            assert arm.get(item["id"])["id"] == item["id"]
        assert names(arm, f"{arm.group_path(made[2])}/resources") == []
        missing = arm.ask("GET", f"{arm.group_path('absent')}/resources")
        assert missing.json()["error"]["code"] == "ResourceGroupNotFound"

    def test_by_what_az_resource_list_asks(self, arm, groups):
        """azure-cli's command_modules/resource: _list_resources_odata_filter_builder."""
        _, made = groups
        path = f"{arm.subscription}/resources"
        group = f"resourceGroup eq '{made[1]}'"
        kind = "resourceType eq 'Microsoft.BatchAI/workspaces'"
        assert len(names(arm, path, filter=group)) == 2
        assert names(arm, path, filter=f"{group} and {kind}") == [made[1]]
        assert names(arm, path, filter=f"name eq '{made[0].upper()}' and location eq 'eastus'") == [made[0]]
        assert names(arm, path, filter=f"tagname eq 'of' and tagvalue eq '{made[0]}'") == [made[0]]
        assert made[0] in names(arm, path, filter="startswith(tagname, 'o')")
        assert names(arm, path, filter=f"substringof('{made[0][:-1]}', name)")
        assert names(arm, path, filter=f"{kind} and name eq 'absent'") == []

    def test_expanded(self, arm, groups):
        _, made = groups
        query = {"$expand": "createdTime,changedTime,provisioningState"}
        found = arm.ask("GET", f"{arm.group_path(made[1])}/resources", query=query).json()["value"]
        for item in found:
            assert item["provisioningState"] == "Succeeded"
            assert datetime.fromisoformat(item["createdTime"]) <= datetime.fromisoformat(item["changedTime"])
        wrong = arm.ask("GET", f"{arm.subscription}/resources", query={"$expand": "everything"})
        assert (wrong.status_code, wrong.json()["error"]["target"]) == (400, "$expand")

    def test_pages(self, arm, groups):
        _, made = groups
        path, seen = f"{arm.group_path(made[1])}/resources", []
        answer = listed(arm, path, top="1")
        seen += answer["value"]
        last = arm.ask("GET", answer["nextLink"], version=None).json()
        assert seen + last["value"] == listed(arm, path)["value"]
        assert "nextLink" not in last


class TestUnserved:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/exportTemplate"),
            ("POST", "/moveResources"),
            ("POST", "/validateMoveResources"),
            ("PUT", "/providers/Microsoft.Resources/deployments/one"),
            ("GET", "/providers/Microsoft.Resources/deployments"),
            ("POST", "/providers/Microsoft.Resources/deployments/one/validate"),
            ("GET", "/providers/Microsoft.Resources/deploymentScripts"),
        ],
    )
    def test_templates_and_moves(self, arm, groups, method, path):
        for root in (arm.group_path(groups[1][0]), arm.subscription):
            answer = arm.ask(method, root + path, {})
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "OperationNotSupported")

    def test_namespaces_and_types_that_are_not_here(self, arm, groups):
        group = arm.group_path(groups[1][0])
        for path, code, named in (
            ("Microsoft.Compute/virtualMachines/vm", "InvalidResourceNamespace", "Microsoft.Compute"),
            ("Microsoft-Storage/storageAccounts", "InvalidResourceNamespace", "Microsoft-Storage"),
            ("Microsoft.Batch/batchAccounts/b", "InvalidResourceType", "'batchAccounts'"),
            ("Microsoft.Storage/toasters/t", "InvalidResourceType", "'toasters'"),
        ):
            answer = arm.ask("GET", f"{group}/providers/{path}")
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (404, code)
            assert named in error["message"]


class TestHeaders:
    def test_each_answer_can_be_followed(self, arm):
        for answer in (arm.ask("GET", arm.subscription), arm.ask("GET", arm.group_path("absent"))):
            request, correlation = (
                answer.headers[f"x-ms-{kind}"] for kind in ("request-id", "correlation-request-id")
            )
            assert re.fullmatch(r"[0-9a-f-]{36}", request)
            assert re.fullmatch(
                rf"\w+:\d{{8}}T\d{{6}}Z:{correlation}", answer.headers["x-ms-routing-request-id"]
            )
            assert answer.headers["x-ms-ratelimit-remaining-subscription-reads"].isdigit()

    @pytest.mark.parametrize(
        ("path", "version"),
        [
            ("{subscription}/resourcegroups/absent", NEWEST),
            ("{subscription}/resourcegroups", None),
            ("{subscription}/providers/Microsoft.Compute/disks", NEWEST),
            ("{subscription}/providers/Microsoft.BatchAI/workspaces", "2016-01-01"),
        ],
    )
    def test_what_arm_itself_refuses(self, arm, path, version):
        answer = arm.ask("GET", path.format(subscription=arm.subscription), version=version)
        assert (answer.status_code in (400, 404), answer.headers["x-ms-failure-cause"]) == (True, "gateway")

    @pytest.mark.parametrize(
        ("method", "path", "counter"),
        [
            ("GET", "/subscriptions", "tenant-reads"),
            ("DELETE", "{subscription}/resourcegroups/absent", "subscription-deletes"),
            ("PATCH", "{subscription}/resourcegroups/absent", "subscription-writes"),
            ("HEAD", "{subscription}/resourcegroups/absent", "subscription-reads"),
        ],
    )
    def test_counters(self, arm, method, path, counter):
        answer = arm.ask(method, path.format(subscription=arm.subscription))
        assert [name for name in answer.headers if "ratelimit" in name] == [
            f"x-ms-ratelimit-remaining-{counter}"
        ]

    def test_ids_of_the_client(self, arm):
        mine = {"x-ms-client-request-id": "mine", "x-ms-correlation-request-id": "chain"}
        answer = arm.ask("GET", arm.subscription, headers=mine)
        assert answer.headers["x-ms-correlation-request-id"] == "chain"
        assert "x-ms-client-request-id" not in answer.headers
        asked = arm.ask("GET", arm.subscription, headers={**mine, "x-ms-return-client-request-id": "True"})
        assert asked.headers["x-ms-client-request-id"] == "mine"
        long = arm.ask("GET", arm.subscription, headers={"x-ms-correlation-request-id": "x" * 4000})
        assert len(long.headers["x-ms-correlation-request-id"]) == 36

    def test_what_is_there_can_be_asked_by_head(self, arm, groups):
        _, made = groups
        path = f"{arm.provider(made[0])}/workspaces/{made[0]}"
        there, missing = arm.ask("HEAD", path), arm.ask("HEAD", path + "x")
        assert (there.status_code, there.content) == (204, b"")
        assert there.headers["ETag"] == arm.ask("GET", path).headers["ETag"]
        assert (missing.status_code, missing.content) == (404, b"")


class TestMetadata:
    """Of the cloud, without a token."""

    def ask(self, arm: Arm, version: str | None):
        url = f"{arm.service.endpoint['arm']}/metadata/endpoints"
        answer = arm.http.get(url, params={"api-version": version} if version else {}, timeout=30)
        assert answer.status_code == 200
        return answer.json()

    @pytest.mark.parametrize("version", ["2015-01-01", "2018-05-01"])
    def test_the_first_form(self, arm, version):
        found = self.ask(arm, version)
        assert set(found) == {"galleryEndpoint", "graphEndpoint", "portalEndpoint", "authentication"}

    @pytest.mark.parametrize("version", ["2019-05-01", "2020-06-01", "2022-09-01", None])
    def test_the_forms_of_today(self, arm, version):
        found = self.ask(arm, version)
        [cloud] = found if isinstance(found, list) else [found]
        assert isinstance(found, list) == (version in ("2019-05-01", "2020-06-01"))
        url = arm.service.endpoint["arm"]
        assert (cloud["resourceManager"], cloud["authentication"]["loginEndpoint"]) == (url, url)
        assert cloud["authentication"]["audiences"][0] == "https://management.core.windows.net/"
        assert cloud["suffixes"]["storage"] == "core.windows.net"


class TestConditions:
    @pytest.fixture
    def workspace(self, arm):
        path = f"{arm.provider(arm.group())}/workspaces/one"
        arm.put(path, {"location": "eastus"})
        return path

    def etag(self, arm, path):
        return arm.ask("GET", path).headers["ETag"]

    def conditional(self, arm, method, path, body=None, **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return arm.ask(method, path, body, headers=named)

    def test_what_has_not_changed_is_not_sent_again(self, arm, workspace):
        etag = self.etag(arm, workspace)
        same = self.conditional(arm, "GET", workspace, If_None_Match=f'"other", W/{etag}')
        assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", etag)
        assert self.conditional(arm, "GET", workspace, If_None_Match='"other"').status_code == 200

    def test_a_change_of_what_has_changed_is_refused(self, arm, workspace):
        old = self.etag(arm, workspace)
        assert (
            self.conditional(arm, "PATCH", workspace, {"tags": {"a": "1"}}, If_Match=old).status_code == 200
        )
        for method, body in (("PATCH", {"tags": {}}), ("PUT", {"location": "eastus"}), ("DELETE", None)):
            answer = self.conditional(arm, method, workspace, body, If_Match=old)
            assert (answer.status_code, answer.json()["error"]["code"]) == (412, "PreconditionFailed")
        assert arm.get(workspace)["tags"] == {"a": "1"}
        deleted = self.conditional(arm, "DELETE", workspace, If_Match=self.etag(arm, workspace))
        assert deleted.status_code == 202

    def test_create_only_and_update_only(self, arm, workspace):
        body = {"location": "eastus"}
        assert self.conditional(arm, "PUT", workspace, body, If_None_Match="*").status_code == 412
        assert self.conditional(arm, "PUT", workspace, body, If_Match="*").status_code == 200
        other = workspace + "2"
        assert self.conditional(arm, "PUT", other, body, If_Match="*").status_code == 412
        assert arm.gone(other)
        assert self.conditional(arm, "PUT", other, body, If_None_Match="*").status_code == 200

    @pytest.mark.parametrize("version", ["2017-09-01-preview", "2018-03-01", NEWEST])
    def test_every_kind_has_one(self, arm, version):
        lab = Lab(arm, nodes=0)
        root, properties = arm.provider(lab.group), lab.job_properties()
        flat = version != NEWEST
        paths = {
            "job": f"{root}/jobs/j" if flat else f"{lab.experiment}/jobs/j",
            "cluster": f"{root}/clusters/c" if flat else lab.cluster,
        }
        body = {"location": "eastus", "properties": properties}
        arm.put(paths["job"], body, version)
        if flat:
            cluster = {"vmSize": "STANDARD_D1", "userAccountSettings": {"adminUserName": "u"}}
            cluster["scaleSettings"] = {"manual": {"targetNodeCount": 0}}
            arm.put(paths["cluster"], {"location": "eastus", "properties": cluster}, version)
        else:
            paths["experiment"] = lab.experiment
        server = f"{root}/fileServers/fs" if flat else f"{lab.workspace}/fileServers/fs"
        made = arm.ask("PUT", server, {"location": "eastus", "properties": FILE_SERVER}, version)
        assert made.status_code == 202, made.text
        until(lambda: "mountSettings" in arm.get(server, version)["properties"], "a file server")
        paths["fileServer"] = server
        for path in paths.values():
            for condition, status in (('"0x0"', 412), (None, 202)):
                etag = condition or arm.ask("GET", path, version=version).headers["ETag"]
                answer = arm.ask("DELETE", path, version=version, headers={"If-Match": etag})
                assert answer.status_code == status, (path, answer.text)
