"""Bad input at the data plane of the running service, by plain requests and by the SDK of today."""

import base64
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.storage.blob import BlobServiceClient
from azure.storage.fileshare import (
    AccountSasPermissions,
    ResourceTypes,
    ShareServiceClient,
    generate_account_sas,
)
from harness.arm import make_share, unique

WRONG_KEY = base64.b64encode(b"not the key of this account").decode()


@pytest.fixture(scope="module")
def share(service):
    name = unique("plain")
    make_share(service, name)
    (service.share(name) / "file.txt").write_text("content")
    return name


def files(service, key):
    return ShareServiceClient(f"{service.endpoint['file']}/{service.account}", credential=key)


def tree(path):
    return {str(found): found.stat().st_mtime_ns for found in path.rglob("*")}


class TestWrongKey:
    def test_files(self, service, share):
        before = tree(service.home / "storage")
        for attempt in (
            lambda client: client.get_share_client(share).get_file_client("file.txt").download_file(),
            lambda client: client.get_share_client(share).get_file_client("new").upload_file(b"x"),
            lambda client: client.get_share_client(share).delete_share(),
            lambda client: client.create_share("another"),
        ):
            with files(service, WRONG_KEY) as client, pytest.raises(ClientAuthenticationError) as refusal:
                attempt(client)
            assert refusal.value.status_code == 403
            assert refusal.value.error_code == "AuthenticationFailed"
        assert tree(service.home / "storage") == before

    def test_blobs(self, service):
        url = f"{service.endpoint['blob']}/{service.account}"
        with (
            BlobServiceClient(url, credential=WRONG_KEY) as client,
            pytest.raises(ClientAuthenticationError) as refusal,
        ):
            client.create_container("another")
        assert (refusal.value.status_code, refusal.value.error_code) == (403, "AuthenticationFailed")

    def test_the_answer_names_no_secret(self, arm, service, share):
        url = f"{service.endpoint['file']}/{service.account}/{share}/file.txt"
        answer = arm.http.get(url, headers={"Authorization": f"SharedKey {service.account}:d3Jvbmc="})
        assert answer.status_code == 403
        assert "<Code>AuthenticationFailed</Code>" in answer.text
        assert service.key not in answer.text

    def test_without_any_authorization(self, arm, service, share):
        answer = arm.http.get(f"{service.endpoint['file']}/{service.account}/{share}/file.txt")
        assert answer.status_code in (401, 403, 404)
        assert "content" not in answer.text

    def test_a_key_of_another_account_name(self, service):
        url = f"{service.endpoint['file']}/nobodys"
        with (
            ShareServiceClient(url, credential=service.key) as client,
            pytest.raises(HttpResponseError) as refusal,
        ):
            client.create_share("another")
        assert refusal.value.status_code in (403, 404)


@pytest.fixture(scope="module")
def url(lab):
    """A link of listOutputFiles."""
    job = lab.submit("echo shown")
    lab.finished(job)
    [url] = [file["downloadUrl"] for file in lab.files(job) if file["name"] == "stdout.txt"]
    return url


class TestLinks:
    """The links of listOutputFiles: what they open, and nothing else."""

    def test_opens_without_any_header(self, arm, url):
        answer = arm.http.get(url)
        assert (answer.status_code, answer.text) == (200, "shown\n")

    def test_is_for_reading(self, arm, url):
        for method in ("PUT", "DELETE"):
            assert arm.http.request(method, url).status_code == 403
        assert arm.http.get(url).text == "shown\n"

    def test_is_for_this_file_alone(self, arm, url):
        answer = arm.http.get(url.replace("stdout.txt", "stderr.txt"))
        assert answer.status_code == 403
        assert "<Code>AuthenticationFailed</Code>" in answer.text

    def test_a_changed_expiry_or_permission_breaks_the_signature(self, arm, url):
        changes = {
            r"se=[^&]*": "se=" + quote("2099-01-01T00:00:00Z"),
            r"sp=[^&]*": "sp=rwdl",
            r"sig=.": "sig=",
        }
        for pattern, replacement in changes.items():
            changed = re.sub(pattern, replacement, url)
            assert changed != url
            assert arm.http.get(changed).status_code == 403

    def test_ranges_as_the_cli_asks_for_them(self, arm, url):
        part = arm.http.get(url, headers={"Range": "bytes=2-"})
        assert (part.status_code, part.text, part.headers["Content-Range"]) == (206, "own\n", "bytes 2-5/6")
        beyond = arm.http.get(url, headers={"Range": "bytes=6-"})
        assert beyond.status_code == 416
        assert "<Code>InvalidRange</Code>" in beyond.text


class TestTraversal:
    NAMES = (
        "../escaped",
        "../../escaped",
        "a/../../escaped",
        "..\\escaped",
        "%2e%2e/escaped",
        "%2e%2e%2fescaped",
        "..%2f..%2fescaped",
        "/etc/escaped",
        "a/./../../../escaped",
    )

    @pytest.mark.parametrize("name", NAMES)
    def test_no_name_leads_out_of_a_share(self, arm, service, share, name):
        outside = self.outside(service, share)
        sas = self.sas(service, share)
        for url in (
            f"{service.endpoint['file']}/{service.account}/{share}/{name}",
            f"{service.endpoint['file']}/{service.account}/{share}/x/{name}",
        ):
            # requests would tidy the dots away, as browsers do; an attacker would not.
            answer = self.put(arm, f"{url}?{sas}")
            assert answer.status_code < 500, answer.text
        assert self.outside(service, share) == outside

    def test_the_signature_of_these_requests_would_be_taken(self, arm, service, share):
        """Otherwise the test above would show nothing."""
        url = f"{service.endpoint['file']}/{service.account}/{share}/inside?{self.sas(service, share)}"
        assert self.put(arm, url).status_code == 201
        assert (service.share(share) / "inside").exists()

    def test_no_link_in_a_share_leads_out_of_it(self, arm, service, share, tmp_path):
        (tmp_path / "secret").write_text("of the machine")
        (service.share(share) / "way").symlink_to(tmp_path)
        sas = self.sas(service, share)
        base = f"{service.endpoint['file']}/{service.account}/{share}/way"
        assert "of the machine" not in arm.http.get(f"{base}/secret?{sas}").text
        assert self.put(arm, f"{base}/new?{sas}").status_code >= 400
        assert not (tmp_path / "new").exists()
        with files(service, service.key) as client, pytest.raises(ResourceNotFoundError):
            client.get_share_client(share).get_file_client("way/secret").download_file()

    def put(self, arm, url):
        request = requests.Request("PUT", url, headers={"x-ms-type": "file", "x-ms-content-length": "1"})
        prepared = arm.http.prepare_request(request)
        prepared.url = url
        return arm.http.send(prepared)

    def sas(self, service, share):
        return generate_account_sas(
            service.account,
            service.key,
            resource_types=ResourceTypes(object=True, container=True),
            permission=AccountSasPermissions(read=True, write=True, create=True, list=True, delete=True),
            expiry=datetime.now(UTC) + timedelta(hours=1),
        )

    def outside(self, service, share):
        inside = service.share(share)
        found = {*service.home.rglob("*escaped*"), *service.home.parent.glob("*escaped*")}
        return {path for path in found if not path.is_relative_to(inside)}


class TestMetadataNames:
    def test_come_back_in_the_letters_they_were_sent_in(self, service):
        url = f"{service.endpoint['blob']}/{service.account}"
        given = {"Epoch": "3", "hdi_isfolder": "false", "UP": "1"}
        with BlobServiceClient(url, credential=service.key) as client:
            home = client.create_container(unique("meta"), metadata=given)
            assert home.get_container_properties().metadata == given
            blob = home.upload_blob("model", b"1", metadata=given)
            assert blob.get_blob_properties().metadata == given
            assert [one.metadata for one in home.list_blobs(include=["metadata"])] == [given]
            blob.set_blob_metadata({"up": "2"})
            assert blob.get_blob_properties().metadata == {"up": "2"}

    @pytest.mark.parametrize(
        ("name", "code"), [("", "EmptyMetadataKey"), ("a-b", "InvalidMetadata"), ("1st", "InvalidMetadata")]
    )
    def test_are_identifiers(self, service, name, code):
        url = f"{service.endpoint['blob']}/{service.account}"
        with BlobServiceClient(url, credential=service.key) as client:
            home = client.create_container(unique("meta"))
            with pytest.raises(HttpResponseError) as refusal:
                home.upload_blob("x", b"1", metadata={"fine": "1", name: "1"})
            assert (refusal.value.status_code, refusal.value.error_code) == (400, code)
            assert list(home.list_blobs()) == []


@pytest.mark.parametrize("kind", ["queue", "table", "dfs"])
def test_services_that_are_not_here_are_refused_and_never_asked_elsewhere(service, kind):
    host = f"{service.account}.{kind}.core.windows.net"
    answer = requests.get(
        f"https://{host}/x",
        proxies={"https": service.endpoint["proxy"]},
        verify=service.endpoint["ca_bundle"],
        timeout=30,
    )
    assert (answer.status_code, answer.headers["x-ms-error-code"]) == (404, "ResourceNotFound")
    assert host in answer.text
