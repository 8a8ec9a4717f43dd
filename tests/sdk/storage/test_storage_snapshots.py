"""Snapshots of blobs and soft deletion, driven by azure-storage-blob 12.31."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import requests
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import (
    BlobBlock,
    BlobClient,
    BlobPrefix,
    BlobServiceClient,
    ContainerClient,
    ContentSettings,
    RetentionPolicy,
    generate_blob_sas,
    generate_container_sas,
)

MIB = 1 << 20


@pytest.fixture
def service(server):
    with BlobServiceClient.from_connection_string(server.connection_string) as client:
        yield client


@pytest.fixture
def container(service, fresh_name) -> ContainerClient:
    return service.create_container(fresh_name)


@pytest.fixture
def kept_for_a_week(service):
    """The account keeps what is deleted; other tests of the module do not."""
    service.set_service_properties(delete_retention_policy=RetentionPolicy(enabled=True, days=7))
    yield
    service.set_service_properties(delete_retention_policy=RetentionPolicy(enabled=False))


def snapshot_of(blob, **arguments):
    """A client of a new snapshot of the blob."""
    made = blob.create_snapshot(**arguments)
    return blob.__class__(
        blob.url.partition("?")[0].rsplit(f"/{blob.container_name}/")[0],
        blob.container_name,
        blob.blob_name,
        snapshot=made["snapshot"],
        credential=blob.credential,
    )


def code_of(call) -> tuple[int, str]:
    with pytest.raises(HttpResponseError) as error:
        call()
    return error.value.status_code, error.value.error_code


def listed(container, *include, **arguments) -> list[tuple[str, str | None, bool]]:
    found = container.list_blobs(include=list(include), **arguments)
    return [(blob.name, blob.snapshot, bool(blob.deleted)) for blob in found]


def test_a_snapshot_keeps_everything_whatever_becomes_of_the_blob(server, container):
    blob = container.get_blob_client("dir/b")
    content = os.urandom(3 * MIB)
    settings = ContentSettings(content_type="text/x", content_language="de")
    blob.upload_blob(content, metadata={"k": "v"}, content_settings=settings)
    before = blob.get_blob_properties()
    snapshot = snapshot_of(blob)
    told = snapshot.get_blob_properties()
    assert (told.etag, told.last_modified, told.size, told.metadata) == (
        before.etag,
        before.last_modified,
        before.size,
        {"k": "v"},
    )
    assert told.content_settings == before.content_settings
    path = server.directory("blob", container.container_name) / "dir/b"
    changes = (
        lambda: path.write_bytes(b"by a job, in place"),
        lambda: blob.set_blob_metadata({"other": "metadata"}),
        lambda: blob.upload_blob(b"new", overwrite=True),
        path.unlink,
    )
    for change in changes:
        change()
        assert snapshot.download_blob().readall() == content
        assert snapshot.download_blob(offset=MIB, length=5).readall() == content[MIB : MIB + 5]
        again = snapshot.get_blob_properties()
        assert (again.etag, again.metadata, again.content_settings) == (
            told.etag,
            told.metadata,
            told.content_settings,
        )
    # A snapshot of a blob that a job has removed can still be found and deleted.
    assert listed(container, "snapshots") == [("dir/b", snapshot.snapshot, False)]
    blob.delete_blob(delete_snapshots="include")
    assert listed(container, "snapshots") == []


def test_nothing_of_a_snapshot_is_in_the_users_tree(server, container):
    container.get_blob_client("b").upload_blob(b"x")
    container.get_blob_client("b").create_snapshot()
    assert [entry.name for entry in server.directory("blob", container.container_name).rglob("*")] == ["b"]


def test_metadata_of_a_snapshot_can_be_its_own(container):
    blob = container.get_blob_client("b")
    blob.upload_blob(b"x", metadata={"k": "v"})
    snapshot = snapshot_of(blob, metadata={"own": "1"})
    assert snapshot.get_blob_properties().metadata == {"own": "1"}
    assert snapshot.get_blob_properties().etag != blob.get_blob_properties().etag
    assert blob.get_blob_properties().metadata == {"k": "v"}


def test_snapshots_come_before_their_blob_oldest_first_through_all_pages(container):
    expected = []
    for name in ("a", "a/b", "b", "c.txt"):
        blob = container.get_blob_client(name if name != "a/b" else "aa/b")
        blob.upload_blob(b"x")
        times = [blob.create_snapshot()["snapshot"] for _ in range(3)]
        assert times == sorted(set(times))
        expected += [(blob.blob_name, time, False) for time in times] + [(blob.blob_name, None, False)]
    assert listed(container, "snapshots") == expected
    assert listed(container) == [entry for entry in expected if entry[1] is None]
    for size in (1, 2, 3, 5):
        pages = container.list_blobs(include=["snapshots"], results_per_page=size).by_page()
        sizes, found = [], []
        for page in pages:
            entries = list(page)
            sizes.append(len(entries))
            found += [(blob.name, blob.snapshot, False) for blob in entries]
        assert found == expected
        assert max(sizes) <= size
    assert listed(container, "snapshots", name_starts_with="b") == [e for e in expected if e[0] == "b"]
    walked = list(container.walk_blobs(include=["snapshots"], delimiter="/"))
    assert [entry.name for entry in walked if isinstance(entry, BlobPrefix)] == ["aa/"]
    assert [(e.name, e.snapshot) for e in walked if not isinstance(e, BlobPrefix)] == [
        (name, time) for name, time, _ in expected if "/" not in name
    ]


def test_deleting_a_blob_and_its_snapshots(container):
    blob = container.get_blob_client("b")
    blob.upload_blob(b"x")
    first, second = snapshot_of(blob), snapshot_of(blob)
    assert code_of(blob.delete_blob) == (409, "SnapshotsPresent")
    first.delete_blob()
    assert code_of(first.download_blob) == (404, "BlobNotFound")
    assert code_of(first.delete_blob) == (404, "BlobNotFound")
    assert second.download_blob().readall() == b"x"
    blob.delete_blob(delete_snapshots="only")
    assert listed(container, "snapshots") == [("b", None, False)]
    snapshot_of(blob)
    blob.delete_blob(delete_snapshots="include")
    assert listed(container, "snapshots", "deleted") == []
    assert code_of(lambda: blob.delete_blob(delete_snapshots="include")) == (404, "BlobNotFound")


def test_a_deleted_container_takes_its_snapshots_along(server, service, container):
    blob = container.get_blob_client("b")
    blob.upload_blob(b"x")
    snapshot = snapshot_of(blob)
    home = server.root / server.account / ".snapshots/blob" / container.container_name
    assert len(list(home.iterdir())) == 1
    container.delete_container()
    assert not home.exists()
    service.create_container(container.container_name)
    assert code_of(snapshot.get_blob_properties) == (404, "BlobNotFound")
    blob.upload_blob(b"y")
    assert listed(container, "snapshots") == [("b", None, False)]


def test_snapshots_are_read_only(server, container):
    blob = container.get_blob_client("b")
    blob.upload_blob(b"x", metadata={"k": "v"})
    snapshot = snapshot_of(blob)
    token = generate_container_sas(
        server.account,
        container.container_name,
        account_key=server.key,
        permission="rwdlt",
        expiry=datetime.now(UTC) + timedelta(minutes=5),
    )
    session = requests.Session()
    session.trust_env = False

    def call(method: str, comp: str, name: str = snapshot.snapshot, **headers: str) -> tuple[int, str | None]:
        named = {f"x-ms-{header.replace('_', '-')}": value for header, value in headers.items()}
        query = f"comp={comp}&" if comp else ""
        answer = session.request(method, f"{blob.url}?{query}snapshot={name}&{token}", headers=named)
        return answer.status_code, answer.headers.get("x-ms-error-code")

    refused = (400, "InvalidQueryParameterValue")
    assert call("PUT", "", blob_type="BlockBlob") == refused
    assert call("PUT", "lease", lease_action="acquire", lease_duration="15") == refused
    for comp in ("metadata", "properties", "block", "snapshot", "appendblock", "undelete"):
        assert call("PUT", comp) == refused, comp
    assert call("DELETE", "", delete_snapshots="only") == (400, "InvalidHeaderValue")
    assert call("GET", "", "../../b") == refused
    assert call("GET", "", "2020-01-01T00:00:00.0000000Z") == (404, "BlobNotFound")
    assert call("GET", "") == (200, None)
    assert snapshot.get_blob_properties().metadata == blob.get_blob_properties().metadata == {"k": "v"}


def test_a_token_for_one_snapshot_opens_nothing_else(server, container):
    blob = container.get_blob_client("b")
    blob.upload_blob(b"frozen")
    snapshot = snapshot_of(blob)
    other = snapshot_of(blob)
    blob.upload_blob(b"now", overwrite=True)
    token = generate_blob_sas(
        server.account,
        container.container_name,
        "b",
        snapshot=snapshot.snapshot,
        account_key=server.key,
        permission="r",
        expiry=datetime.now(UTC) + timedelta(minutes=5),
    )

    def read(time: str | None) -> bytes:
        with BlobClient(
            server.url("blob"), container.container_name, "b", snapshot=time, credential=token
        ) as client:
            return client.download_blob().readall()

    assert read(snapshot.snapshot) == b"frozen"
    for refused in (None, other.snapshot):
        assert code_of(lambda: read(refused))[0] == 403  # noqa: B023


def test_a_batch_deletes_blobs_with_their_snapshots(container):
    for name in ("a", "b"):
        container.get_blob_client(name).upload_blob(b"x")
        container.get_blob_client(name).create_snapshot()
    refused = list(container.delete_blobs("a", "b", raise_on_any_failure=False))
    assert [part.status_code for part in refused] == [409, 409]
    done = list(container.delete_blobs("a", "b", delete_snapshots="include"))
    assert [part.status_code for part in done] == [202, 202]
    assert listed(container, "snapshots") == []


def test_snapshots_taken_while_a_blob_is_written_hold_one_whole_version(container):
    blob, log = container.get_blob_client("b"), container.get_blob_client("log")
    blob.upload_blob(b"0" * 300_000, metadata={"v": "0"})
    log.create_append_blob()

    def write(number: int) -> None:
        blob.upload_blob(b"%d" % number * 300_000, metadata={"v": str(number)}, overwrite=True)
        log.append_block(b"%02d" % number * 50_000)

    def either(number: int) -> None:
        if number % 2:
            return write(1 + number // 2)
        blob.create_snapshot()
        return log.create_snapshot() and None

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(either, range(18))) == [None] * 18
    for entry in container.list_blobs(include=["snapshots", "metadata"]):
        content = container.get_blob_client(entry.name, snapshot=entry.snapshot).download_blob().readall()
        assert len(content) == entry.size
        if entry.name == "b":
            assert content == entry.metadata["v"].encode() * 300_000
        else:
            blocks = {content[start : start + 100_000] for start in range(0, len(content), 100_000)}
            assert blocks <= {b"%02d" % number * 50_000 for number in range(1, 10)}


def test_conditions_and_leases_of_snapshots(container):
    blob = container.get_blob_client("b")
    blob.upload_blob(b"x")
    etag = blob.get_blob_properties().etag
    modified = MatchConditions.IfModified
    assert code_of(lambda: blob.create_snapshot(etag=etag, match_condition=modified)) == (
        412,
        "ConditionNotMet",
    )
    lease = blob.acquire_lease()
    snapshot = snapshot_of(blob)
    assert snapshot.get_blob_properties().lease.state == "available"
    blob.create_snapshot(lease=lease)
    assert code_of(lambda: blob.create_snapshot(lease="00000000-0000-0000-0000-000000000001")) == (
        412,
        "LeaseIdMismatchWithBlobOperation",
    )
    # The lease guards the blob, not its snapshots.
    snapshot.delete_blob()
    assert code_of(lambda: blob.delete_blob(delete_snapshots="include")) == (412, "LeaseIdMissing")
    blob.delete_blob(delete_snapshots="include", lease=lease)
    assert code_of(blob.create_snapshot) == (404, "BlobNotFound")


def test_block_lists_and_types_of_snapshots(container):
    blob = container.get_blob_client("b")
    blob.stage_block("AAAA", b"one")
    blob.stage_block("BBBB", b"two")
    blob.commit_block_list([BlobBlock("AAAA"), BlobBlock("BBBB")])
    snapshot = snapshot_of(blob)
    blob.upload_blob(b"other", overwrite=True)
    blob.stage_block("CCCC", b"three")
    committed, uncommitted = snapshot.get_block_list("all")
    assert ([block.id for block in committed], uncommitted) == (["AAAA", "BBBB"], [])
    copy = container.get_blob_client("copy")
    copy.start_copy_from_url(snapshot.url)
    assert copy.download_blob().readall() == b"onetwo"
    assert [block.id for block in copy.get_block_list()[0]] == ["AAAA", "BBBB"]
    log = container.get_blob_client("log")
    log.create_append_blob()
    log.append_block(b"first")
    frozen = snapshot_of(log)
    log.append_block(b"second")
    assert frozen.download_blob().readall() == b"first"
    told = frozen.get_blob_properties()
    assert (told.blob_type, told.append_blob_committed_block_count) == ("AppendBlob", 1)


def test_a_sparse_blob_is_kept_sparse(server, container):
    path = server.directory("blob", container.container_name) / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 30)
        file.seek(500 * MIB)
        file.write(b"data")
    snapshot = snapshot_of(container.get_blob_client("sparse"))
    home = server.root / server.account / ".snapshots/blob" / container.container_name
    (kept,) = home.iterdir()
    assert kept.stat().st_size == 1 << 30
    assert kept.stat().st_blocks * 512 < MIB
    assert snapshot.download_blob(offset=500 * MIB, length=4).readall() == b"data"


@pytest.mark.usefixtures("kept_for_a_week")
def test_a_deleted_blob_comes_back_with_its_snapshots(server, container):
    blob = container.get_blob_client("dir/b")
    blob.upload_blob(b"precious", metadata={"k": "v"})
    snapshot = snapshot_of(blob)
    blob.delete_blob(delete_snapshots="include")
    assert not blob.exists()
    assert not (server.directory("blob", container.container_name) / "dir/b").exists()
    assert code_of(snapshot.download_blob) == (404, "BlobNotFound")
    assert listed(container, "snapshots") == []
    assert listed(container, "deleted") == [("dir/b", None, True)]
    assert listed(container, "snapshots", "deleted") == [
        ("dir/b", snapshot.snapshot, True),
        ("dir/b", None, True),
    ]
    (told,) = container.list_blobs(include=["deleted"])
    assert (told.remaining_retention_days, told.size) in ((6, 8), (7, 8))
    assert told.deleted_time is not None
    walked = list(container.walk_blobs(include=["deleted"]))
    assert [entry.name for entry in walked] == ["dir/"]
    blob.undelete_blob()
    assert (server.directory("blob", container.container_name) / "dir/b").read_bytes() == b"precious"
    assert blob.get_blob_properties().metadata == {"k": "v"}
    assert snapshot.download_blob().readall() == b"precious"
    assert listed(container, "snapshots", "deleted") == [
        ("dir/b", snapshot.snapshot, False),
        ("dir/b", None, False),
    ]
    # Once more changes nothing.
    blob.undelete_blob()
    assert blob.download_blob().readall() == b"precious"


@pytest.mark.usefixtures("kept_for_a_week")
def test_what_is_overwritten_becomes_a_deleted_snapshot(container):
    blob = container.get_blob_client("b")
    for content in (b"1", b"2", b"3"):
        blob.upload_blob(content, overwrite=True)
    blob.delete_blob()
    blob.upload_blob(b"4")
    assert [deleted for _, _, deleted in listed(container, "snapshots", "deleted")] == [
        True,
        True,
        True,
        False,
    ]
    assert listed(container) == [("b", None, False)]
    blob.undelete_blob()
    kept = [time for _, time, _ in listed(container, "snapshots") if time]
    contents = [container.get_blob_client("b", snapshot=time).download_blob().readall() for time in kept]
    assert contents == [b"1", b"2", b"3"]
    assert blob.download_blob().readall() == b"4"


@pytest.mark.usefixtures("kept_for_a_week")
def test_a_refused_write_keeps_nothing(container):
    blob = container.get_blob_client("b")
    blob.upload_blob(b"x")
    assert code_of(lambda: blob.upload_blob(b"y")) == (409, "BlobAlreadyExists")
    assert listed(container, "snapshots", "deleted") == [("b", None, False)]


def test_without_soft_deletion_nothing_comes_back(container):
    blob = container.get_blob_client("b")
    blob.upload_blob(b"x")
    blob.undelete_blob()
    blob.delete_blob()
    assert code_of(blob.undelete_blob) == (404, "BlobNotFound")
