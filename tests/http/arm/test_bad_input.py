"""Bad input at the management plane: status, code, a message that names the thing, and nothing changed."""

import copy
import json
import socket
import ssl
from http.client import HTTPResponse
from urllib.parse import unquote, urlsplit

import pytest
from harness.arm import NEWEST, VERSIONS, cluster_properties, make_share, mount, remove_share, unique
from harness.waiting import until


@pytest.fixture
def refused(arm, lab):
    """Asks, and checks that the answer is this refusal and that nothing was created or changed by it."""

    def ask(method, path, status, code, *named, body=None, version=NEWEST, **options):
        before = everything(arm, lab)
        answer = arm.ask(method, path, body, version, **options)
        assert answer.status_code == status, answer.text
        error = answer.json()["error"]
        assert error["code"] == code
        said = f"{error['message']} {error.get('target', '')}"
        assert [name for name in named if name not in said] == []
        assert everything(arm, lab) == before
        return error

    return ask


def everything(arm, lab):
    """What the lab's workspace holds, without what passes by itself."""
    found = [arm.get(f"{lab.workspace}/{kind}")["value"] for kind in ("clusters", "experiments")]
    jobs = arm.get(f"{lab.experiment}/jobs")["value"]
    names = [[item["name"] for item in items] for items in (*found, jobs)]
    groups = [group["name"] for group in arm.get(f"{arm.subscription}/resourcegroups")["value"]]
    return names, groups, [job["properties"]["creationTime"] for job in jobs]


def new_job(lab):
    return f"{lab.experiment}/jobs/{unique('refused')}"


class TestJob:
    def test_an_unknown_cluster(self, lab, refused):
        cluster = lab.cluster + "x"
        body = {"properties": lab.job_properties(cluster={"id": cluster})}
        refused("PUT", new_job(lab), 404, "ClusterNotFound", cluster, "properties.cluster.id", body=body)

    def test_a_cluster_id_that_is_none(self, lab, refused):
        body = {"properties": lab.job_properties(cluster={"id": "not-an-id"})}
        refused("PUT", new_job(lab), 404, "ClusterNotFound", "not-an-id", body=body)

    def test_a_cluster_of_another_subscription(self, lab, refused):
        cluster = lab.cluster.replace(lab.arm.service.endpoint["subscription_id"], "0" * 8)
        body = {"properties": lab.job_properties(cluster={"id": cluster})}
        refused("PUT", new_job(lab), 404, "ClusterNotFound", cluster, body=body)

    def test_no_toolkit(self, lab, refused):
        properties = lab.job_properties()
        del properties["customToolkitSettings"]
        error = refused(
            "PUT",
            new_job(lab),
            400,
            "InvalidPropertyValue",
            "none is given",
            body={"properties": properties},
        )
        assert "customToolkitSettings" in [detail["message"] for detail in error["details"]]

    def test_two_toolkits(self, lab, refused):
        properties = lab.job_properties(
            customToolkitSettings={"commandLine": "true"},
            cntkSettings={"pythonScriptFilePath": "x.py"},
        )
        named = ("cntkSettings", "customToolkitSettings")
        refused("PUT", new_job(lab), 400, "InvalidPropertyValue", *named, body={"properties": properties})

    @pytest.mark.parametrize("count", [0, -1, 1.5, "many", None])
    def test_a_node_count_that_is_none(self, lab, refused, count):
        body = {"properties": lab.job_properties(nodeCount=count)}
        refused("PUT", new_job(lab), 400, "InvalidPropertyValue", "properties.nodeCount", body=body)

    @pytest.mark.parametrize("missing", ["cluster", "nodeCount", "stdOutErrPathPrefix"])
    def test_a_missing_property(self, lab, refused, missing):
        properties = lab.job_properties()
        del properties[missing]
        refused(
            "PUT",
            new_job(lab),
            400,
            "InvalidPropertyValue",
            f"properties.{missing}",
            body={"properties": properties},
        )

    @pytest.mark.parametrize(
        "name", ["with.dot", "with%20space", "a" * 65, "semi%3Bcolon", "%2E%2E", "a%2Fb"]
    )
    def test_invalid_names(self, lab, refused, name):
        path = f"{lab.experiment}/jobs/{name}"
        body = {"properties": lab.job_properties()}
        refused("PUT", path, 400, "InvalidResourceName", unquote(name), body=body)

    def test_a_name_taken_with_other_content(self, lab, refused):
        job = lab.submit("echo one")
        body = {"properties": lab.job_properties("echo two")}
        before = lab.finished(job)
        refused("PUT", job, 409, "Conflict", job.rpartition("/")[2], body=body)
        assert lab.arm.get(job)["properties"] == before

    def test_the_same_content_again_is_no_new_job(self, lab):
        job = lab.submit("echo $RANDOM$RANDOM")
        lab.finished(job)
        before, out = lab.arm.get(job), lab.output(job)
        assert lab.arm.put(job, {"properties": lab.job_properties("echo $RANDOM$RANDOM")}) == before
        assert lab.output(job) == out

    @pytest.mark.parametrize("path", ["no/id", "..", "a b"])
    def test_a_directory_id_that_can_be_no_variable(self, lab, refused, path):
        directories = [{"id": path, "pathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/afs"}]
        body = {"properties": lab.job_properties(outputDirectories=directories)}
        refused(
            "PUT",
            new_job(lab),
            400,
            "InvalidPropertyValue",
            f"'{path}'",
            "properties.outputDirectories.0.id",
            body=body,
        )

    def test_a_wall_clock_limit_that_is_no_duration(self, lab, refused):
        body = {"properties": lab.job_properties(constraints={"maxWallClockTime": "soon"})}
        refused("PUT", new_job(lab), 400, "InvalidPropertyValue", "soon", "maxWallClockTime", body=body)

    @pytest.mark.parametrize("limit", ["P99999999999999W", "P0D", "PT0S"])
    def test_a_wall_clock_limit_that_is_too_long_or_nothing(self, lab, refused, limit):
        body = {"properties": lab.job_properties(constraints={"maxWallClockTime": limit})}
        refused("PUT", new_job(lab), 400, "InvalidPropertyValue", "maxWallClockTime", body=body)

    def test_two_input_directories_of_one_id(self, lab, refused):
        inputs = [{"id": "A", "path": path} for path in ("/a", "/b")]
        body = {"properties": lab.job_properties(inputDirectories=inputs)}
        refused("PUT", new_job(lab), 400, "InvalidPropertyValue", "inputDirectories", body=body)

    def test_more_processes_than_any_cluster_runs(self, lab, refused):
        settings = {"commandLine": "true", "processCount": 2**31 - 1}
        body = {"properties": lab.job_properties(customMpiSettings=settings)}
        refused("PUT", new_job(lab), 400, "InvalidPropertyValue", "processCount", body=body)

    @pytest.mark.parametrize("url", ["https://[x/share", "https://acct.file.core.windows.net//"])
    def test_a_mount_of_something_that_is_no_share(self, lab, refused, url):
        volumes = mount(lab.arm.service, lab.share, azureFileUrl=url, relativeMountPath="other")
        body = {"properties": lab.job_properties(mountVolumes=volumes)}
        refused("PUT", new_job(lab), 400, "InvalidPropertyValue", "azureFileUrl", body=body)

    def test_a_missing_job(self, lab, refused):
        for method, path in (("GET", ""), ("POST", "/terminate"), ("POST", "/listOutputFiles")):
            job = f"{lab.experiment}/jobs/absent"
            refused(method, job + path, 404, "JobNotFound", "absent")

    @pytest.mark.parametrize("version", VERSIONS[:2])
    def test_a_missing_job_in_the_flat_versions(self, lab, refused, version):
        path = f"{lab.arm.provider(lab.group)}/jobs/absent"
        named = ("Microsoft.BatchAI/jobs/absent", lab.group)
        refused("GET", path, 404, "ResourceNotFound", *named, version=version)


@pytest.fixture(scope="module")
def job(lab):
    """A finished job."""
    job = lab.submit("mkdir $AZ_BATCHAI_STDOUTERR_DIR/..data")
    lab.finished(job)
    return job


class TestOutputFiles:
    @pytest.mark.parametrize("directory", ["..", "../..", "a/../../b", "../../../../../..", "/../.."])
    def test_a_directory_outside(self, lab, job, directory):
        answer = lab.arm.ask(
            "POST",
            f"{job}/listOutputFiles",
            query={"outputdirectoryid": "stdouterr", "directory": directory},
        )
        assert answer.status_code == 400, answer.text
        error = answer.json()["error"]
        assert (error["code"], error["target"]) == ("InvalidPropertyValue", "directory")
        assert directory in error["message"]

    def test_dots_that_begin_a_name_lead_nowhere_else(self, lab, job):
        assert lab.files(job, directory="..data") == []
        assert "..data" in [file["name"] for file in lab.files(job)]

    def test_a_link_out_of_the_share_is_not_followed(self, lab, tmp_path):
        (tmp_path / "outside").write_text("not yours")
        job = lab.submit(f"ln -s {tmp_path} $AZ_BATCHAI_STDOUTERR_DIR/way")
        lab.finished(job)
        answer = lab.arm.ask(
            "POST",
            f"{job}/listOutputFiles",
            query={"outputdirectoryid": "stdouterr", "directory": "way"},
        )
        assert answer.status_code in (200, 400), answer.text
        assert "outside" not in answer.text

    def test_an_unknown_directory_id(self, lab, job, refused):
        refused(
            "POST",
            f"{job}/listOutputFiles",
            400,
            "InvalidPropertyValue",
            "'nothing'",
            query={"outputdirectoryid": "nothing"},
        )

    def test_without_directory_id(self, lab, job, refused):
        refused("POST", f"{job}/listOutputFiles", 400, "InvalidPropertyValue", "outputdirectoryid")

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("linkexpiryinminutes", "4"),
            ("linkexpiryinminutes", "601"),
            ("maxresults", "0"),
            ("maxresults", "x"),
        ],
    )
    def test_numbers_out_of_range(self, lab, job, refused, name, value):
        query = {"outputdirectoryid": "stdouterr", name: value}
        refused("POST", f"{job}/listOutputFiles", 400, "InvalidPropertyValue", name, value, query=query)

    def test_a_directory_on_no_share(self, lab, refused):
        job = lab.submit("true", stdOutErrPathPrefix="$AZ_BATCHAI_JOB_TEMP")
        lab.finished(job)
        query = {"outputdirectoryid": "stdouterr"}
        refused("POST", f"{job}/listOutputFiles", 400, "InvalidPropertyValue", "stdouterr", query=query)


class TestCluster:
    def body(self, lab, **changes):
        properties = copy.deepcopy(lab.arm.get(lab.cluster)["properties"])
        properties["userAccountSettings"]["adminUserPassword"] = "a-password-of-the-admin"
        properties["nodeSetup"] = {"mountVolumes": mount(lab.arm.service, lab.share)}
        return {"properties": {**properties, **changes}}

    def path(self, lab, name=None):
        return f"{lab.workspace}/clusters/{name or unique('refused')}"

    def test_an_unknown_vm_size(self, lab, refused):
        body = self.body(lab, vmSize="STANDARD_HUGE")
        error = refused(
            "PUT",
            self.path(lab),
            400,
            "InvalidPropertyValue",
            "STANDARD_HUGE",
            "properties.vmSize",
            body=body,
        )
        assert "STANDARD_NC6" in str(error["details"])

    def test_two_ways_to_scale(self, lab, refused):
        both = {"manual": {"targetNodeCount": 1}, "autoScale": {"minimumNodeCount": 0, "maximumNodeCount": 1}}
        body = self.body(lab, scaleSettings=both)
        refused("PUT", self.path(lab), 400, "InvalidPropertyValue", "manual", "autoScale", body=body)

    def test_a_minimum_above_the_maximum(self, lab, refused):
        settings = {"autoScale": {"minimumNodeCount": 2, "maximumNodeCount": 1}}
        body = self.body(lab, scaleSettings=settings)
        refused("PUT", self.path(lab), 400, "InvalidPropertyValue", "minimumNodeCount", body=body)

    @pytest.mark.parametrize(
        "scale",
        [
            {"manual": {"targetNodeCount": 2**31 - 1}},
            {"autoScale": {"minimumNodeCount": 0, "maximumNodeCount": 2**31 - 1}},
        ],
    )
    def test_more_nodes_than_any_cluster_has(self, lab, refused, scale):
        body = self.body(lab, scaleSettings=scale)
        refused("PUT", self.path(lab), 400, "InvalidPropertyValue", "odeCount", body=body)

    @pytest.mark.parametrize("node_setup", ["text", [1], 7])
    @pytest.mark.parametrize("version", VERSIONS[:2])
    def test_a_node_setup_that_is_no_object(self, lab, refused, node_setup, version):
        body = {"location": "eastus", **self.body(lab, nodeSetup=node_setup)}
        path = f"{lab.arm.provider(lab.group)}/clusters/{unique('refused')}"
        refused("PUT", path, 400, "InvalidPropertyValue", "nodeSetup", body=body, version=version)

    def test_a_negative_target(self, lab, refused):
        body = self.body(lab, scaleSettings={"manual": {"targetNodeCount": -1}})
        refused("PUT", self.path(lab), 400, "InvalidPropertyValue", "targetNodeCount", body=body)

    @pytest.mark.parametrize("path", ["..", "../x", "a/../../b", "/", ""])
    def test_a_mount_path_outside_the_mount_root(self, lab, refused, path):
        setup = {"mountVolumes": mount(lab.arm.service, lab.share, relativeMountPath=path)}
        refused(
            "PUT",
            self.path(lab),
            400,
            "InvalidPropertyValue",
            "relativeMountPath",
            body=self.body(lab, nodeSetup=setup),
        )

    def test_a_name_taken_with_other_content(self, lab, refused):
        body = self.body(lab, vmSize="STANDARD_NC6")
        refused("PUT", lab.cluster, 409, "Conflict", "cl", body=body)
        assert lab.arm.get(lab.cluster)["properties"]["vmSize"] == "STANDARD_D1"

    def test_a_missing_workspace(self, lab, refused):
        path = f"{lab.arm.provider(lab.group)}/workspaces/absent/clusters/c"
        refused("PUT", path, 404, "WorkspaceNotFound", "absent", body=self.body(lab))

    def test_a_missing_group(self, lab, refused):
        path = f"{lab.arm.provider('absent')}/workspaces/w"
        refused("PUT", path, 404, "ResourceGroupNotFound", "absent", body={"location": "eastus"})

    def test_a_missing_experiment(self, lab, refused):
        path = f"{lab.workspace}/experiments/absent/jobs/j"
        body = {"properties": lab.job_properties()}
        refused("PUT", path, 404, "ExperimentNotFound", "absent", body=body)


class TestMounts:
    """A mount that cannot work is refused at creation; one that stops working later shows when the node or
    the job is prepared, as on the real service."""

    WRONG = {"accountKey": "d3Jvbmc="}

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"credentials": WRONG}, "key"),
            ({"azureFileUrl": "https://any.file.core.windows.net/absent"}, "share 'absent' does not exist"),
            ({"accountName": "nobody"}, "account 'nobody' does not exist"),
        ],
    )
    @pytest.mark.parametrize("level", ["cluster", "job"])
    def test_what_cannot_work_is_named_at_creation(self, lab, refused, level, changes, reason):
        volumes = mount(lab.arm.service, lab.share, **changes)
        if level == "cluster":
            path = f"{lab.workspace}/clusters/{unique('refused')}"
            properties = cluster_properties(lab.arm.service, lab.share)
            body = {"properties": {**properties, "nodeSetup": {"mountVolumes": volumes}}}
        else:
            path = f"{lab.experiment}/jobs/{unique('refused')}"
            body = {"properties": lab.job_properties(mountVolumes=volumes)}
        refused("PUT", path, 400, "InvalidPropertyValue", "azureFileShares.0", body=body)
        assert reason in lab.arm.ask("PUT", path, body).json()["error"]["message"]

    def test_a_share_that_went_makes_new_nodes_unusable(self, lab):
        share = unique("passing")
        make_share(lab.arm.service, share)
        setup = {"mountVolumes": mount(lab.arm.service, share)}
        path = lab.new_cluster(unique("mount"), 0, nodeSetup=setup)
        remove_share(lab.arm.service, share)
        resized = {"properties": {"scaleSettings": {"manual": {"targetNodeCount": 1}}}}
        assert lab.arm.ask("PATCH", path, resized).status_code == 200
        errors = until(lambda: lab.arm.get(path)["properties"].get("errors"), "an error of the cluster")
        assert lab.arm.get(path)["properties"]["nodeStateCounts"]["unusableNodeCount"] == 1
        self.names(errors[0], lab.arm.service.account, share)
        assert "share" in detail(errors[0], "Info").lower()

    def test_a_share_that_went_fails_the_job(self, lab):
        share = unique("passing")
        make_share(lab.arm.service, share)
        blocker = lab.submit("sleep 60")
        lab.reaches(blocker, "running")
        job = lab.submit("true", mountVolumes=mount(lab.arm.service, share))
        remove_share(lab.arm.service, share)
        lab.arm.delete(blocker)
        info = lab.finished(job)
        assert (info["executionState"], info["executionInfo"]["exitCode"]) == ("failed", -1)
        self.names(info["executionInfo"]["errors"][0], lab.arm.service.account, share)

    def test_with_the_right_key_the_same_job_runs(self, lab):
        share = unique("second")
        make_share(lab.arm.service, share)
        out = lab.succeeds(
            "echo there > $AZ_BATCHAI_JOB_MOUNT_ROOT/afs/file; cat $AZ_BATCHAI_JOB_MOUNT_ROOT/afs/file",
            mountVolumes=mount(lab.arm.service, share),
        )
        assert out == "there\n"
        assert (lab.arm.service.share(share) / "file").read_text() == "there\n"

    def names(self, error, account, share):
        assert error["code"] == "AZFMountError"
        assert error["message"] == "Unable to mount Azure File"
        assert (detail(error, "accountName"), detail(error, "shareName")) == (account, share)


def detail(error, name):
    [value] = [item["value"] for item in error["details"] if item["name"] == name]
    return value


class TestRequests:
    @pytest.mark.parametrize("content", [b"{", b"", b"\xff", b'{"properties": '])
    def test_malformed_json(self, lab, refused, content):
        refused("PUT", new_job(lab), 400, "InvalidRequestContent", content=content)

    @pytest.mark.parametrize("body", [[], "text", 1, None])
    def test_json_that_is_no_object(self, lab, refused, body):
        workspace = f"{lab.arm.provider(lab.group)}/workspaces/{unique('refused')}"
        content = json.dumps(body).encode()
        for method, path in (("PUT", new_job(lab)), ("PUT", workspace), ("PATCH", lab.workspace)):
            refused(method, path, 400, "InvalidRequestContent", content=content)

    def test_deeply_nested_json(self, lab, refused):
        refused("PUT", new_job(lab), 400, "InvalidRequestContent", content=b"[" * 100_000)

    def test_json_nested_deeper_than_any_property(self, lab, refused):
        content = b'{"properties": ' * 400 + b"1" + b"}" * 400
        refused("PUT", new_job(lab), 400, "InvalidRequestContent", content=content)

    @pytest.mark.parametrize("text", [r"\ud800", r"\u0000"])
    def test_text_that_is_no_text(self, arm, refused, text):
        """Half of a surrogate pair, once stored, could never be answered again."""
        for body in ({"location": "eastus", "tags": {"a": "X"}}, {"location": "eastus", "tags": {"X": "a"}}):
            content = json.dumps(body).replace("X", text).encode()
            refused("PUT", arm.group_path(unique("g")), 400, "InvalidRequestContent", content=content)

    @pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity"])
    def test_numbers_that_json_does_not_have(self, lab, refused, number):
        content = b'{"properties": {"nodeCount": ' + number + b"}}"
        refused("PUT", new_job(lab), 400, "InvalidRequestContent", content=content)

    @pytest.mark.parametrize("name", ["..%2f..", "a%2fb", "a%00b", "a%0d%0ab", "ends.", "a" * 91])
    def test_names_that_no_resource_group_has(self, arm, refused, name):
        body = {"location": "eastus"}
        refused("PUT", arm.group_path(name), 400, "InvalidResourceName", "resourceGroupName", body=body)

    def located(self, arm, lab):
        """Paths at which something with a location is created, with its api-version and type."""
        root = arm.provider(lab.group)
        storage = f"{arm.group_path(lab.group)}/providers/Microsoft.Storage/storageAccounts"
        return [
            (arm.group_path(unique("g")), NEWEST, None),
            (f"{root}/workspaces/{unique('w')}", NEWEST, "Microsoft.BatchAI/workspaces"),
            (f"{storage}/{unique('acct')}", NEWEST, "Microsoft.Storage/storageAccounts"),
            (f"{root}/clusters/{unique('c')}", VERSIONS[1], "Microsoft.BatchAI/Clusters"),
            (f"{root}/fileServers/{unique('f')}", VERSIONS[1], "Microsoft.BatchAI/FileServers"),
            (f"{root}/jobs/{unique('j')}", VERSIONS[0], "Microsoft.BatchAI/Jobs"),
        ]

    @pytest.mark.parametrize("location", [" ", 1, None])
    def test_locations_that_are_none(self, arm, lab, refused, location):
        body = {"location": location, "sku": {"name": "Standard_LRS"}}
        for path, version, _ in self.located(arm, lab):
            refused("PUT", path, 400, "InvalidPropertyValue", "location", body=body, version=version)

    @pytest.mark.parametrize("location", ["mars", "../../x", "a\r\nSet-Cookie: b=c", "é", "a/b"])
    def test_locations_that_no_region_has(self, arm, lab, refused, location):
        body = {"location": location, "sku": {"name": "Standard_LRS"}}
        for path, version, kind in self.located(arm, lab):
            code = "LocationNotAvailableForResourceType" if kind else "LocationNotAvailableForResourceGroup"
            named = (f"'{location}'", kind or "resource group", "eastus,", "location")
            refused("PUT", path, 400, code, *named, body=body, version=version)

    def test_a_region_without_usages(self, arm, refused):
        path = f"{arm.subscription}/providers/Microsoft.BatchAI/locations/mars/usages"
        refused("GET", path, 400, "LocationNotAvailableForResourceType", "mars", "eastus")

    def test_another_location_than_it_has(self, arm, lab, refused):
        root, body = arm.provider(lab.group), {"location": "West US 2"}
        refused("PUT", arm.group_path(lab.group), 409, "InvalidResourceGroupLocation", "West US 2", body=body)
        named = ("eastus", "West US 2")
        refused("PUT", lab.workspace, 409, "InvalidResourceLocation", *named, body=body)
        cluster = {"properties": cluster_properties(arm.service, lab.share, 0)}
        path = f"{root}/clusters/{unique('flat')}"
        arm.put(path, {"location": "eastus", **cluster}, VERSIONS[1])
        changed = {**body, **cluster}
        refused("PUT", path, 409, "InvalidResourceLocation", *named, body=changed, version=VERSIONS[1])

    def test_a_location_by_its_display_name(self, arm, lab):
        path = f"{arm.provider(lab.group)}/workspaces/{unique('w')}"
        arm.put(path, {"location": "East US"})
        assert arm.put(path, {"location": "eastus"})["location"] == "East US"
        accepted = arm.ask("DELETE", path)
        assert "/locations/eastus/" in accepted.headers["Location"]

    def test_a_query_that_is_no_utf8(self, arm):
        """Written to the socket as it is: clients would encode it."""
        url = urlsplit(arm.service.endpoint["arm"])
        context = ssl.create_default_context(cafile=arm.service.endpoint["ca_bundle"])
        target = f"{arm.subscription}/resourcegroups?api-version={NEWEST}&x=".encode() + b"\xff"
        head = f" HTTP/1.1\r\nHost: [\r\nAuthorization: Bearer {arm.token()}\r\nConnection: close\r\n\r\n"
        with (
            socket.create_connection((url.hostname, url.port), timeout=30) as plain,
            context.wrap_socket(plain, server_hostname=url.hostname) as connection,
        ):
            connection.sendall(b"GET " + target + head.encode())
            answer = HTTPResponse(connection)
            answer.begin()
            assert answer.status < 500

    def test_without_api_version(self, lab, refused):
        refused("GET", lab.cluster, 400, "MissingApiVersionParameter", "api-version", version=None)

    def test_an_unknown_api_version_lists_those_offered(self, lab, refused):
        named = ("2016-01-01", NEWEST)
        refused("GET", lab.cluster, 400, "NoRegisteredProviderFound", *named, version="2016-01-01")

    def test_an_api_version_that_is_none(self, lab, refused):
        refused("GET", lab.cluster, 400, "InvalidApiVersionParameter", "'new'", version="new")

    def test_a_path_of_another_version(self, lab, refused):
        path = f"{lab.arm.provider(lab.group)}/clusters/cl"
        named = ("clusters", *VERSIONS[:2])
        refused("GET", path, 400, "NoRegisteredProviderFound", *named)

    def test_an_unknown_subscription(self, lab, refused):
        path = lab.cluster.replace(lab.arm.service.endpoint["subscription_id"], "none")
        refused("GET", path, 404, "SubscriptionNotFound", "'none'")

    def test_an_unknown_type(self, lab, refused):
        refused("GET", f"{lab.workspace}/toasters/t", 404, "InvalidResourceType", "toasters")

    def test_a_method_that_is_not_allowed(self, lab, refused):
        refused("POST", lab.cluster, 405, "HttpMethodNotAllowed", "POST")

    def test_a_body_beyond_the_limit(self, lab, refused):
        refused("PUT", new_job(lab), 413, "InvalidRequestContent", content=b" " * (5 * 2**20))
