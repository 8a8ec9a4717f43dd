"""Conditional headers on every call that takes them, driven by azure-storage-blob 12.31."""

from datetime import UTC, datetime, timedelta

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobBlock, BlobServiceClient, ContainerClient, ContentSettings

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
SAME, OTHER = MatchConditions.IfNotModified, MatchConditions.IfModified


@pytest.fixture
def container(server, fresh_name) -> ContainerClient:
    with BlobServiceClient.from_connection_string(server.connection_string) as client:
        yield client.create_container(fresh_name)


def code_of(call, **conditions) -> tuple[int, str]:
    with pytest.raises(HttpResponseError) as error:
        call(**conditions)
    return error.value.status_code, error.value.error_code


def block_blob(container):
    blob = container.get_blob_client("block")
    blob.upload_blob(b"x", overwrite=True)
    return blob


def append_blob(container):
    blob = container.get_blob_client("append")
    blob.create_append_blob()
    return blob


def page_blob(container):
    blob = container.get_blob_client("page")
    blob.create_page_blob(1024)
    return blob


def commit(blob, **conditions):
    blob.stage_block("AAAA", b"new")
    return blob.commit_block_list([BlobBlock("AAAA")], **conditions)


# What makes a blob, and a call on it that changes it.
WRITES = {
    "PutBlob": (block_blob, lambda blob, **given: blob.upload_blob(b"new", overwrite=True, **given)),
    "PutBlockList": (block_blob, commit),
    "SetBlobMetadata": (block_blob, lambda blob, **given: blob.set_blob_metadata({"a": "b"}, **given)),
    "SetBlobProperties": (
        block_blob,
        lambda blob, **given: blob.set_http_headers(ContentSettings(content_type="a/b"), **given),
    ),
    "SnapshotBlob": (block_blob, lambda blob, **given: blob.create_snapshot(**given)),
    "LeaseBlob": (block_blob, lambda blob, **given: blob.acquire_lease(**given)),
    "DeleteBlob": (block_blob, lambda blob, **given: blob.delete_blob(**given)),
    "CopyBlob": (block_blob, lambda blob, **given: blob.start_copy_from_url(blob.url, **given)),
    "PutAppendBlob": (append_blob, lambda blob, **given: blob.create_append_blob(**given)),
    "AppendBlock": (append_blob, lambda blob, **given: blob.append_block(b"x", **given)),
    "SealAppendBlob": (append_blob, lambda blob, **given: blob.seal_append_blob(**given)),
    "PutPageBlob": (page_blob, lambda blob, **given: blob.create_page_blob(512, **given)),
    "PutPage": (page_blob, lambda blob, **given: blob.upload_page(b"x" * 512, 0, 512, **given)),
    "ClearPage": (page_blob, lambda blob, **given: blob.clear_page(0, 512, **given)),
    "ResizeBlob": (page_blob, lambda blob, **given: blob.resize_blob(512, **given)),
    "SetSequenceNumber": (page_blob, lambda blob, **given: blob.set_sequence_number("update", "7", **given)),
}


@pytest.mark.parametrize("name", WRITES)
def test_writes_happen_only_under_their_conditions(container, name):
    make, write = WRITES[name]
    blob = make(container)
    before = blob.get_blob_properties()
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    failed = (412, "ConditionNotMet")
    assert code_of(write, blob=blob, etag='"0x1"', match_condition=SAME) == failed
    assert code_of(write, blob=blob, etag=before.etag, match_condition=OTHER) == failed
    assert code_of(write, blob=blob, if_modified_since=tomorrow) == failed
    assert code_of(write, blob=blob, if_unmodified_since=LONG_AGO) == failed
    assert blob.get_blob_properties().etag == before.etag
    write(
        blob,
        etag=before.etag,
        match_condition=SAME,
        if_modified_since=LONG_AGO,
        if_unmodified_since=before.last_modified,
    )


READS = {
    "GetBlob": lambda blob, **given: blob.download_blob(**given).readall(),
    "GetBlobProperties": lambda blob, **given: blob.get_blob_properties(**given),
}


@pytest.mark.parametrize("name", READS)
def test_reads_tell_a_client_that_its_copy_is_good(container, name):
    read = READS[name]
    blob = block_blob(container)
    etag = blob.get_blob_properties().etag
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert code_of(read, blob=blob, etag='"0x1"', match_condition=SAME)[0] == 412
    assert code_of(read, blob=blob, if_unmodified_since=LONG_AGO)[0] == 412
    assert code_of(read, blob=blob, etag=etag, match_condition=OTHER)[0] == 304
    assert code_of(read, blob=blob, match_condition=MatchConditions.IfMissing)[0] == 304
    assert code_of(read, blob=blob, if_modified_since=tomorrow)[0] == 304
    read(blob, etag=etag, match_condition=SAME, if_modified_since=LONG_AGO, if_unmodified_since=tomorrow)


def test_conditions_on_what_is_not_there(container):
    blob = container.get_blob_client("none")
    failed = (412, "ConditionNotMet")
    assert code_of(blob.upload_blob, data=b"x", overwrite=True, etag='"0x1"', match_condition=SAME) == failed
    assert (
        code_of(blob.upload_blob, data=b"x", overwrite=True, match_condition=MatchConditions.IfPresent)
        == failed
    )
    assert not blob.exists()
    blob.upload_blob(b"x", match_condition=MatchConditions.IfMissing)
    exists = (409, "BlobAlreadyExists")
    assert code_of(blob.upload_blob, data=b"y", overwrite=False) == exists
    assert code_of(blob.create_append_blob, match_condition=MatchConditions.IfMissing) == exists
    assert code_of(blob.create_page_blob, size=512, match_condition=MatchConditions.IfMissing) == exists
    blob.stage_block("AAAA", b"z")
    assert (
        code_of(
            blob.commit_block_list, block_list=[BlobBlock("AAAA")], match_condition=MatchConditions.IfMissing
        )
        == exists
    )
    # Only what makes a whole blob says it so.
    assert code_of(blob.set_blob_metadata, match_condition=MatchConditions.IfMissing) == failed


CONTAINER_WRITES = {
    "SetContainerMetadata": lambda box, **given: box.set_container_metadata({"a": "b"}, **given),
    "SetContainerAcl": lambda box, **given: box.set_container_access_policy({}, **given),
    "LeaseContainer": lambda box, **given: box.acquire_lease(**given),
    "DeleteContainer": lambda box, **given: box.delete_container(**given),
}


@pytest.mark.parametrize("name", CONTAINER_WRITES)
def test_containers_compare_times(container, name):
    write = CONTAINER_WRITES[name]
    before = container.get_container_properties()
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert code_of(write, box=container, if_modified_since=tomorrow) == (412, "ConditionNotMet")
    if name != "SetContainerMetadata":
        # That one takes no other condition.
        assert code_of(write, box=container, if_unmodified_since=LONG_AGO) == (412, "ConditionNotMet")
    assert container.get_container_properties().etag == before.etag
    write(container, if_modified_since=LONG_AGO)
