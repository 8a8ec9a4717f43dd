"""The management plane by plain HTTPS requests: every byte of the question is the test's own."""

import itertools
import os
from typing import Any

import requests

from . import contract
from .service import Service
from .waiting import until

Json = dict[str, Any]
NEWEST = "2018-05-01"
VERSIONS = ("2017-09-01-preview", "2018-03-01", NEWEST)
FINISHED = ("succeeded", "failed")
_numbers = itertools.count(1)


def unique(prefix: str) -> str:
    """A name that no other test of this run uses."""
    return f"{prefix}{next(_numbers)}"


class Arm:
    """`answers` keeps every JSON answer, for tests that look through all of them."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.verify = service.endpoint["ca_bundle"]
        self.answers: list[Json] = []
        self._token = ""

    @property
    def subscription(self) -> str:
        return f"/subscriptions/{self.service.endpoint['subscription_id']}"

    def group_path(self, group: str) -> str:
        return f"{self.subscription}/resourceGroups/{group}"

    def provider(self, group: str) -> str:
        return f"{self.group_path(group)}/providers/Microsoft.BatchAI"

    def token(self, resource: str = "https://management.core.windows.net/") -> str:
        endpoint = self.service.endpoint
        form = {
            "grant_type": "client_credentials",
            "client_id": endpoint["client_id"],
            "client_secret": endpoint["client_secret"],
            "resource": resource,
        }
        url = f"{endpoint['authority']}/{endpoint['tenant']}/oauth2/token"
        answer = self.http.post(url, data=form, timeout=30)
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        version: str | None = NEWEST,
        headers: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
        content: bytes | None = None,
    ) -> requests.Response:
        self._token = self._token or self.token()
        answer = self.http.request(
            method,
            path if path.startswith("https:") else self.service.endpoint["arm"] + path,
            params={**({"api-version": version} if version else {}), **(query or {})},
            json=body if content is None else None,
            data=content,
            headers={"Authorization": f"Bearer {self._token}", **(headers or {})},
            timeout=60,
        )
        if answer.content:
            self.answers.append(answer.json())
        if version is not None and not path.startswith("https:"):
            test = os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0]
            found = answer.json() if answer.content else None
            contract.judge(version, method, path, body, answer.status_code, found, test)
        return answer

    def get(self, path: str, version: str = NEWEST) -> Json:
        answer = self.ask("GET", path, version=version)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def put(self, path: str, body: Any, version: str = NEWEST) -> Json:
        answer = self.ask("PUT", path, body, version)
        assert answer.status_code in (200, 201), answer.text
        return dict(answer.json())

    def gone(self, path: str, version: str = NEWEST) -> bool:
        return self.ask("GET", path, version=version).status_code == 404

    def delete(self, path: str, version: str = NEWEST) -> None:
        """DELETE, and wait for the end of the operation."""
        answer = self.ask("DELETE", path, version=version)
        assert answer.status_code in (202, 204), answer.text
        until(lambda: self.gone(path, version), f"an end of {path}")

    def group(self, prefix: str = "group") -> str:
        name = unique(prefix)
        self.put(self.group_path(name), {"location": "eastus"})
        return name


class Lab:
    """A workspace and an experiment with a share mounted on its cluster, for the tests of one module."""

    def __init__(self, arm: Arm, nodes: int = 1, **cluster: Any) -> None:
        self.arm = arm
        self.group = arm.group()
        self.workspace = f"{arm.provider(self.group)}/workspaces/ws"
        arm.put(self.workspace, {"location": "eastus"})
        self.experiment = f"{self.workspace}/experiments/ex"
        arm.put(self.experiment, {})
        self.share = unique("share")
        make_share(arm.service, self.share)
        self.cluster = self.new_cluster("cl", nodes, **cluster)

    def new_cluster(self, name: str, nodes: int = 1, **properties: Any) -> str:
        """Create a cluster with the lab's share at `afs`; its path."""
        path = f"{self.workspace}/clusters/{name}"
        self.arm.put(
            path, {"properties": cluster_properties(self.arm.service, self.share, nodes) | properties}
        )
        return path

    def job_properties(self, command: str = "true", **properties: Any) -> Json:
        toolkit = {"customToolkitSettings": {"commandLine": command}}
        if any(name.endswith("Settings") and name != "containerSettings" for name in properties):
            toolkit = {}
        return {
            "cluster": {"id": self.cluster},
            "nodeCount": 1,
            "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/afs",
            **toolkit,
            **properties,
        }

    def submit(self, command: str = "true", name: str | None = None, **properties: Any) -> str:
        """Create a job; its path."""
        path = f"{self.experiment}/jobs/{name or unique('job')}"
        self.arm.put(path, {"properties": self.job_properties(command, **properties)})
        return path

    def state(self, job: str) -> str:
        return str(self.arm.get(job)["properties"]["executionState"])

    def reaches(self, job: str, *states: str, limit_s: float = 60) -> Json:
        """The job's properties once it is in one of the states."""

        def check() -> Json | None:
            properties = self.arm.get(job)["properties"]
            assert properties["executionState"] in states or properties["executionState"] not in FINISHED, (
                properties
            )
            return properties if properties["executionState"] in states else None

        return until(check, f"{job} in {' or '.join(states)}", limit_s)

    def finished(self, job: str, limit_s: float = 60) -> Json:
        return self.reaches(job, *FINISHED, limit_s=limit_s)

    def succeeds(self, command: str, **properties: Any) -> str:
        """Run a job to its end; its stdout."""
        job = self.submit(command, **properties)
        info = self.finished(job)
        assert info["executionState"] == "succeeded", (info, self.output(job, "stderr.txt"))
        return self.output(job)

    def files(
        self, job: str, directory_id: str = "stdouterr", version: str = NEWEST, **query: str
    ) -> list[Json]:
        query = {"outputdirectoryid": directory_id, **query}
        answer = self.arm.ask("POST", f"{job}/listOutputFiles", version=version, query=query)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["value"])

    def output(self, job: str, name: str = "stdout.txt") -> str:
        """An output file as a client reads it: listed, then fetched by its URL."""
        [url] = [file["downloadUrl"] for file in self.files(job) if file["name"] == name]
        answer = self.arm.http.get(url, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.text

    def job_directory(self, job: str) -> Any:
        """Where the job's stdouterr and outputs are on this machine."""
        segment = self.arm.get(job)["properties"]["jobOutputDirectoryPathSegment"]
        return self.arm.service.share(self.share) / segment


def mount(service: Service, share: str, **changes: Any) -> Json:
    reference = {
        "accountName": service.account,
        "azureFileUrl": f"https://{service.account}.file.core.windows.net/{share}",
        "credentials": {"accountKey": service.key},
        "relativeMountPath": "afs",
        **changes,
    }
    return {"azureFileShares": [reference]}


def cluster_properties(service: Service, share: str, nodes: int = 1) -> Json:
    return {
        "vmSize": "STANDARD_D1",
        "scaleSettings": {"manual": {"targetNodeCount": nodes}},
        "userAccountSettings": {"adminUserName": "admin", "adminUserPassword": "a-password-of-the-admin"},
        "nodeSetup": {"mountVolumes": mount(service, share)},
    }


def make_share(service: Service, name: str) -> None:
    with _shares(service) as client:
        client.create_share(name)


def remove_share(service: Service, name: str) -> None:
    with _shares(service) as client:
        client.delete_share(name)


def _shares(service: Service) -> Any:
    from azure.storage.fileshare import ShareServiceClient

    return ShareServiceClient(f"{service.endpoint['file']}/{service.account}", credential=service.key)
