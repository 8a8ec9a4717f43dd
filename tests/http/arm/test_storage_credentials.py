"""Keys and tokens of the running service at its storage ports: what opens, and what stops opening."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ClientSecretCredential
from azure.storage.blob import (
    BlobServiceClient,
    generate_account_sas,
    generate_blob_sas,
)
from azure.storage.fileshare import ShareServiceClient
from harness.arm import unique

KIND, SKU = "BlobStorage", "Standard_GRS"
HOUR = timedelta(hours=1)
STORAGE = "/providers/Microsoft.Storage/storageAccounts"


@pytest.fixture(scope="module")
def account(arm):
    """An account of the module's own: its keys come and go."""
    group, name = unique("keys"), unique("keystore")
    arm.ask("PUT", arm.group_path(group), {"location": "eastus"})
    body = {"location": "eastus", "kind": KIND, "sku": {"name": SKU}}
    path = f"{arm.group_path(group)}{STORAGE}/{name}"
    assert arm.ask("PUT", path, body).status_code == 200
    return Account(arm, name, path)


class Account:
    def __init__(self, arm, name, path):
        self.arm, self.name, self._path = arm, name, path
        self.url = f"{arm.service.endpoint['blob']}/{name}"
        self.over_tls = self.url.replace("http:", "https:")

    def keys(self):
        found = self.arm.ask("POST", f"{self._path}/listKeys").json()["keys"]
        return {key["keyName"]: key["value"] for key in found}

    def regenerate(self, name):
        self.arm.ask("POST", f"{self._path}/regenerateKey", {"keyName": name})

    def client(self, key):
        return BlobServiceClient(self.url, credential={"account_name": self.name, "account_key": key})


@pytest.fixture
def login(service):
    here = service.endpoint
    return ClientSecretCredential(
        here["tenant"],
        here["client_id"],
        here["client_secret"],
        authority=here["authority"],
        disable_instance_discovery=True,
        connection_verify=here["ca_bundle"],
    )


@pytest.fixture
def owner(service, account, login):
    with BlobServiceClient(
        account.over_tls, credential=login, connection_verify=service.endpoint["ca_bundle"]
    ) as client:
        yield client


@pytest.fixture
def blob(owner):
    container = owner.create_container(unique("keys"))
    container.upload_blob("b", b"content")
    return container.get_blob_client("b")


def opens(account, key):
    with account.client(key) as client:
        try:
            return len(list(client.list_containers())) > 0
        except ClientAuthenticationError:
            return False


def reads(url):
    answer = requests.get(url)
    assert answer.status_code in (200, 403)
    return answer.status_code == 200


@pytest.mark.parametrize("name", ["key1", "key2"])
def test_a_new_key_ends_what_the_old_one_signed_and_nothing_else(account, owner, blob, name):
    before = account.keys()
    other = {"key1": "key2", "key2": "key1"}[name]
    where = f"{account.url}/{blob.container_name}/b"
    delegation = owner.get_user_delegation_key(datetime.now(UTC) - HOUR, datetime.now(UTC) + HOUR)
    common = {"permission": "r", "expiry": datetime.now(UTC) + HOUR}
    item = (account.name, blob.container_name, "b")
    links = {
        key: [
            f"{where}?{generate_blob_sas(*item, account_key=before[key], **common)}",
            f"{where}?{generate_account_sas(account.name, before[key], 'o', 'r', common['expiry'])}",
        ]
        for key in before
    }
    delegated = f"{where}?{generate_blob_sas(*item, user_delegation_key=delegation, **common)}"
    assert opens(account, before[name])
    assert all(reads(link) for key in links for link in links[key])

    account.regenerate(name)

    after = account.keys()
    assert (after[name] != before[name], after[other]) == (True, before[other])
    assert not opens(account, before[name])
    assert opens(account, after[name])
    assert opens(account, before[other])
    assert not any(reads(link) for link in links[name])
    assert all(reads(link) for link in [*links[other], delegated])
    assert blob.download_blob().readall() == b"content"


def test_tokens_for_storage_and_for_the_account_are_taken_over_tls(arm, account, blob):
    url = f"{account.over_tls}/{blob.container_name}/b"
    headers = {"x-ms-version": "2021-12-02"}
    for audience, status in (
        ("https://storage.azure.com", 200),
        ("https://storage.azure.com/", 200),
        (f"https://{account.name}.blob.core.windows.net", 200),
        ("https://somebodyelse.blob.core.windows.net", 401),
        ("https://management.core.windows.net/", 401),
    ):
        bearer = {"Authorization": f"Bearer {arm.token(audience)}", **headers}
        assert arm.http.get(url, headers=bearer).status_code == status, audience
        assert arm.http.get(url.replace("https:", "http:"), headers=bearer).status_code == 403


def test_files_take_tokens_with_an_intent(service, account, login):
    with ShareServiceClient(
        account.over_tls.replace(service.endpoint["blob"][7:], service.endpoint["file"][7:]),
        credential=login,
        token_intent="backup",
        connection_verify=service.endpoint["ca_bundle"],
    ) as client:
        share = client.create_share(unique("keys"))
        share.get_file_client("f").upload_file(b"content")
        assert share.get_file_client("f").download_file().readall() == b"content"


def test_account_information_is_of_the_account(account):
    with account.client(account.keys()["key1"]) as client:
        found = client.get_account_information()
    assert (found["sku_name"], found["account_kind"], found["is_hns_enabled"]) == (SKU, KIND, False)


def test_a_copy_source_of_the_other_service(service, account, blob):
    """Ports, not paths, tell which service a URL of ours means."""
    key = account.keys()["key1"]
    files = account.url.replace(service.endpoint["blob"], service.endpoint["file"])
    with ShareServiceClient(files, credential={"account_name": account.name, "account_key": key}) as client:
        share = client.create_share(unique("keys"))
        file = share.get_file_client("f")
        file.upload_file(b"of a file")
    with account.client(key) as client:
        copy = client.get_blob_client(blob.container_name, "copied")
        copy.start_copy_from_url(file.url)
        assert copy.download_blob().readall() == b"of a file"


def test_each_request_leaves_a_line_and_counts(service, arm, account, blob):
    key, container = account.keys()["key1"], unique("observed")
    with account.client(key) as client:
        client.create_container(container)
    # The next request's answer comes after the line of this one.
    requests.get(
        f"{account.url}/{container}/missing?sig=secret-signature", headers={"x-ms-version": "2021-12-02"}
    )
    requests.get(account.url)
    text = (service.home / "access.log").read_text()
    lines = [line for line in map(json.loads, text.splitlines()) if line["container"] == container]
    assert [(line["operation"], line["status"]) for line in lines] == [
        ("CreateContainer", 201),
        ("GetBlob", 403),
    ]
    for secret in (key, "secret-signature", "sig=", "SharedKey "):
        assert secret not in text
    assert (service.home / "access.log").stat().st_mode & 0o777 == 0o600
    metrics = arm.http.get(f"{service.endpoint['arm']}/metrics").text
    assert (
        'batchai_storage_requests_total{code="",operation="CreateContainer",service="blob",status="201"}'
        in metrics
    )
    assert 'batchai_storage_request_seconds_bucket{le="0.01",operation="GetBlob",service="blob"}' in metrics
