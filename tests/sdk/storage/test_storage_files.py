"""The Files service driven by azure-storage-file-share 12.27 and requests."""

import os
from datetime import UTC, datetime, timedelta

import pytest
import requests
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.storage.fileshare import (
    AccessPolicy,
    AccountSasPermissions,
    ContentSettings,
    ResourceTypes,
    ShareClient,
    ShareServiceClient,
    generate_account_sas,
    generate_file_sas,
    generate_share_sas,
)

MIB = 1 << 20


@pytest.fixture
def service(server):
    with ShareServiceClient.from_connection_string(server.connection_string) as client:
        yield client


@pytest.fixture
def share(service, fresh_name) -> ShareClient:
    return service.create_share(fresh_name)


def test_quickstart_upload_lies_in_the_share_as_a_plain_file(server, share):
    content = os.urandom(10 * MIB + 17)
    directory = share.create_directory("batchaisample")
    directory.upload_file("Train-28x28_cntk_text.txt", content, max_concurrency=4)

    on_disk = server.directory("file", share.share_name) / "batchaisample/Train-28x28_cntk_text.txt"
    assert on_disk.read_bytes() == content
    client = directory.get_file_client("Train-28x28_cntk_text.txt")
    assert client.download_file(max_concurrency=2).readall() == content
    assert client.get_file_properties().size == len(content)


def test_existing_share_and_directory_are_conflicts_with_their_codes(service, share):
    share.create_directory("d")
    with pytest.raises(ResourceExistsError) as of_share:
        service.create_share(share.share_name)
    with pytest.raises(ResourceExistsError) as of_directory:
        share.create_directory("d")
    assert of_share.value.error_code == "ShareAlreadyExists"
    assert of_directory.value.error_code == "ResourceAlreadyExists"


def test_missing_parent_missing_file_missing_share(service, share):
    with pytest.raises(ResourceNotFoundError) as parent:
        share.get_file_client("no/such/file").create_file(3)
    with pytest.raises(ResourceNotFoundError) as file:
        share.get_file_client("nothing").get_file_properties()
    with pytest.raises(ResourceNotFoundError) as missing:
        service.get_share_client("nosuchshare").get_share_properties()
    assert parent.value.error_code == "ParentNotFound"
    assert file.value.error_code == "ResourceNotFound"
    assert missing.value.error_code == "ShareNotFound"


def test_ranges_arrive_out_of_order_and_overlap_the_hole_they_leave(share):
    file = share.get_file_client("f.bin")
    file.create_file(3 * 4 * MIB)
    third, first = os.urandom(4 * MIB), os.urandom(4 * MIB)
    file.upload_range(third, offset=8 * MIB, length=4 * MIB)
    file.upload_range(first, offset=0, length=4 * MIB)
    assert file.download_file().readall() == first + bytes(4 * MIB) + third
    assert [(found["start"], found["end"]) for found in file.list_ranges()] == [
        (0, 4 * MIB - 1),
        (8 * MIB, 12 * MIB - 1),
    ]
    file.clear_range(0, 4 * MIB)
    assert file.download_file(offset=0, length=4 * MIB).readall() == bytes(4 * MIB)


def test_range_past_the_end_is_refused(share):
    file = share.get_file_client("f")
    file.create_file(4)
    with pytest.raises(HttpResponseError) as refused:
        file.upload_range(b"12345", offset=0, length=5)
    assert refused.value.status_code == 416
    assert refused.value.error_code == "InvalidRange"


def test_create_file_again_truncates_in_place(server, share):
    file = share.get_file_client("f")
    file.upload_file(b"old content")
    path = server.directory("file", share.share_name) / "f"
    with path.open("rb") as reader:
        file.create_file(3)
        assert reader.read() == b"\0\0\0"


def test_empty_file(share):
    file = share.get_file_client("empty")
    file.upload_file(b"")
    assert file.download_file().readall() == b""


def test_resize_headers_and_metadata(share):
    file = share.get_file_client("f")
    file.upload_file(
        b"abc", metadata={"who": "me"}, content_settings=ContentSettings(content_type="text/x-python")
    )
    before = file.get_file_properties()
    assert before.metadata == {"who": "me"}
    assert before.content_settings.content_type == "text/x-python"
    file.set_file_metadata({"who": "you"})
    after = file.get_file_properties()
    assert after.metadata == {"who": "you"}
    assert after.etag != before.etag
    file.resize_file(5)
    assert file.download_file().readall() == b"abc\0\0"
    file.set_http_headers(ContentSettings(content_type="text/plain", content_language="de"))
    assert file.get_file_properties().content_settings.content_language == "de"


def test_list_is_one_sequence_paged_without_regard_to_case(share):
    for name in ("b.txt", "A.txt", "c.txt"):
        share.get_file_client(name).upload_file(b"x")
    share.create_directory("B")
    pages = list(share.list_directories_and_files(results_per_page=2).by_page())
    names = [entry["name"] for page in pages for entry in page]
    assert sorted(names) == ["A.txt", "B", "b.txt", "c.txt"]
    listed = share.list_directories_and_files(name_starts_with="b", include=["timestamps", "Etag"])
    assert {entry["name"] for entry in listed} == {"B", "b.txt"}


def test_names_match_without_regard_to_case(server, share):
    share.create_directory("Logs").upload_file("A.txt", b"1")
    assert share.get_file_client("logs/a.TXT").download_file().readall() == b"1"
    share.get_file_client("LOGS/a.txt").upload_file(b"22")
    kept = server.directory("file", share.share_name) / "Logs"
    assert [entry.name for entry in kept.iterdir()] == ["A.txt"]


def test_delete_file_directory_and_share(server, service, share):
    directory = share.create_directory("d")
    directory.upload_file("f", b"x")
    with pytest.raises(ResourceExistsError) as refused:
        directory.delete_directory()
    assert refused.value.error_code == "DirectoryNotEmpty"
    directory.delete_file("f")
    directory.delete_directory()
    share.delete_share()
    assert not server.directory("file", share.share_name).exists()
    assert share.share_name not in {found.name for found in service.list_shares()}


def test_share_properties_quota_metadata_and_policies(share):
    share.set_share_metadata({"a": "1"})
    share.set_share_quota(7)
    properties = share.get_share_properties()
    assert (properties.metadata, properties.quota) == ({"a": "1"}, 7)
    share.set_share_access_policy({"reader": AccessPolicy(permission="r", expiry="2099-01-01T00:00:00Z")})
    assert [entry.id for entry in share.get_share_access_policy()["signed_identifiers"]] == ["reader"]
    share.get_file_client("f").upload_file(b"12345")
    assert share.get_share_stats() >= 0


def test_names_with_odd_characters(share):
    directory = share.create_directory("with space é")
    for name in ("a+b.txt", "100%25.txt", "ünï &;=@.txt", "(b)$'x',~.txt"):
        directory.upload_file(name, name.encode())
        assert directory.get_file_client(name).download_file().readall() == name.encode()
    listed = {entry["name"] for entry in directory.list_directories_and_files()}
    assert listed == {"a+b.txt", "100%25.txt", "ünï &;=@.txt", "(b)$'x',~.txt"}


def test_wrong_key_is_authentication_failed(server, share):
    other = server.connection_string.replace(server.key, server.other_key())
    with pytest.raises(ClientAuthenticationError) as refused:
        ShareServiceClient.from_connection_string(other).get_share_client(share.share_name).create_directory(
            "x"
        )
    assert refused.value.status_code == 403
    assert refused.value.error_code == "AuthenticationFailed"


def test_second_key_and_regenerated_key(server, share):
    first, second = server.ring.accounts[server.account]
    with_second = server.connection_string.replace(first, second)
    client = ShareClient.from_connection_string(with_second, share.share_name)
    client.create_directory("by-second-key")
    server.ring.accounts[server.account] = (first, first)
    try:
        with pytest.raises(ClientAuthenticationError):
            client.create_directory("x")
    finally:
        server.ring.accounts[server.account] = (first, second)


def test_foreign_files_and_growth_are_seen_at_once(server, share):
    home = server.directory("file", share.share_name)
    (home / "out").mkdir()
    (home / "out/stdout.txt").write_text("epoch 1\n")
    file = share.get_file_client("out/stdout.txt")
    assert file.download_file().readall() == b"epoch 1\n"
    properties = file.get_file_properties()
    with (home / "out/stdout.txt").open("a") as log:
        log.write("epoch 2\n")
    assert file.download_file().readall() == b"epoch 1\nepoch 2\n"
    assert file.get_file_properties().etag != properties.etag
    assert properties.content_settings.content_type == "text/plain; charset=utf-8"


def test_links_that_lead_out_pipes_and_devices_do_not_exist(server, share, tmp_path):
    home = server.directory("file", share.share_name)
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    (home / "out").symlink_to(tmp_path)
    (home / "leak.txt").symlink_to(secret)
    (home / "inside.txt").write_text("inside")
    (home / "link.txt").symlink_to("inside.txt")
    os.mkfifo(home / "pipe")
    assert {entry["name"] for entry in share.list_directories_and_files()} == {"inside.txt", "link.txt"}
    assert share.get_file_client("link.txt").download_file().readall() == b"inside"
    for path in ("leak.txt", "out/secret.txt", "pipe"):
        with pytest.raises(ResourceNotFoundError):
            share.get_file_client(path).download_file()
    with pytest.raises(HttpResponseError):
        share.get_file_client("leak.txt").upload_file(b"overwritten")
    with pytest.raises(HttpResponseError):
        share.get_file_client("out/new.txt").upload_file(b"created")
    assert secret.read_text() == "secret"
    assert not (tmp_path / "new.txt").exists()


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "a/../../x",
        "..%2fx",
        "%2e%2e/%2e%2e/x",
        "a%00b",
        "./x",
        "a/%2e/b",
        "..%5cx",
        "%2fetc%2fpasswd",
    ],
)
def test_traversal_is_refused(server, share, path):
    (server.root / server.account / "file" / "x").write_text("outside")
    prepared = requests.Request("GET", server.link("file", share.share_name, "x")).prepare()
    base, _, query = prepared.url.partition("?")
    prepared.url = f"{base.removesuffix('x')}{path}?{query}"
    with requests.Session() as session:
        answer = session.send(prepared)
    assert 400 <= answer.status_code < 500
    assert b"outside" not in answer.content


def test_account_and_service_sas(server, share):
    share.get_file_client("f").upload_file(b"content")
    soon = datetime.now(UTC) + timedelta(minutes=5)
    past = datetime.now(UTC) - timedelta(minutes=1)
    url = server.url("file", f"{share.share_name}/f")
    account = generate_account_sas(
        server.account, server.key, ResourceTypes(object=True), AccountSasPermissions(read=True), soon
    )
    whole = generate_share_sas(server.account, share.share_name, server.key, permission="rl", expiry=soon)
    one = generate_file_sas(server.account, share.share_name, ["f"], server.key, permission="r", expiry=soon)
    expired = generate_file_sas(
        server.account, share.share_name, ["f"], server.key, permission="r", expiry=past
    )
    for token in (account, whole, one):
        assert requests.get(f"{url}?{token}").content == b"content"
        assert (
            requests.delete(f"{url}?{token}").headers["x-ms-error-code"] == "AuthorizationPermissionMismatch"
        )
    assert requests.get(f"{url}?{expired}").headers["x-ms-error-code"] == "AuthenticationFailed"
    other = server.url("file", f"{share.share_name}/g")
    assert requests.get(f"{other}?{one}").status_code == 403
    assert requests.get(f"{url}?{one.replace('sig=', 'sig=A')}").status_code == 403


def test_create_permission_does_not_overwrite(server, share):
    share.get_file_client("f").upload_file(b"kept")
    soon = datetime.now(UTC) + timedelta(minutes=5)
    token = generate_share_sas(server.account, share.share_name, server.key, permission="c", expiry=soon)
    headers = {"x-ms-type": "file", "x-ms-content-length": "1"}
    for name, status in (("f", 409), ("F", 409), ("g", 201)):
        url = server.url("file", f"{share.share_name}/{name}")
        assert requests.put(f"{url}?{token}", headers=headers).status_code == status
    assert share.get_file_client("f").download_file().readall() == b"kept"


def test_bearer_needs_the_intent_header(server, share):
    share.get_file_client("f").upload_file(b"content")
    url = server.url("file", f"{share.share_name}/f")
    bearer = {**server.bearer, "x-ms-version": "2022-11-02"}
    assert requests.get(url, headers=bearer).headers["x-ms-error-code"] == "MissingRequiredHeader"
    answer = requests.get(url, headers=bearer | {"x-ms-file-request-intent": "backup"})
    assert answer.content == b"content"
    wrong = requests.get(url, headers=bearer | {"Authorization": "Bearer other"})
    assert wrong.status_code == 401


def test_range_with_a_wrong_md5_writes_nothing(server, share):
    file = share.get_file_client("f")
    file.upload_file(b"abc", validate_content=True)
    token = generate_file_sas(
        server.account,
        share.share_name,
        ["f"],
        server.key,
        permission="w",
        expiry=datetime(2099, 1, 1, tzinfo=UTC),
    )
    wrong = {"x-ms-write": "update", "x-ms-range": "bytes=0-2", "Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}
    url = f"{server.url('file', f'{share.share_name}/f')}?comp=range&{token}"
    answer = requests.put(url, data=b"xyz", headers=wrong)
    assert (answer.status_code, answer.headers["x-ms-error-code"]) == (400, "Md5Mismatch")
    assert file.download_file().readall() == b"abc"
