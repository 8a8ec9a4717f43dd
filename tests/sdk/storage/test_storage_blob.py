"""The Blob service driven by azure-storage-blob 12.31 and requests."""

import base64
import io
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import requests
from azure.core import MatchConditions
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.storage.blob import (
    AccessPolicy,
    BlobBlock,
    BlobPrefix,
    BlobServiceClient,
    ContainerClient,
    ContentSettings,
    generate_blob_sas,
    generate_container_sas,
)

MIB = 1 << 20


@pytest.fixture
def service(server):
    with BlobServiceClient.from_connection_string(
        server.connection_string, max_single_put_size=8 * MIB, max_block_size=4 * MIB
    ) as client:
        yield client


@pytest.fixture
def container(service, fresh_name) -> ContainerClient:
    return service.create_container(fresh_name)


def test_upload_and_download_in_one_piece_and_in_blocks(server, container):
    for name, size in (("small", 1000), ("one-shot", 3 * MIB + 1), ("blocks", 17 * MIB + 5)):
        content = os.urandom(size)
        container.upload_blob(name, content, max_concurrency=3)
        assert (server.directory("blob", container.container_name) / name).read_bytes() == content
        assert container.download_blob(name, max_concurrency=3).readall() == content
    assert not list((server.root / server.account / ".staging/uploads").iterdir())


def test_no_overwrite_is_blob_already_exists(container):
    container.upload_blob("b", b"1")
    with pytest.raises(ResourceExistsError) as refused:
        container.upload_blob("b", b"2")
    assert refused.value.error_code == "BlobAlreadyExists"
    with pytest.raises(ResourceExistsError):
        container.upload_blob("b", io.BytesIO(os.urandom(9 * MIB)), max_concurrency=2)
    container.upload_blob("b", b"3", overwrite=True)
    assert container.download_blob("b").readall() == b"3"


def test_conditions(container):
    blob = container.get_blob_client("b")
    first = blob.upload_blob(b"1")
    second = blob.upload_blob(b"2", overwrite=True)
    assert first["etag"] != second["etag"]
    with pytest.raises(ResourceModifiedError) as stale:
        blob.upload_blob(
            b"3", overwrite=True, etag=first["etag"], match_condition=MatchConditions.IfNotModified
        )
    assert stale.value.status_code == 412
    with pytest.raises(HttpResponseError) as unchanged:
        blob.download_blob(etag=second["etag"], match_condition=MatchConditions.IfModified)
    assert unchanged.value.status_code == 304
    with pytest.raises(HttpResponseError) as absent:
        container.get_blob_client("new").upload_blob(
            b"x", overwrite=True, etag=first["etag"], match_condition=MatchConditions.IfNotModified
        )
    assert absent.value.status_code == 412


def test_block_list_keeps_drops_and_reorders_blocks(container):
    blob = container.get_blob_client("b")
    ids = [base64.b64encode(f"{index:04}".encode()).decode() for index in range(3)]
    for block_id, data in zip(reversed(ids), (b"cc", b"bbb", b"a"), strict=True):
        blob.stage_block(block_id, data)
    committed, uncommitted = blob.get_block_list("all")
    assert (committed, len(uncommitted)) == ([], 3)
    blob.commit_block_list([BlobBlock(block_id) for block_id in ids])
    assert blob.download_blob().readall() == b"abbbcc"
    blob.stage_block(ids[1], b"BB")
    blob.commit_block_list([BlobBlock(ids[2]), BlobBlock(ids[1]), BlobBlock(ids[0])])
    assert blob.download_blob().readall() == b"ccBBa"
    committed, uncommitted = blob.get_block_list("all")
    assert [(block.id, block.size) for block in committed] == [(ids[2], 2), (ids[1], 2), (ids[0], 1)]
    assert uncommitted == []
    with pytest.raises(HttpResponseError) as missing:
        blob.commit_block_list([BlobBlock(base64.b64encode(b"9999").decode())])
    assert missing.value.error_code == "InvalidBlockList"


def test_append_blob(container):
    blob = container.get_blob_client("log.txt")
    blob.create_append_blob()
    blob.append_block(b"one\n")
    answer = blob.append_block(b"two\n")
    assert (answer["blob_append_offset"], answer["blob_committed_block_count"]) == ("4", 2)
    with pytest.raises(HttpResponseError) as moved:
        blob.append_block(b"x", appendpos_condition=0)
    assert moved.value.status_code == 412
    assert moved.value.error_code == "AppendPositionConditionNotMet"
    assert blob.download_blob().readall() == b"one\ntwo\n"
    container.upload_blob("block", b"x")
    with pytest.raises(HttpResponseError) as wrong:
        container.get_blob_client("block").append_block(b"x")
    assert wrong.value.error_code == "InvalidBlobType"


def test_properties_headers_metadata_and_md5(container):
    blob = container.get_blob_client("b")
    settings = ContentSettings(content_type="text/plain", cache_control="no-store", content_language="de")
    blob.upload_blob(b"abc", metadata={"who": "me"}, content_settings=settings)
    found = blob.get_blob_properties()
    assert found.content_settings.content_type == "text/plain"
    assert found.content_settings.cache_control == "no-store"
    assert bytes(found.content_settings.content_md5).hex() == "900150983cd24fb0d6963f7d28e17f72"
    assert found.metadata == {"who": "me"}
    assert found.size == 3
    blob.set_blob_metadata({"who": "you"})
    changed = blob.get_blob_properties()
    assert changed.metadata == {"who": "you"}
    assert changed.etag != found.etag
    assert changed.content_settings.content_md5
    blob.set_http_headers(ContentSettings(content_type="text/html"))
    assert blob.get_blob_properties().content_settings.cache_control is None
    blob.upload_blob(b"abc", overwrite=True)
    assert blob.get_blob_properties().metadata == {}


def test_odd_metadata_names_are_signed_in_the_collation_order(container):
    metadata = {"a0": "1", "ab": "2", "a_c": "3", "a1b": "5", "a": "7"}
    container.upload_blob("b", b"x", metadata=metadata)
    assert container.get_blob_client("b").get_blob_properties().metadata == metadata
    # The signature is right here too, so what is refused is the name, which is no identifier.
    with pytest.raises(HttpResponseError) as refusal:
        container.upload_blob("c", b"x", metadata=metadata | {"a-c": "4", "a~": "6"})
    assert (refusal.value.status_code, refusal.value.error_code) == (400, "InvalidMetadata")


def test_list_in_order_with_prefix_delimiter_and_pages(container):
    names = ["a", "a-b", "a.c", "b/1", "b/2/x", "b/2/y", "b-1", "c/é", "d +%&.txt"]
    for name in names:
        container.upload_blob(name, b"x")
    assert [blob.name for blob in container.list_blobs()] == sorted(names)
    pages = container.list_blobs(results_per_page=2).by_page()
    assert [blob.name for page in pages for blob in page] == sorted(names)
    assert [blob.name for blob in container.list_blobs("b/")] == ["b/1", "b/2/x", "b/2/y"]
    walked = list(container.walk_blobs())
    assert [entry.name for entry in walked if isinstance(entry, BlobPrefix)] == ["b/", "c/"]
    below = {entry.name for entry in container.walk_blobs(name_starts_with="b/")}
    assert below == {"b/1", "b/2/"}
    by_dash = {entry.name for entry in container.walk_blobs(delimiter="-")}
    assert by_dash == {"a", "a-", "a.c", "b-", "b/1", "b/2/x", "b/2/y", "c/é", "d +%&.txt"}


def test_prefixes_and_blobs_page_together(container):
    for name in ("a/1", "a/2", "b", "c/1", "d"):
        container.upload_blob(name, b"x")
    client = container.walk_blobs(results_per_page=1).by_page()
    names = [entry.name for page in client for entry in page]
    assert names == ["a/", "b", "c/", "d"]


def test_delete_and_not_found(service, container):
    container.upload_blob("b", b"x")
    container.delete_blob("b")
    with pytest.raises(ResourceNotFoundError) as blob:
        container.delete_blob("b")
    with pytest.raises(ResourceNotFoundError) as missing:
        service.get_container_client("nosuch").get_container_properties()
    assert blob.value.error_code == "BlobNotFound"
    assert missing.value.error_code == "ContainerNotFound"
    assert not container.get_blob_client("b").exists()


def test_containers(server, service, container):
    with pytest.raises(ResourceExistsError) as twice:
        service.create_container(container.container_name)
    assert twice.value.error_code == "ContainerAlreadyExists"
    container.set_container_metadata({"a": "1"})
    assert container.get_container_properties().metadata == {"a": "1"}
    (server.directory("blob", "made-by-hand")).mkdir(exist_ok=True)
    names = [found.name for found in service.list_containers(results_per_page=1)]
    assert {container.container_name, "made-by-hand"} <= set(names)
    assert names == sorted(names)
    container.upload_blob("b", b"x")
    container.delete_container()
    assert not container.exists()
    with pytest.raises(HttpResponseError) as name:
        service.create_container("Not_A_Name")
    assert name.value.error_code == "InvalidResourceName"


def test_service_properties_and_account_information(service):
    assert service.get_service_properties()["cors"] == []
    assert service.get_account_information()["sku_name"] == "Standard_LRS"


def test_foreign_files_are_blobs(server, container):
    home = server.directory("blob", container.container_name)
    (home / "model").mkdir()
    (home / "model/net.dnn").write_bytes(b"weights")
    (home / "stdout.txt").write_text("hello")
    (home / "empty").mkdir()
    assert [blob.name for blob in container.list_blobs()] == ["model/net.dnn", "stdout.txt"]
    assert [entry.name for entry in container.walk_blobs()] == ["model/", "stdout.txt"]
    blob = container.get_blob_client("stdout.txt")
    assert blob.get_blob_properties().content_settings.content_type == "text/plain; charset=utf-8"
    blob.set_blob_metadata({"kept": "yes"})
    (home / "stdout.txt").write_text("hello again")
    found = blob.get_blob_properties()
    assert (found.metadata, found.size) == ({"kept": "yes"}, 11)


def test_overwriting_from_outside_drops_what_described_the_old_bytes(server, container):
    container.upload_blob("b", b"old", content_settings=ContentSettings(content_type="text/css"))
    (server.directory("blob", container.container_name) / "b").write_bytes(b"newer")
    found = container.get_blob_client("b").get_blob_properties()
    assert found.content_settings.content_md5 is None
    assert found.content_settings.content_type == "text/css"


def test_wrong_md5_is_refused_and_stores_nothing(server, container):
    token = generate_container_sas(
        server.account, container.container_name, account_key=server.key, permission="rw", expiry=_soon()
    )
    url = server.url("blob", f"{container.container_name}/b")
    wrong = base64.b64encode(bytes(16)).decode()
    answer = requests.put(
        f"{url}?{token}", data=b"abc", headers={"x-ms-blob-type": "BlockBlob", "Content-MD5": wrong}
    )
    assert (answer.status_code, answer.headers["x-ms-error-code"]) == (400, "Md5Mismatch")
    assert not container.get_blob_client("b").exists()
    assert container.upload_blob("c", b"abc", validate_content=True)
    assert container.download_blob("c", validate_content=True).readall() == b"abc"


def test_sas_of_blob_container_and_policy(server, container):
    container.upload_blob("dir/b", b"content")
    url = server.url("blob", f"{container.container_name}/dir/b")
    blob = generate_blob_sas(
        server.account, container.container_name, "dir/b", account_key=server.key, permission="r",
        expiry=_soon(), content_type="text/special",
    )  # fmt: skip
    answer = requests.get(f"{url}?{blob}")
    assert (answer.content, answer.headers["content-type"]) == (b"content", "text/special")
    container.set_container_access_policy({"p": AccessPolicy(permission="r", expiry=_soon())})
    named = generate_container_sas(
        server.account, container.container_name, account_key=server.key, policy_id="p"
    )
    assert requests.get(f"{url}?{named}").content == b"content"
    assert (
        requests.put(f"{url}?{named}", data=b"", headers={"x-ms-blob-type": "BlockBlob"}).status_code == 403
    )
    container.set_container_access_policy({})
    assert requests.get(f"{url}?{named}").status_code == 403
    listing = f"{server.url('blob', container.container_name)}?restype=container&comp=list&"
    lists = generate_container_sas(
        server.account, container.container_name, account_key=server.key, permission="l", expiry=_soon()
    )
    assert b"dir/b" in requests.get(listing + lists).content
    assert requests.get(f"{url}?{lists}").headers["x-ms-error-code"] == "AuthorizationPermissionMismatch"
    remove = f"{server.url('blob', container.container_name)}?restype=container&{lists}"
    assert requests.delete(remove).status_code == 403


def test_create_permission_does_not_overwrite(server, container):
    container.upload_blob("b", b"kept")
    token = generate_container_sas(
        server.account, container.container_name, account_key=server.key, permission="c", expiry=_soon()
    )
    url = server.url("blob", container.container_name)
    headers = {"x-ms-blob-type": "BlockBlob"}
    assert requests.put(f"{url}/b?{token}", data=b"x", headers=headers).status_code == 409
    assert requests.put(f"{url}/c?{token}", data=b"x", headers=headers).status_code == 201
    assert container.download_blob("b").readall() == b"kept"


def test_wrong_key_is_authentication_failed(server):
    other = server.connection_string.replace(server.key, server.other_key())
    with pytest.raises(ClientAuthenticationError) as refused:
        BlobServiceClient.from_connection_string(other).create_container("never")
    assert (refused.value.status_code, refused.value.error_code) == (403, "AuthenticationFailed")
    assert not server.directory("blob", "never").exists()


def test_unimplemented_calls_answer_with_a_client_error(container):
    blob = container.get_blob_client("b")
    blob.upload_blob(b"x")
    refused = []
    for call in (
        lambda: blob.query_blob("SELECT * from BlobStorage"),
        lambda: blob.set_legal_hold(True),
        lambda: blob.upload_blob(b"y", overwrite=True, encryption_scope="scope"),
        lambda: blob.get_blob_properties(version_id="2020-01-01T00:00:00.0000000Z"),
    ):
        with pytest.raises(HttpResponseError) as error:
            call()
        refused.append(error.value.status_code)
    assert set(refused) <= {400, 405}
    assert blob.download_blob().readall() == b"x"


def _soon() -> datetime:
    return datetime.now(UTC) + timedelta(minutes=5)


def test_metadata_in_listings(container):
    container.upload_blob("b", b"x", metadata={"who": "me"})
    (found,) = container.list_blobs(include=["metadata"])
    assert found.metadata == {"who": "me"}


def test_writers_and_readers_of_one_blob_see_whole_contents(container):
    blob = container.get_blob_client("b")
    letters = [b"a", b"b", b"c"]
    blob.upload_blob(letters[0] * 300_000)

    def write(letter: bytes) -> bytes:
        for _ in range(5):
            blob.upload_blob(letter * 300_000, overwrite=True)
        return letter

    def read(_: int) -> int:
        return len(set(blob.download_blob().readall()))

    with ThreadPoolExecutor(6) as pool:
        kinds = pool.map(read, range(15))
        assert set(pool.map(write, letters)) == set(letters)
        assert set(kinds) == {1}


def test_the_md5_to_be_kept_is_compared_with_a_whole_body_only(container):
    wrong = ContentSettings(content_md5=bytearray(b"0123456789abcdef"))
    with pytest.raises(HttpResponseError) as refusal:
        container.upload_blob("b", b"contents", content_settings=wrong)
    assert (refusal.value.status_code, refusal.value.error_code) == (400, "Md5Mismatch")
    blob = container.upload_blob("b", b"contents")
    # The suite of the SDK keeps one that is no MD5 at all, and the service gives it back.
    blob.set_http_headers(ContentSettings(content_md5=bytearray(b"12345678")))
    assert blob.get_blob_properties().content_settings.content_md5 == bytearray(b"12345678")


def test_whoever_holds_the_lease_replaces_the_blob_though_it_was_to_be_new(container):
    """As the service: `upload_blob(…, lease=…)` of the SDK sends `If-None-Match: *` besides the lease."""
    blob = container.upload_blob("b", b"1")
    lease = blob.acquire_lease(-1)
    with pytest.raises(HttpResponseError) as refusal:
        blob.upload_blob(b"2")
    assert refusal.value.error_code == "LeaseIdMissing"
    blob.upload_blob(b"3", lease=lease)
    assert blob.download_blob().readall() == b"3"


def test_tags_have_conditions_of_their_own(container):
    blob = container.upload_blob("b", b"1", tags={"a": "1"})
    etag = blob.get_blob_properties().etag
    with pytest.raises(HttpResponseError) as refusal:
        blob.set_blob_tags({"a": "2"}, etag=etag, match_condition=MatchConditions.IfModified)
    assert refusal.value.error_code == "ConditionNotMet"
    blob.set_blob_tags({"a": "2"}, etag=etag, match_condition=MatchConditions.IfNotModified)
    assert blob.get_blob_tags(etag=etag, match_condition=MatchConditions.IfNotModified) == {"a": "2"}


def test_a_listing_from_one_name_to_before_another(container):
    for name in ("a", "b", "b/1", "b/2", "c"):
        container.upload_blob(name, b"x")

    def between(start: str, end: str, page: int | None = None) -> list[str]:
        # The SDK sends `endBefore` only when it asks for Arrow.
        bounds = {"startFrom": start, "endBefore": end}
        return [blob.name for blob in container.list_blobs(results_per_page=page, params=bounds)]

    assert between("b", "b/2") == ["b", "b/1"]
    assert between("", "b") == ["a"]
    assert between("b", "c", page=1) == ["b", "b/1", "b/2"]
    assert between("", "a") == []
