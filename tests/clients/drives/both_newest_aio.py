"""The newest azure-storage-blob and azure-storage-file-share, asynchronous."""

import asyncio
import datetime
import os
import sys
import uuid

import checks
from azure.core.exceptions import HttpResponseError, ResourceExistsError
from azure.storage.blob import BlobSasPermissions, BlobType, generate_blob_sas
from azure.storage.blob.aio import BlobClient, BlobServiceClient
from azure.storage.fileshare.aio import ShareServiceClient

GIVEN = checks.load()
KEY = GIVEN["key"]
MIB = 1 << 20


async def _new(service):
    return await service.create_container("c" + uuid.uuid4().hex[:12])


def with_blobs(work):
    async def run():
        async with BlobServiceClient(
            GIVEN["blob"], credential=KEY, max_single_put_size=2 * MIB, max_block_size=MIB
        ) as service:
            await work(service)

    return lambda: asyncio.run(run())


def with_shares(work):
    async def run():
        async with ShareServiceClient(GIVEN["file"], credential=KEY) as service:
            await work(service)

    return lambda: asyncio.run(run())


@with_blobs
async def check_blobs_up_and_down(service):
    home = await _new(service)
    datas = {f"n/{size}": os.urandom(size) for size in (0, 1, MIB, 2 * MIB + 1, 7 * MIB + 3)}
    await asyncio.gather(*(home.upload_blob(name, data, max_concurrency=4) for name, data in datas.items()))
    for name, data in datas.items():
        download = await home.download_blob(name, max_concurrency=4)
        assert await download.readall() == data, name
    assert sorted(datas) == [blob.name async for blob in home.list_blobs()]
    assert [item.name async for item in home.walk_blobs()] == ["n/"]
    with checks.refused(ResourceExistsError, "BlobAlreadyExists"):
        await home.upload_blob("n/1", b"again")
    blob = home.get_blob_client("n/1")
    token = generate_blob_sas(
        GIVEN["account"],
        home.container_name,
        "n/1",
        account_key=KEY,
        permission=BlobSasPermissions(read=True),
        expiry=datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1),
    )
    async with BlobClient.from_blob_url(blob.url + "?" + token) as guest:
        assert await (await guest.download_blob()).readall() == datas["n/1"]
        with checks.refused(HttpResponseError, "AuthorizationPermissionMismatch"):
            await guest.delete_blob()


@with_blobs
async def check_blob_kinds(service):
    home = await _new(service)
    log = home.get_blob_client("log")
    await log.create_append_blob()
    for line in (b"1\n", b"2\n"):
        await log.append_block(line)
    assert await (await log.download_blob()).readall() == b"1\n2\n"
    disk = await home.upload_blob("disk", b"\x01" * 1024, blob_type=BlobType.PAGEBLOB)
    assert [(part.start, part.end) async for part in disk.list_page_ranges()] == [(0, 1023)]


@with_blobs
async def check_blob_leases_snapshots_copies_tags_batch(service):
    home = await _new(service)
    blob = await home.upload_blob("b", b"before", tags={"t": "1"})
    assert await blob.get_blob_tags() == {"t": "1"}
    lease = await blob.acquire_lease(15)
    with checks.refused(HttpResponseError, "LeaseIdMissing"):
        await blob.upload_blob(b"x", overwrite=True)
    await lease.release()
    snapshot = await blob.create_snapshot()
    await blob.upload_blob(b"after", overwrite=True)
    kept = home.get_blob_client("b", snapshot=snapshot["snapshot"])
    assert await (await kept.download_blob()).readall() == b"before"
    copy = home.get_blob_client("copy")
    assert (await copy.start_copy_from_url(blob.url))["copy_status"] == "success"
    await home.delete_blobs("copy", delete_snapshots="include")
    assert not await copy.exists()


@with_shares
async def check_shares(service):
    home = await service.create_share("s" + uuid.uuid4().hex[:12])
    folder = await home.create_directory("d")
    for size in (0, 1, 4 * MIB + 1, 9 * MIB):
        data = os.urandom(size)
        file = await folder.upload_file(f"f{size}", data, max_concurrency=3)
        assert await (await file.download_file(max_concurrency=3)).readall() == data, size
    assert len([item async for item in folder.list_directories_and_files()]) == 4
    moved = await file.rename_file("moved")
    assert await moved.exists()
    assert not await file.exists()
    copy = home.get_file_client("copy")
    await copy.start_copy_from_url(moved.url)
    assert (await copy.get_file_properties()).size == 9 * MIB
    await copy.set_file_metadata({"a": "b"})
    assert (await copy.get_file_properties()).metadata == {"a": "b"}
    assert await copy.get_ranges() == [{"start": 0, "end": 9 * MIB - 1}]
    await home.delete_share()


if __name__ == "__main__":
    checks.drive(sys.modules[__name__])
