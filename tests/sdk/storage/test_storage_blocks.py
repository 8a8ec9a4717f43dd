"""Blocks, block lists and appends: what is refused, what is told, what expires."""

import os
import time
from datetime import UTC, datetime, timedelta

import pytest
import requests
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobBlock, BlobServiceClient, ContainerClient, generate_container_sas

MIB = 1 << 20


@pytest.fixture
def container(server, fresh_name) -> ContainerClient:
    with BlobServiceClient.from_connection_string(server.connection_string) as client:
        yield client.create_container(fresh_name)


def code(call) -> str:
    with pytest.raises(HttpResponseError) as refused:
        call()
    return refused.value.error_code


def names(container, *include: str) -> list[str]:
    return [each.name for each in container.list_blobs(include=list(include))]


def test_a_blob_of_blocks_alone_is_listed_only_when_asked_for(container):
    container.upload_blob("b", b"x")
    container.get_blob_client("b").stage_block("1", b"more")
    for name in ("a/é", "c", "d/e"):
        container.get_blob_client(name).stage_block("1", b"content")
    assert names(container) == ["b"]
    assert names(container, "uncommittedblobs") == ["a/é", "b", "c", "d/e"]
    found = list(container.list_blobs(include=["uncommittedblobs"], name_starts_with="a/"))
    assert [(each.name, each.size) for each in found] == [("a/é", 0)]
    pages = container.list_blobs(include=["uncommittedblobs"], results_per_page=1).by_page()
    assert [[each.name for each in page] for page in pages] == [["a/é"], ["b"], ["c"], ["d/e"]]
    blob = container.get_blob_client("c")
    assert not blob.exists()
    committed, uncommitted = blob.get_block_list("all")
    assert (committed, [(block.id, block.size) for block in uncommitted]) == ([], [("1", 7)])
    blob.commit_block_list(["1"])
    assert names(container) == ["b", "c"]
    assert names(container, "uncommittedblobs") == ["a/é", "b", "c", "d/e"]


def test_blocks_expire_after_a_week(server, container):
    blob = container.get_blob_client("old")
    blob.stage_block("1", b"x")
    (home,) = (server.root / server.account / ".staging/blocks" / container.container_name).iterdir()
    week = 7 * 24 * 3600
    os.utime(home, (time.time() - week + 60,) * 2)
    assert names(container, "uncommittedblobs") == ["old"]
    os.utime(home, (time.time() - week - 60,) * 2)
    assert names(container, "uncommittedblobs") == []
    assert code(lambda: blob.get_block_list("all")) == "BlobNotFound"
    assert code(lambda: blob.commit_block_list(["1"])) == "InvalidBlockList"
    blob.stage_block("long-id", b"y")
    blob.commit_block_list(["long-id"])
    assert blob.download_blob().readall() == b"y"


def test_blocks_are_for_block_blobs(container):
    container.get_blob_client("log").create_append_blob()
    container.get_blob_client("disk").create_page_blob(512)
    for name in ("log", "disk"):
        blob = container.get_blob_client(name)
        assert code(lambda blob=blob: blob.stage_block("1", b"x")) == "InvalidBlobType"
        assert code(lambda blob=blob: blob.commit_block_list([])) == "InvalidBlobType"
        assert code(lambda blob=blob: blob.get_block_list()) == "InvalidBlobType"
    block = container.upload_blob("block", b"x")
    assert code(lambda: block.append_block(b"y")) == "InvalidBlobType"
    assert code(lambda: block.seal_append_blob()) == "InvalidBlobType"


def test_block_ids(container):
    blob = container.get_blob_client("b")
    blob.stage_block("1234", b"x")
    assert code(lambda: blob.stage_block("12345", b"x")) == "InvalidBlobOrBlock"
    assert code(lambda: container.get_blob_client("c").stage_block("x" * 65, b"x")) == "InvalidBlockId"
    assert code(lambda: blob.commit_block_list([BlobBlock("9999")])) == "InvalidBlockList"
    assert code(lambda: blob.commit_block_list([BlobBlock("1234")] * 50_001)) == "BlockCountExceedsLimit"
    blob.stage_block("x" * 4, b"y")
    blob.commit_block_list([BlobBlock("1234"), BlobBlock("1234"), BlobBlock("xxxx")])
    assert blob.download_blob().readall() == b"xxy"


def test_a_sealed_append_blob_takes_no_more(container):
    blob = container.get_blob_client("log")
    blob.create_append_blob()
    blob.append_block(b"one")
    assert code(lambda: blob.seal_append_blob(appendpos_condition=2)) == "AppendPositionConditionNotMet"
    assert blob.seal_append_blob(appendpos_condition=3)["blob_sealed"] is True
    assert code(lambda: blob.append_block(b"two")) == "BlobIsSealed"
    assert blob.get_blob_properties().is_append_blob_sealed is True
    assert next(iter(container.list_blobs())).is_append_blob_sealed is True
    blob.set_blob_metadata({"k": "v"})
    assert blob.get_blob_properties().is_append_blob_sealed is True
    assert blob.download_blob().readall() == b"one"


@pytest.mark.parametrize(
    ("version", "query", "headers", "limit"),
    [
        ("2015-12-11", "", {"x-ms-blob-type": "BlockBlob"}, 64 * MIB),
        ("2019-07-07", "", {"x-ms-blob-type": "BlockBlob"}, 256 * MIB),
        ("2019-12-12", "", {"x-ms-blob-type": "BlockBlob"}, 5000 * MIB),
        ("2015-12-11", "comp=block&blockid=MQ==", {}, 4 * MIB),
        ("2019-07-07", "comp=block&blockid=MQ==", {}, 100 * MIB),
        ("2019-12-12", "comp=block&blockid=MQ==", {}, 4000 * MIB),
        ("2021-12-02", "comp=appendblock", {}, 4 * MIB),
        ("2022-11-02", "comp=appendblock", {}, 100 * MIB),
        ("2022-11-02", "comp=page", {"x-ms-page-write": "update", "x-ms-range": "bytes=0-4194815"}, 4 * MIB),
    ],
)
def test_how_much_one_request_may_bring(server, container, version, query, headers, limit):
    """A length over the limit is refused before the body is read."""
    container.get_blob_client("b").create_append_blob()
    token = generate_container_sas(
        server.account,
        container.container_name,
        account_key=server.key,
        permission="racwd",
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    request = requests.Request(
        "PUT", f"{container.url}/b?{query}&{token}", headers={"x-ms-version": version, **headers}
    ).prepare()
    request.headers["Content-Length"] = str(limit + 512)
    request.headers["Expect"] = "100-continue"
    with requests.Session() as session:
        session.trust_env = False
        answer = session.send(request)
    assert (answer.status_code, answer.headers["x-ms-error-code"]) == (413, "RequestBodyTooLarge")
