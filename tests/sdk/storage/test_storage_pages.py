"""Page blobs through azure-storage-blob 12.31."""

import os
from datetime import UTC, datetime, timedelta

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceModifiedError
from azure.storage.blob import (
    BlobServiceClient,
    ContainerClient,
    ContentSettings,
    PremiumPageBlobTier,
    SequenceNumberAction,
    generate_blob_sas,
)

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30


@pytest.fixture
def container(server, fresh_name) -> ContainerClient:
    with BlobServiceClient.from_connection_string(server.connection_string) as client:
        yield client.create_container(fresh_name)


@pytest.fixture
def blob(container):
    client = container.get_blob_client("disk.vhd")
    client.create_page_blob(64 * KIB, sequence_number="5", metadata={"k": "v"})
    return client


def ranges(blob, **options) -> list[tuple[int, int]]:
    return [(each.start, each.end) for each in blob.list_page_ranges(**options) if not each.cleared]


def code(call) -> str:
    with pytest.raises(HttpResponseError) as refused:
        call()
    return refused.value.error_code


def test_pages_are_written_cleared_and_listed(server, container, blob):
    first, second = os.urandom(512), os.urandom(2 * KIB)
    blob.upload_page(first, 0, 512)
    told = blob.upload_page(second, 1024, 2 * KIB, validate_content=True)
    assert told["blob_sequence_number"] == 5
    blob.upload_page(os.urandom(4 * KIB), 32 * KIB, 4 * KIB)
    assert ranges(blob) == [(0, 511), (1024, 3071), (32 * KIB, 36 * KIB - 1)]
    blob.clear_page(1536, 512)
    assert ranges(blob) == [(0, 511), (1024, 1535), (2048, 3071), (32 * KIB, 36 * KIB - 1)]
    assert ranges(blob, offset=1024, length=1024) == [(1024, 1535)]
    expected = first + bytes(512) + second[:512] + bytes(512) + second[1024:]
    assert blob.download_blob(offset=0, length=3 * KIB).readall() == expected
    pages = blob.list_page_ranges(results_per_page=1).by_page()
    assert [[each.start for each in page] for page in pages] == [[0], [1024], [2048], [32 * KIB]]
    found = blob.get_blob_properties()
    assert (found.blob_type, found.size, found.metadata) == ("PageBlob", 64 * KIB, {"k": "v"})
    assert (found.page_blob_sequence_number, found.content_settings.content_md5) == (5, None)
    listed = next(iter(container.list_blobs()))
    assert (listed.blob_type, listed.size) == ("PageBlob", 64 * KIB)
    assert (server.directory("blob", container.container_name) / "disk.vhd").stat().st_size == 64 * KIB


def test_a_large_page_blob_takes_no_space_until_written(server, container):
    blob = container.get_blob_client("big")
    blob.create_page_blob(20 * GIB)
    blob.upload_page(b"x" * 512, 20 * GIB - 512, 512)
    assert ranges(blob) == [(20 * GIB - 512, 20 * GIB - 1)]
    assert (server.directory("blob", container.container_name) / "big").stat().st_blocks * 512 < MIB
    copied = container.get_blob_client("copied")
    copied.start_copy_from_url(blob.url)
    assert ranges(copied) == [(20 * GIB - 512, 20 * GIB - 1)]
    assert copied.get_blob_properties().blob_type == "PageBlob"


def test_a_whole_upload_and_resizing(blob):
    content = os.urandom(9 * MIB) + bytes(512)
    blob.upload_blob(content, blob_type="PageBlob", overwrite=True)
    assert blob.download_blob().readall() == content
    assert ranges(blob) == [(0, 9 * MIB - 1)]
    blob.resize_blob(1024)
    assert (blob.get_blob_properties().size, blob.download_blob().readall()) == (1024, content[:1024])
    blob.resize_blob(2048)
    assert blob.download_blob().readall() == content[:1024] + bytes(1024)


def test_resizing_keeps_the_headers(container):
    blob = container.get_blob_client("b")
    blob.create_page_blob(512, content_settings=ContentSettings(content_type="text/x"))
    before = blob.get_blob_properties().etag
    assert blob.resize_blob(1024)["etag"] != before
    assert blob.get_blob_properties().content_settings.content_type == "text/x"


def test_sequence_numbers(blob):
    number = SequenceNumberAction
    assert blob.set_sequence_number(number.Update, "7")["blob_sequence_number"] == 7
    assert blob.set_sequence_number(number.Max, "6")["blob_sequence_number"] == 7
    assert blob.set_sequence_number(number.Max, "9")["blob_sequence_number"] == 9
    assert blob.set_sequence_number(number.Increment)["blob_sequence_number"] == 10
    page = b"x" * 512
    blob.upload_page(page, 0, 512, if_sequence_number_lte=10)
    blob.upload_page(page, 0, 512, if_sequence_number_lt=11)
    blob.upload_page(page, 0, 512, if_sequence_number_eq=10)
    for demand in ({"lte": 9}, {"lt": 10}, {"eq": 9}):
        with pytest.raises(HttpResponseError) as refused:
            blob.clear_page(0, 512, **{f"if_sequence_number_{name}": n for name, n in demand.items()})
        assert refused.value.error_code == "SequenceNumberConditionNotMet"
    assert ranges(blob) == [(0, 511)]


def test_what_is_no_page_is_refused_and_changes_nothing(server, container, blob):
    assert code(lambda: container.get_blob_client("x").create_page_blob(513)) == "InvalidHeaderValue"
    assert code(lambda: blob.upload_page(b"x" * 512, 64 * KIB, 512)) == "InvalidPageRange"
    assert code(lambda: blob.clear_page(64 * KIB, 512)) == "InvalidPageRange"
    assert code(lambda: blob.resize_blob(1000)) == "InvalidHeaderValue"
    assert ranges(blob) == []
    block = container.upload_blob("block", b"x" * 512)
    for call in (
        lambda: block.upload_page(b"x" * 512, 0, 512),
        lambda: block.get_page_ranges(),
        lambda: block.resize_blob(512),
        lambda: blob.append_block(b"x"),
    ):
        assert code(call) == "InvalidBlobType"
    assert code(lambda: container.get_blob_client("none").upload_page(b"x" * 512, 0, 512)) == "BlobNotFound"
    with pytest.raises(ResourceModifiedError):
        blob.upload_page(b"x" * 512, 0, 512, etag="0x1", match_condition=MatchConditions.IfNotModified)
    blob.upload_page(
        b"x" * 512,
        0,
        512,
        etag=blob.get_blob_properties().etag,
        match_condition=MatchConditions.IfNotModified,
    )


def test_pages_from_a_url(server, container, blob):
    content = os.urandom(8 * KIB)
    source = container.upload_blob("source", content)
    token = generate_blob_sas(
        server.account,
        container.container_name,
        "source",
        account_key=server.key,
        permission="r",
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    blob.upload_pages_from_url(f"{source.url}?{token}", offset=4 * KIB, length=2 * KIB, source_offset=100)
    assert ranges(blob) == [(4 * KIB, 6 * KIB - 1)]
    assert blob.download_blob(offset=4 * KIB, length=2 * KIB).readall() == content[100 : 100 + 2 * KIB]


def test_tiers_of_page_blobs(container):
    blob = container.get_blob_client("b")
    blob.create_page_blob(512, premium_page_blob_tier=PremiumPageBlobTier.P10)
    found = blob.get_blob_properties()
    assert (found.blob_tier, found.blob_tier_inferred) == ("P10", None)
    blob.set_premium_page_blob_tier(PremiumPageBlobTier.P50)
    assert blob.get_blob_properties().blob_tier == "P50"


def test_a_job_that_writes_to_a_page_blob_leaves_it_one(server, container, blob):
    file = server.directory("blob", container.container_name) / "disk.vhd"
    before = blob.get_blob_properties().etag
    with file.open("r+b") as disk:
        disk.seek(1024)
        disk.write(b"y" * 512)
    found = blob.get_blob_properties()
    assert (found.blob_type, found.page_blob_sequence_number, found.metadata) == ("PageBlob", 5, {"k": "v"})
    assert found.etag != before
    assert ranges(blob) == [(1024, 1535)]
    file.write_bytes(b"no pages")
    assert blob.get_blob_properties().blob_type == "BlockBlob"


def test_what_changed_since_a_snapshot(container, blob):
    blob.upload_page(b"a" * 1024, 0, 1024)
    blob.upload_page(b"a" * 512, 8 * KIB, 512)
    first = blob.create_snapshot()["snapshot"]
    blob.upload_page(b"b" * 512, 512, 512)
    blob.clear_page(8 * KIB, 512)
    blob.upload_page(b"c" * 512, 16 * KIB, 512)
    changed = list(blob.list_page_ranges(previous_snapshot=first))
    assert [(each.start, each.end, each.cleared) for each in changed] == [
        (512, 1023, False),
        (8 * KIB, 8 * KIB + 511, True),
        (16 * KIB, 16 * KIB + 511, False),
    ]
    pages = blob.list_page_ranges(previous_snapshot=first, results_per_page=2).by_page()
    assert [len(list(page)) for page in pages] == [2, 1]
    second = blob.create_snapshot()["snapshot"]
    blob.clear_page(0, 1024)
    later = container.get_blob_client("disk.vhd", snapshot=second)
    assert [each.start for each in later.list_page_ranges(previous_snapshot=first)] == [
        512,
        8 * KIB,
        16 * KIB,
    ]
    assert ranges(container.get_blob_client("disk.vhd", snapshot=first)) == [
        (0, 1023),
        (8 * KIB, 8 * KIB + 511),
    ]
    none = "2020-01-01T00:00:00.0000000Z"
    assert code(lambda: list(blob.list_page_ranges(previous_snapshot=none))) == "PreviousSnapshotNotFound"
