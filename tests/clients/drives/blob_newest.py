"""The newest azure-storage-blob, synchronous."""

import base64
import datetime
import hashlib
import io
import os
import sys
import tempfile
import uuid

import checks
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
    AccountSasPermissions,
    BlobBlock,
    BlobClient,
    BlobLeaseClient,
    BlobPrefix,
    BlobSasPermissions,
    BlobServiceClient,
    BlobType,
    ContainerClient,
    ContainerSasPermissions,
    ContentSettings,
    CorsRule,
    ResourceTypes,
    StandardBlobTier,
    generate_account_sas,
    generate_blob_sas,
    generate_container_sas,
)

GIVEN = checks.load()
ACCOUNT, KEY = GIVEN["account"], GIVEN["key"]
URL = GIVEN["blob"]
SERVICE = BlobServiceClient(URL, credential=KEY)
HOUR = datetime.timedelta(hours=1)
MIB = 1 << 20


def soon():
    return datetime.datetime.now(datetime.UTC) + HOUR


def container():
    return SERVICE.create_container("c" + uuid.uuid4().hex[:12])


def check_containers():
    one = container()
    assert one.exists()
    with checks.refused(ResourceExistsError, "ContainerAlreadyExists"):
        one.create_container()
    one.set_container_metadata({"purpose": "training"})
    assert one.get_container_properties().metadata == {"purpose": "training"}
    found = list(SERVICE.list_containers(name_starts_with=one.container_name, include_metadata=True))
    assert [(item.name, item.metadata) for item in found] == [(one.container_name, {"purpose": "training"})]
    pages = SERVICE.list_containers(results_per_page=1).by_page()
    assert len(list(next(pages))) == 1
    one.delete_container()
    assert not one.exists()
    with checks.refused(HttpResponseError, "InvalidResourceName"):
        SERVICE.create_container("not--a-name")


def check_sizes_up_and_down():
    home = container()
    small = ContainerClient(
        URL, home.container_name, credential=KEY, max_single_put_size=4 * MIB, max_block_size=MIB
    )
    for size in (0, 1, 511, 4096, MIB - 1, 4 * MIB, 4 * MIB + 1, 9 * MIB + 17):
        data = os.urandom(size)
        blob = small.get_blob_client(f"sizes/{size}.bin")
        blob.upload_blob(data, max_concurrency=4)
        assert blob.download_blob(max_concurrency=4).readall() == data, size
        assert blob.get_blob_properties().size == size
    whole = os.urandom(3 * MIB)
    blob = home.upload_blob("stream", io.BytesIO(whole), length=len(whole))
    chunked = BlobClient(
        URL, home.container_name, "stream", credential=KEY, max_single_get_size=MIB, max_chunk_get_size=100000
    )
    assert b"".join(chunked.download_blob().chunks()) == whole
    assert blob.download_blob(offset=10, length=20).readall() == whole[10:30]
    assert blob.download_blob(offset=len(whole) - 5).readall() == whole[-5:]
    with checks.refused(HttpResponseError, "InvalidRange"):
        blob.download_blob(offset=len(whole)).readall()
    with tempfile.TemporaryFile() as file:
        blob.download_blob().readinto(file)
        file.seek(0)
        assert file.read() == whole
    home.upload_blob("text", "höher", encoding="utf-8")
    assert home.download_blob("text", encoding="utf-8").readall() == "höher"
    with checks.refused(ResourceExistsError, "BlobAlreadyExists"):
        home.upload_blob("text", b"again")
    home.upload_blob("generator", (b"x" * 1000 for _ in range(3000)))
    assert home.get_blob_client("generator").get_blob_properties().size == 3000000


def check_properties_and_conditions():
    home = container()
    blob = home.upload_blob(
        "p.txt",
        b"contents",
        metadata={"a": "1"},
        content_settings=ContentSettings(
            content_type="text/x-log",
            content_language="de",
            cache_control="no-store",
            content_disposition="inline",
        ),
    )
    seen = blob.get_blob_properties()
    assert seen.content_settings.content_type == "text/x-log"
    assert seen.content_settings.content_language == "de"
    assert seen.content_settings.content_md5 == bytearray(hashlib.md5(b"contents").digest())
    assert seen.metadata == {"a": "1"}
    assert seen.blob_type == BlobType.BLOCKBLOB
    blob.set_blob_metadata({"b": "2"})
    assert blob.get_blob_properties().etag != seen.etag
    with checks.refused(ResourceModifiedError, "ConditionNotMet"):
        blob.upload_blob(
            b"late", overwrite=True, etag=seen.etag, match_condition=MatchConditions.IfNotModified
        )
    blob.set_http_headers(ContentSettings(content_type="text/plain"))
    assert blob.get_blob_properties().content_settings.content_language is None
    with checks.refused(HttpResponseError, 304):
        blob.download_blob(if_modified_since=soon() - HOUR + datetime.timedelta(minutes=5))
    with checks.refused(HttpResponseError, 412):
        blob.get_blob_properties(if_unmodified_since=datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC))
    with checks.refused(HttpResponseError, "Md5Mismatch"):
        blob.upload_blob(b"x", overwrite=True, headers={"Content-MD5": base64.b64encode(b"0" * 16).decode()})
    blob.upload_blob(b"checked", overwrite=True, validate_content=True)
    assert blob.download_blob(validate_content=True).readall() == b"checked"


def check_blocks():
    blob = container().get_blob_client("blocks")
    ids = [f"{number:06d}" for number in range(5)]
    for number, block in enumerate(ids):
        blob.stage_block(block, bytes([number]) * 1000)
    committed, uncommitted = blob.get_block_list("all")
    assert (len(committed), sorted(block.id for block in uncommitted)) == (0, ids)
    blob.commit_block_list([BlobBlock(block) for block in reversed(ids)], metadata={"m": "v"})
    assert blob.download_blob().readall() == b"".join(bytes([n]) * 1000 for n in range(4, -1, -1))
    committed, uncommitted = blob.get_block_list("all")
    assert ([block.size for block in committed], uncommitted) == ([1000] * 5, [])
    with checks.refused(HttpResponseError, "InvalidBlockList"):
        blob.commit_block_list([BlobBlock("nobody")])


def check_append_blobs():
    blob = container().get_blob_client("log")
    blob.create_append_blob(metadata={"kind": "log"})
    assert blob.append_block(b"one\n")["blob_append_offset"] == "0"
    assert blob.append_block(b"two\n", appendpos_condition=4)["blob_committed_block_count"] == 2
    with checks.refused(HttpResponseError, "AppendPositionConditionNotMet"):
        blob.append_block(b"no", appendpos_condition=4)
    with checks.refused(HttpResponseError, "MaxBlobSizeConditionNotMet"):
        blob.append_block(b"no", maxsize_condition=8)
    blob.upload_blob(b"three\n", blob_type=BlobType.APPENDBLOB)
    assert blob.download_blob().readall() == b"one\ntwo\nthree\n"
    blob.seal_append_blob()
    with checks.refused(HttpResponseError, "BlobIsSealed"):
        blob.append_block(b"no")


def check_page_blobs():
    blob = container().get_blob_client("disk")
    blob.create_page_blob(64 * 1024)
    blob.upload_page(b"\x01" * 1024, offset=512, length=1024)
    blob.upload_page(b"\x02" * 512, offset=8192, length=512)
    ranges = [(part["start"], part["end"]) for part in blob.get_page_ranges()[0]]
    assert ranges == [(512, 1535), (8192, 8703)], ranges
    blob.clear_page(offset=512, length=512)
    assert [(part.start, part.end) for part in blob.list_page_ranges()] == [(1024, 1535), (8192, 8703)]
    with checks.refused(HttpResponseError):
        blob.upload_page(b"x" * 512, offset=64 * 1024, length=512)
    blob.resize_blob(128 * 1024)
    blob.set_sequence_number("update", "7")
    seen = blob.get_blob_properties()
    assert (seen.size, seen.page_blob_sequence_number) == (128 * 1024, 7)
    assert blob.download_blob().readall()[1024:1536] == b"\x01" * 512
    whole = os.urandom(2 * MIB)
    other = blob.upload_blob(whole, blob_type=BlobType.PAGEBLOB, overwrite=True)
    assert other["etag"]
    assert blob.download_blob().readall() == whole


def check_snapshots():
    blob = container().upload_blob("s", b"before", metadata={"v": "1"})
    taken = blob.create_snapshot()
    blob.upload_blob(b"after", overwrite=True)
    kept = BlobClient(URL, blob.container_name, "s", snapshot=taken["snapshot"], credential=KEY)
    assert (kept.download_blob().readall(), blob.download_blob().readall()) == (b"before", b"after")
    assert kept.get_blob_properties().metadata == {"v": "1"}
    home = SERVICE.get_container_client(blob.container_name)
    assert len(list(home.list_blobs(include=["snapshots"]))) == 2
    with checks.refused(HttpResponseError, "SnapshotsPresent"):
        blob.delete_blob()
    blob.start_copy_from_url(kept.url, requires_sync=False)
    assert blob.download_blob().readall() == b"before"
    blob.delete_blob(delete_snapshots="only")
    blob.delete_blob()
    with checks.refused(ResourceNotFoundError, "BlobNotFound"):
        kept.get_blob_properties()


def check_leases():
    home = container()
    blob = home.upload_blob("l", b"1")
    lease = blob.acquire_lease(15)
    with checks.refused(HttpResponseError, "LeaseIdMissing"):
        blob.upload_blob(b"2", overwrite=True)
    with checks.refused(HttpResponseError, "LeaseAlreadyPresent"):
        blob.acquire_lease(15)
    blob.upload_blob(b"3", overwrite=True, lease=lease)
    lease.renew()
    lease.change(str(uuid.uuid4()))
    assert blob.get_blob_properties().lease.state == "leased"
    lease.release()
    blob.upload_blob(b"4", overwrite=True)
    whole = BlobLeaseClient(home)
    whole.acquire(-1)
    with checks.refused(HttpResponseError, "LeaseIdMissing"):
        home.delete_container()
    assert whole.break_lease(0) == 0
    home.delete_container()


def check_copies():
    home, away = container(), container()
    data = os.urandom(MIB)
    source = home.upload_blob("source", data, metadata={"from": "here"})
    copy = away.get_blob_client("copy")
    answer = copy.start_copy_from_url(source.url)
    assert answer["copy_status"] == "success"
    assert answer["copy_id"]
    assert copy.download_blob().readall() == data
    seen = copy.get_blob_properties()
    assert seen.copy.status == "success"
    assert seen.metadata == {"from": "here"}
    with checks.refused(HttpResponseError):
        copy.abort_copy(answer["copy_id"])
    token = generate_blob_sas(
        ACCOUNT,
        home.container_name,
        "source",
        account_key=KEY,
        permission=BlobSasPermissions(read=True),
        expiry=soon(),
    )
    link = source.url + "?" + token
    away.get_blob_client("url").upload_blob_from_url(link)
    assert away.download_blob("url").readall() == data
    staged = away.get_blob_client("staged")
    staged.stage_block_from_url("000001", link, source_offset=0, source_length=1000)
    staged.commit_block_list([BlobBlock("000001")])
    assert staged.download_blob().readall() == data[:1000]
    log = away.get_blob_client("log")
    log.create_append_blob()
    log.append_block_from_url(link, source_offset=5, source_length=10)
    assert log.download_blob().readall() == data[5:15]
    with checks.refused(HttpResponseError, "CannotVerifyCopySource", 404):
        copy.start_copy_from_url(source.url + "nothing")


def check_listing():
    home = container()
    names = ["a.txt", "a/1", "a/2/x", "b/1", "c", "é f+.txt", "z%20"]
    for name in names:
        home.upload_blob(name, name.encode(), metadata={"n": "1"})
    assert [blob.name for blob in home.list_blobs()] == sorted(names)
    top = {item.name: isinstance(item, BlobPrefix) for item in home.walk_blobs()}
    assert top == {"a.txt": False, "a/": True, "b/": True, "c": False, "z%20": False, "é f+.txt": False}
    assert [blob.name for blob in home.list_blobs(name_starts_with="a/")] == ["a/1", "a/2/x"]
    pages = list(home.list_blobs(results_per_page=2).by_page())
    assert [len(list(page)) for page in home.list_blobs(results_per_page=3).by_page()] == [3, 3, 1]
    assert pages
    assert {str(blob.metadata) for blob in home.list_blobs(include=["metadata"])} == {"{'n': '1'}"}
    for name in names:
        assert home.download_blob(name).readall() == name.encode()
    assert list(home.list_blob_names(name_starts_with="b")) == ["b/1"]


def check_tags():
    home = container()
    mark = uuid.uuid4().hex
    blob = home.upload_blob("tagged", b"1", tags={"run": mark, "state": "new"})
    assert blob.get_blob_tags() == {"run": mark, "state": "new"}
    blob.set_blob_tags({"run": mark, "state": "done"})
    assert blob.get_blob_properties().tag_count == 2
    found = list(SERVICE.find_blobs_by_tags(f"\"run\"='{mark}' AND \"state\"='done'"))
    assert [(item.name, item.container_name) for item in found] == [("tagged", home.container_name)]
    assert [item.name for item in home.find_blobs_by_tags(f"\"run\"='{mark}'")] == ["tagged"]
    assert next(iter(home.list_blobs(include=["tags"]))).tags == {"run": mark, "state": "done"}
    with checks.refused(HttpResponseError, "ConditionNotMet"):
        blob.delete_blob(if_tags_match_condition="\"state\"='new'")


def check_batch():
    home = container()
    for number in range(12):
        home.upload_blob(f"b/{number}", b"x")
    home.delete_blobs(*[f"b/{number}" for number in range(10)])
    assert [blob.name for blob in home.list_blobs()] == ["b/10", "b/11"]
    home.set_standard_blob_tier_blobs("Cool", "b/10", "b/11")
    assert {blob.blob_tier for blob in home.list_blobs()} == {"Cool"}
    answers = home.delete_blobs("b/10", "missing", raise_on_any_failure=False)
    assert [answer.status_code for answer in answers] == [202, 404]


def check_tiers():
    blob = container().upload_blob("t", b"1", standard_blob_tier=StandardBlobTier.COOL)
    assert blob.get_blob_properties().blob_tier == "Cool"
    blob.set_standard_blob_tier(StandardBlobTier.HOT)
    assert blob.get_blob_properties().blob_tier == "Hot"


def check_service_sas():
    home = container()
    blob = home.upload_blob("d/shared name.txt", b"shared")
    read = BlobSasPermissions(read=True)
    token = generate_blob_sas(
        ACCOUNT,
        home.container_name,
        blob.blob_name,
        account_key=KEY,
        permission=read,
        expiry=soon(),
        content_disposition="attachment; filename=x.txt",
    )
    guest = BlobClient.from_blob_url(blob.url + "?" + token)
    assert guest.download_blob().readall() == b"shared"
    headers = guest.download_blob().properties.content_settings
    assert headers.content_disposition == "attachment; filename=x.txt"
    with checks.refused(HttpResponseError, "AuthorizationPermissionMismatch"):
        guest.upload_blob(b"x", overwrite=True)
    with checks.refused(ClientAuthenticationError, "AuthenticationFailed"):
        BlobClient.from_blob_url(blob.url + "?" + token.replace("sp=r", "sp=rw")).download_blob()
    late = generate_blob_sas(
        ACCOUNT,
        home.container_name,
        blob.blob_name,
        account_key=KEY,
        permission=read,
        expiry=soon() - 2 * HOUR,
    )
    with checks.refused(ClientAuthenticationError, "AuthenticationFailed"):
        BlobClient.from_blob_url(blob.url + "?" + late).download_blob()
    token = generate_container_sas(
        ACCOUNT,
        home.container_name,
        account_key=KEY,
        expiry=soon(),
        permission=ContainerSasPermissions(read=True, list=True, write=True, delete=True),
    )
    guest = ContainerClient.from_container_url(home.url + "?" + token)
    guest.upload_blob("by-guest", b"1")
    assert [item.name for item in guest.list_blobs()] == ["by-guest", "d/shared name.txt"]
    guest.delete_blob("by-guest")
    with checks.refused(HttpResponseError):
        guest.delete_container()
    policy = AccessPolicy(permission="rl", expiry=soon())
    home.set_container_access_policy({"readers": policy})
    token = generate_container_sas(ACCOUNT, home.container_name, account_key=KEY, policy_id="readers")
    guest = ContainerClient.from_container_url(home.url + "?" + token)
    assert len(list(guest.list_blobs())) == 1
    home.set_container_access_policy({})
    with checks.refused(HttpResponseError, "AuthenticationFailed", 403):
        list(guest.list_blobs())


def check_account_sas():
    home = container()
    home.upload_blob("x", b"1")
    everything = ResourceTypes(service=True, container=True, object=True)
    token = generate_account_sas(
        ACCOUNT, KEY, everything, AccountSasPermissions(read=True, list=True), soon()
    )
    guest = BlobServiceClient(URL, credential=token)
    assert home.container_name in [item.name for item in guest.list_containers()]
    assert guest.get_blob_client(home.container_name, "x").download_blob().readall() == b"1"
    with checks.refused(HttpResponseError, "AuthorizationPermissionMismatch"):
        guest.create_container("not-allowed")
    token = generate_account_sas(
        ACCOUNT, KEY, ResourceTypes(object=True), AccountSasPermissions(read=True), soon()
    )
    with checks.refused(HttpResponseError, "AuthorizationResourceTypeMismatch"):
        list(BlobServiceClient(URL, credential=token).list_containers())


def check_tokens_and_user_delegation():
    if URL.startswith("http:"):
        return  # The SDK refuses to send a token over http.
    from azure.identity import ClientSecretCredential

    login = ClientSecretCredential(GIVEN["tenant"], GIVEN["client_id"], GIVEN["client_secret"])
    service = BlobServiceClient(URL, credential=login)
    home = service.create_container("c" + uuid.uuid4().hex[:12])
    blob = home.upload_blob("x", b"by token")
    key = service.get_user_delegation_key(soon() - 2 * HOUR, soon())
    token = generate_blob_sas(
        ACCOUNT, home.container_name, "x", user_delegation_key=key, permission="r", expiry=soon()
    )
    assert (
        BlobClient.from_blob_url(blob.url.partition("?")[0] + "?" + token).download_blob().readall()
        == b"by token"
    )
    with checks.refused(ClientAuthenticationError):
        BlobClient.from_blob_url(blob.url + "?" + token.replace("sp=r", "sp=w")).download_blob()


def check_anonymous():
    home = container()
    blob = home.upload_blob("x", b"open")
    with checks.refused(HttpResponseError):
        BlobClient.from_blob_url(blob.url).download_blob()
    home.set_container_access_policy({}, public_access="blob")
    assert BlobClient.from_blob_url(blob.url).download_blob().readall() == b"open"
    with checks.refused(HttpResponseError):
        list(ContainerClient.from_container_url(home.url).list_blobs())
    home.set_container_access_policy({}, public_access="container")
    assert len(list(ContainerClient.from_container_url(home.url).list_blobs())) == 1


def check_service_properties():
    rule = CorsRule(["https://example.org"], ["GET"], max_age_in_seconds=5)
    SERVICE.set_service_properties(cors=[rule])
    assert SERVICE.get_service_properties()["cors"][0].allowed_origins == "https://example.org"
    SERVICE.set_service_properties(cors=[])
    assert SERVICE.get_service_properties()["cors"] == []
    assert SERVICE.get_account_information()["account_kind"]


if __name__ == "__main__":
    checks.drive(sys.modules[__name__])
