"""What every api-version refuses, and what not: codes and messages of batchai-service.md section 6."""

import copy

import pytest
from harness.arm import NEWEST, VERSIONS, Arm, Lab, cluster_properties, mount, unique

FLAT = VERSIONS[:2]
FILE_SERVER = {
    "vmSize": "STANDARD_D1",
    "sshConfiguration": {"userAccountSettings": {"adminUserName": "demo", "adminUserPassword": "pw"}},
    "dataDisks": {"diskSizeInGB": 1, "diskCount": 1, "storageAccountType": "Standard_LRS"},
}


class Places:
    """Where an api-version has its resources, all in one group with what lives there."""

    def __init__(self, lab, version):
        self.arm, self.lab, self.version, self.flat = lab.arm, lab, version, version != NEWEST
        root = self.arm.provider(lab.group)
        self.root = root if self.flat else lab.workspace
        self.jobs = f"{root}/jobs" if self.flat else f"{lab.experiment}/jobs"

    def path(self, kind, name):
        return f"{self.jobs}/{name}" if kind == "jobs" else f"{self.root}/{kind}/{name}"

    def body(self, kind, **changes):
        properties = {
            "clusters": lambda: cluster_properties(self.arm.service, self.lab.share, 0),
            "jobs": lambda: self.lab.job_properties("true"),
            "fileServers": lambda: copy.deepcopy(FILE_SERVER),
        }[kind]()
        return {"location": "eastus", "properties": {**properties, **changes}}

    def refused(self, status, code, method, path, body=None, **options):
        answer = self.arm.ask(method, path, body, self.version, **options)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
        return answer


@pytest.fixture(scope="module", params=VERSIONS)
def places(lab, request):
    return Places(lab, request.param)


KINDS = ("clusters", "jobs", "fileServers")
ACTIONS = {"clusters": ("listRemoteLoginInformation",), "fileServers": ()}
ACTIONS["jobs"] = ("terminate", "listOutputFiles", "listRemoteLoginInformation")
CODES = {"clusters": "ClusterNotFound", "jobs": "JobNotFound", "fileServers": "FileServerNotFound"}


class TestMissing:
    @pytest.mark.parametrize("kind", KINDS)
    def test_each_kind(self, places, kind):
        path, code = places.path(kind, "absent"), "ResourceNotFound" if places.flat else CODES[kind]
        asked = [("GET", path), *(("POST", f"{path}/{action}") for action in ACTIONS[kind])]
        for method, target in asked:
            answer = places.refused(404, code, method, target)
            message = answer.json()["error"]["message"]
            gateway = answer.headers.get("x-ms-failure-cause")
            if places.flat:
                what = f"'Microsoft.BatchAI/{kind}/absent' under resource group '{places.lab.group}'"
                assert (message, gateway) == (f"The Resource {what} was not found.", "gateway")
            else:
                words = {"clusters": "cluster", "jobs": "job", "fileServers": "file server"}[kind]
                assert (message, gateway) == (f"The specified {words} absent is not found", None)
        assert places.arm.ask("DELETE", path, version=places.version).status_code == 204
        if kind == "clusters":
            places.refused(404, code, "PATCH", path, {"properties": {}})

    def test_what_is_around_them(self, lab):
        arm, root = lab.arm, lab.arm.provider(lab.group)
        for path, code in (
            (f"{root}/workspaces/absent", "WorkspaceNotFound"),
            (f"{root}/workspaces/absent/clusters/c", "WorkspaceNotFound"),
            (f"{root}/workspaces/absent/clusters", "WorkspaceNotFound"),
            (f"{root}/workspaces/absent/experiments", "WorkspaceNotFound"),
            (f"{root}/workspaces/absent/experiments/e", "WorkspaceNotFound"),
            (f"{lab.workspace}/experiments/absent", "ExperimentNotFound"),
            (f"{lab.workspace}/experiments/absent/jobs", "ExperimentNotFound"),
            (f"{lab.workspace}/experiments/absent/jobs/j", "ExperimentNotFound"),
            (f"{arm.provider('absent')}/workspaces", "ResourceGroupNotFound"),
        ):
            answer = arm.ask("GET", path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, code), path
            assert "absent" in answer.json()["error"]["message"]

    @pytest.mark.parametrize("kind", KINDS)
    def test_creating_in_a_group_that_is_not_there(self, places, kind):
        path = places.path(kind, "new").replace(places.lab.group, "absent")
        places.refused(404, "ResourceGroupNotFound", "PUT", path, places.body(kind))


class TestConflicts:
    @pytest.mark.parametrize("kind", KINDS)
    def test_the_name_is_taken_by_another(self, places, kind):
        path, other = places.path(kind, unique("taken")), {"vmSize": "STANDARD_NC6"}
        made = places.arm.ask("PUT", path, places.body(kind), places.version)
        assert made.status_code in (200, 202), made.text
        changed = places.body(kind, **({"nodeCount": 2} if kind == "jobs" else other))
        name = path.rpartition("/")[2]
        error = places.refused(409, "Conflict", "PUT", path, changed).json()["error"]
        assert name in error["message"]
        again = places.arm.ask("PUT", path, places.body(kind), places.version)
        assert again.status_code in (200, 202), again.text

    def test_what_is_being_deleted_takes_nothing_in(self, arm):
        lab = Lab(arm)
        lab.reaches(lab.submit("trap 'sleep 2' TERM; sleep 600 & wait; sleep 600"), "running")
        assert arm.ask("DELETE", lab.workspace).status_code == 202
        for path, body in (
            (lab.workspace, {"location": "eastus"}),
            (f"{lab.workspace}/experiments/new", None),
            (f"{lab.workspace}/clusters/new", {"properties": cluster_properties(arm.service, lab.share, 0)}),
            (f"{lab.workspace}/fileServers/new", {"properties": FILE_SERVER}),
        ):
            answer = arm.ask("PUT", path, body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (409, "Conflict"), path
            assert "ws is being deleted" in answer.json()["error"]["message"]


def test_a_quota_that_is_hit(new_service):
    service = new_service({"quotas": {"Clusters": 1}}).up()
    arm = Arm(service)
    root = arm.provider(arm.group())
    properties = {"vmSize": "STANDARD_D1", "userAccountSettings": {"adminUserName": "u"}}
    properties["scaleSettings"] = {"manual": {"targetNodeCount": 0}}
    body = {"location": "eastus", "properties": properties}
    arm.put(f"{root}/clusters/one", body, FLAT[0])
    arm.put(f"{root}/workspaces/ws", {"location": "eastus"})
    for path, version in ((f"{root}/clusters/two", FLAT[1]), (f"{root}/workspaces/ws/clusters/two", NEWEST)):
        answer = arm.ask("PUT", path, body, version)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "ClusterQuotaReached")
        message = answer.json()["error"]["message"]
        assert "Microsoft.BatchAI/clusters" in message
        assert "Maximum allowed: 1, Current in use: 1" in message
        assert arm.gone(path, version)


class TestBodies:
    """Of requests that are no JSON, or more than that."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_properties_that_are_not_known_are_ignored(self, places, kind):
        path, body = places.path(kind, unique("more")), places.body(kind)
        body |= {"$schema": "x", "unknown": [1], "name": "another", "id": 7, "type": None}
        body["properties"] |= {"unknown": {"a": 1}, "provisioningState": "failed", "creationTime": "never"}
        answer = places.arm.ask("PUT", path, body, places.version)
        assert answer.status_code in (200, 202), answer.text
        found = places.arm.get(path, places.version)
        assert (found["name"], found["id"].lower()) == (path.rpartition("/")[2], path.lower())
        assert "unknown" not in str(found)
        # They are not part of what must be the same when the request is repeated.
        same = places.arm.ask("PUT", path, places.body(kind), places.version)
        assert same.status_code in (200, 202), same.text

    @pytest.mark.parametrize(
        "media_type", ["text/plain", "application/xml", "application/x-www-form-urlencoded"]
    )
    @pytest.mark.parametrize("kind", KINDS)
    def test_of_another_type(self, places, kind, media_type):
        path = places.path(kind, "new")
        headers = {"Content-Type": f"{media_type}; charset=utf-8"}
        answer = places.refused(
            415, "UnsupportedMediaType", "PUT", path, places.body(kind), headers=headers, content=None
        )
        assert media_type in answer.json()["error"]["message"]
        assert places.arm.gone(path, places.version)

    @pytest.mark.parametrize(
        "media_type", ["application/json", "text/json", "application/merge-patch+json", ""]
    )
    def test_of_types_that_are_json(self, lab, media_type):
        headers = {"Content-Type": media_type}
        answer = lab.arm.ask("PUT", lab.workspace, {"location": "eastus"}, headers=headers)
        assert answer.status_code == 200, answer.text

    def test_what_takes_no_body_takes_any(self, lab):
        headers = {"Content-Type": "text/plain"}
        answer = lab.arm.ask("PUT", lab.experiment, headers=headers, content=b"\xff{")
        assert answer.status_code == 200, answer.text


class TestNames:
    @pytest.mark.parametrize("name", ["a%00b", "%F0%9F%92%A9", "a.b", "%20", "a%2fb", "n" * 65])
    def test_odd_ones_of_workspaces_and_experiments(self, lab, name):
        workspaces = lab.workspace.rpartition("/")[0]
        for path, target in (
            (f"{workspaces}/{name}", "workspaceName"),
            (f"{lab.workspace}/experiments/{name}", "experimentName"),
        ):
            answer = lab.arm.ask("PUT", path, {"location": "eastus"})
            error = answer.json()["error"]
            assert (answer.status_code, error["code"], error["target"]) == (
                400,
                "InvalidResourceName",
                target,
            )

    @pytest.mark.parametrize(
        "name", ["a%00b", "%F0%9F%92%A9", "%ff", "a%0Ab", "%20", "%E2%80%AE", "caf%C3%A9%21"]
    )
    @pytest.mark.parametrize("kind", KINDS)
    def test_odd_ones(self, places, kind, name):
        path = places.path(kind, name)
        error = places.refused(400, "InvalidResourceName", "PUT", path, places.body(kind)).json()["error"]
        assert (
            error["target"]
            == {"clusters": "clusterName", "jobs": "jobName", "fileServers": "fileServerName"}[kind]
        )
        assert places.arm.ask("GET", path, version=places.version).status_code == 404
        assert places.arm.ask("DELETE", path, version=places.version).status_code == 204

    @pytest.mark.parametrize("kind", KINDS)
    def test_dots_are_of_the_older_versions(self, places, kind):
        path = places.path(kind, unique("with.dot"))
        answer = places.arm.ask("PUT", path, places.body(kind), places.version)
        assert (answer.status_code < 300) is places.flat, answer.text


class TestIds:
    """Of bodies, that lead elsewhere."""

    @pytest.fixture
    def elsewhere(self, lab):
        own = lab.arm.subscription.rpartition("/")[2]
        return lambda path: path.replace(own, "00000000-0000-0000-0000-000000000000")

    def test_a_cluster_of_another_subscription(self, places, elsewhere):
        cluster = {"id": elsewhere(places.lab.cluster)}
        path, body = places.path("jobs", "new"), places.body("jobs", cluster=cluster)
        error = places.refused(404, "ClusterNotFound", "PUT", path, body).json()["error"]
        assert error["target"] == "properties.cluster.id"

    def test_a_file_server_of_another_subscription(self, places, elsewhere):
        server = places.path("fileServers", unique("nfs"))
        made = places.arm.ask("PUT", server, places.body("fileServers"), places.version)
        assert made.status_code == 202, made.text
        volumes = mount(places.arm.service, places.lab.share)
        for path, status in ((elsewhere(server), 400), (server, 200)):
            volumes["fileServers"] = [{"fileServer": {"id": path}, "relativeMountPath": "nfs"}]
            body = places.body("clusters", nodeSetup={"mountVolumes": volumes})
            answer = places.arm.ask("PUT", places.path("clusters", unique("nfs")), body, places.version)
            assert answer.status_code == status, answer.text
            if status == 400:
                wanted = "properties.nodeSetup.mountVolumes.fileServers.0.fileServer.id"
                assert answer.json()["error"]["target"] == wanted


class TestQueries:
    @pytest.mark.parametrize("version", ["2018-0\u0665-01", "2018-05-01\n", "2018-05-01-", "18-05-01", "*"])
    def test_api_versions_that_are_none(self, arm, version):
        """One of them goes into the headers of an accepted delete."""
        path = arm.group_path(arm.group())
        answer = arm.ask("DELETE", path, version=version)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidApiVersionParameter")
        assert arm.get(path)["properties"]["provisioningState"] == "Succeeded"

    def test_an_output_directory_that_the_job_has_not(self, places):
        path = places.path("jobs", unique("outputs"))
        outputs = [{"id": "MODEL", "pathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/afs"}]
        made = places.arm.ask("PUT", path, places.body("jobs", outputDirectories=outputs), places.version)
        assert made.status_code == 200, made.text
        for wrong in ("model", "nothing", ""):
            answer = places.refused(
                400,
                "InvalidPropertyValue",
                "POST",
                f"{path}/listOutputFiles",
                query={"outputdirectoryid": wrong},
            )
            error = answer.json()["error"]
            assert (error["target"], f"'{wrong}'" in error["message"]) == ("outputdirectoryid", True)
            assert {detail["message"] for detail in error["details"]} == {"stdouterr", "MODEL"}

    @pytest.mark.parametrize("value", ["0", "1001", "-1", "x", "1.5", "1e3", " 1", "٣", "9" * 30])
    @pytest.mark.parametrize("kind", KINDS)
    def test_page_sizes_that_are_none(self, places, kind, value):
        target = places.path(kind, "x").rpartition("/")[0]
        answer = places.refused(400, "InvalidPropertyValue", "GET", target, query={"maxresults": value})
        assert answer.json()["error"]["target"] == "maxresults"

    @pytest.mark.parametrize("kind", KINDS)
    def test_pages(self, places, kind):
        """However small the pages, together they are the list."""
        target = places.path(kind, "x").rpartition("/")[0]
        whole = [item["name"] for item in places.arm.get(target, places.version)["value"]]
        assert len(whole) >= 2
        answer, found = (
            places.arm.ask("GET", target, version=places.version, query={"maxresults": "1"}).json(),
            [],
        )
        for _ in whole:
            [item] = answer["value"]
            found.append(item["name"])
            if "nextLink" not in answer:
                break
            answer = places.arm.ask("GET", answer["nextLink"], version=None).json()
        assert found == whole
        assert "nextLink" not in answer

    @pytest.mark.parametrize("version", FLAT)
    def test_filters_and_selections_of_the_older_versions(self, lab, version):
        places = Places(lab, version)
        names = [unique("asked"), unique("asked")]
        for name, size in zip(names, ("STANDARD_D1", "STANDARD_D2"), strict=True):
            lab.arm.put(places.path("clusters", name), places.body("clusters", vmSize=size), version)
        target = places.path("clusters", "x").rpartition("/")[0]

        def asked(**query):
            query = {f"${name}": text for name, text in query.items()}
            return lab.arm.ask("GET", target, version=version, query=query)

        found = asked(filter="vmSize eq 'standard_d2' and startswith(name, 'asked')", select="name,vmSize")
        assert found.status_code == 200, found.text
        [cluster] = [item for item in found.json()["value"] if item["name"] in names]
        assert set(cluster) == {"id", "name", "type", "properties"}
        assert (cluster["name"], cluster["properties"]) == (names[1], {"vmSize": "STANDARD_D2"})
        refused = asked(filter="vmSize like 'x'")
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "InvalidFilterInQueryString")
