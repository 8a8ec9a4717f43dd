"""The Files service by the asyncio client of azure-storage-file-share 12.27."""

import asyncio
import os

from azure.core.exceptions import HttpResponseError
from azure.storage.fileshare.aio import ShareServiceClient

MIB = 1 << 20


def test_everyday_calls(server, fresh_name):
    async def calls() -> None:
        async with ShareServiceClient.from_connection_string(server.connection_string) as service:
            share = await service.create_share(fresh_name)
            directory = await share.create_directory("d", metadata={"k": "v"})
            content = os.urandom(9 * MIB + 5)
            file = await directory.upload_file("f", content, max_concurrency=4, validate_content=True)
            taken = await share.create_snapshot()
            await file.upload_range(b"0" * 512, 0, 512)
            changed, cleared = await file.get_ranges_diff(taken)
            assert (changed, cleared) == ([{"start": 0, "end": 511}], [])
            renamed = await file.rename_file("d/g")
            copy = share.get_file_client("copy")
            await copy.start_copy_from_url(renamed.url)
            download = await copy.download_file(max_concurrency=3)
            assert await download.readall() == b"0" * 512 + content[512:]
            old = service.get_share_client(fresh_name, snapshot=taken["snapshot"]).get_file_client("d/f")
            assert await (await old.download_file()).readall() == content
            lease = await copy.acquire_lease()
            try:
                await copy.delete_file()
            except HttpResponseError as error:
                assert error.error_code == "LeaseIdMissing"
            else:
                raise AssertionError("a leased file was deleted")
            await copy.delete_file(lease=lease)
            found = [entry["name"] async for entry in share.list_directories_and_files()]
            assert found == ["d"]
            await share.delete_share(delete_snapshots=True)

    asyncio.run(calls())
