"""The generations before 12: azure-storage 0.3x, azure-storage-blob and -file 1.x and 2.1."""

import datetime
import io
import os
import shutil
import sys
import tempfile
import uuid
from pathlib import Path

import checks
from azure.common import AzureConflictHttpError, AzureHttpError, AzureMissingResourceHttpError
from azure.storage.blob import (
    AppendBlobService,
    BlobPermissions,
    BlockBlobService,
    ContainerPermissions,
    PageBlobService,
    PublicAccess,
)
from azure.storage.file import FilePermissions, FileService, SharePermissions

try:
    from azure.storage.common import AccessPolicy, AccountPermissions, ResourceTypes
except ImportError:
    from azure.storage import AccessPolicy, AccountPermissions, ResourceTypes
try:
    from azure.storage.blob.models import BlobBlock, ContentSettings
except ImportError:
    from azure.storage.blob import BlobBlock, ContentSettings
try:
    from azure.storage.blob._constants import __version__ as VERSION  # noqa: N812 - it is one
except ImportError:
    VERSION = "0.36"
from azure.storage.file.models import ContentSettings as FileContentSettings

GIVEN = checks.load()
MIB = 1 << 20


def service(kind):
    """By name and key alone, as in Azure, when the proxy leads there; else by connection string."""
    if GIVEN["proxied"]:
        return kind(account_name=GIVEN["account"], account_key=GIVEN["key"])
    return kind(connection_string=GIVEN["connection_string"])


BLOCK, APPEND, PAGE = service(BlockBlobService), service(AppendBlobService), service(PageBlobService)
FILES = service(FileService)
SHARE_SNAPSHOTS = hasattr(FILES, "snapshot_share")
# Asked for the whole of nothing, the versions before 1.0 ask again and leave out the account of a URL's path.
EMPTY = () if VERSION.startswith("0") and not GIVEN["proxied"] else (0,)


def soon():
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(hours=1)


def container():
    name = "c" + uuid.uuid4().hex[:12]
    assert BLOCK.create_container(name)
    return name


def share():
    name = "s" + uuid.uuid4().hex[:12]
    assert FILES.create_share(name)
    return name


def check_containers():
    name = container()
    assert BLOCK.exists(name)
    assert not BLOCK.create_container(name)
    with checks.refused(AzureConflictHttpError, 409):
        BLOCK.create_container(name, fail_on_exist=True)
    BLOCK.set_container_metadata(name, {"a": "1"})
    assert BLOCK.get_container_metadata(name) == {"a": "1"}
    assert [one.name for one in BLOCK.list_containers(prefix=name)] == [name]
    BLOCK.set_container_acl(name, {"id1": AccessPolicy("rl", soon())}, public_access=PublicAccess.Blob)
    acl = BLOCK.get_container_acl(name)
    assert (list(acl), acl.public_access) == (["id1"], "blob")
    assert BLOCK.delete_container(name)
    assert not BLOCK.exists(name)


def check_block_blobs():
    name = container()
    for service in (BLOCK,):
        service.MAX_SINGLE_PUT_SIZE, service.MAX_BLOCK_SIZE = 2 * MIB, MIB
    for size in (*EMPTY, 1, 4096, 2 * MIB, 2 * MIB + 1, 5 * MIB + 3):
        data = os.urandom(size)
        BLOCK.create_blob_from_bytes(name, f"d/{size}", data)
        assert BLOCK.get_blob_to_bytes(name, f"d/{size}").content == data, size
    BLOCK.create_blob_from_text(name, "text", "h\u00f6her")
    assert BLOCK.get_blob_to_text(name, "text").content == "h\u00f6her"
    BLOCK.create_blob_from_stream(name, "stream", io.BytesIO(b"from a stream"))
    stream = io.BytesIO()
    BLOCK.get_blob_to_stream(name, "stream", stream)
    assert stream.getvalue() == b"from a stream"
    assert BLOCK.get_blob_to_bytes(name, "stream", start_range=5, end_range=7).content == b"a s"
    place = tempfile.mkdtemp()
    try:
        path = str(Path(place) / "file")
        Path(path).write_bytes(b"z" * 3000000)
        BLOCK.create_blob_from_path(name, "path", path, validate_content=True)
        BLOCK.get_blob_to_path(name, "path", path + "2", validate_content=True)
        assert Path(path + "2").read_bytes() == b"z" * 3000000
    finally:
        shutil.rmtree(place)
    with checks.refused(AzureConflictHttpError, 409):
        BLOCK.create_blob_from_bytes(name, "text", b"x", if_none_match="*")
    assert BLOCK.exists(name, "text")
    assert not BLOCK.exists(name, "nothing")
    with checks.refused(AzureMissingResourceHttpError, 404):
        BLOCK.get_blob_properties(name, "nothing")


def check_properties_and_listing():
    name = container()
    settings = ContentSettings(content_type="text/x-log", content_language="de")
    BLOCK.create_blob_from_bytes(name, "a/b c.txt", b"1", metadata={"k": "v"}, content_settings=settings)
    BLOCK.create_blob_from_bytes(name, "a/\u00e9+.txt", b"22")
    BLOCK.create_blob_from_bytes(name, "z", b"333")
    seen = BLOCK.get_blob_properties(name, "a/b c.txt")
    assert (seen.properties.content_length, seen.properties.content_settings.content_language) == (1, "de")
    assert seen.metadata == {"k": "v"}
    BLOCK.set_blob_metadata(name, "z", {"n": "1"})
    BLOCK.set_blob_properties(name, "z", ContentSettings(content_type="text/plain"))
    assert BLOCK.get_blob_properties(name, "z").properties.content_settings.content_type == "text/plain"
    listed = [one.name for one in BLOCK.list_blobs(name)]
    assert listed == ["a/b c.txt", "a/\u00e9+.txt", "z"]
    assert [one.name for one in BLOCK.list_blobs(name, delimiter="/")] == ["a/", "z"]
    assert [one.name for one in BLOCK.list_blobs(name, num_results=1)] == ["a/b c.txt"]
    page = BLOCK.list_blobs(name, num_results=2)
    assert [one.name for one in BLOCK.list_blobs(name, marker=page.next_marker)] == ["z"]


def check_blocks():
    name = container()
    for number in range(3):
        BLOCK.put_block(name, "b", bytes(bytearray([65 + number])) * 10, f"{number:03d}")
    assert len(BLOCK.get_block_list(name, "b", block_list_type="all").uncommitted_blocks) == 3
    BLOCK.put_block_list(name, "b", [BlobBlock("002"), BlobBlock("000")])
    assert BLOCK.get_blob_to_bytes(name, "b").content == b"C" * 10 + b"A" * 10
    assert len(BLOCK.get_block_list(name, "b").committed_blocks) == 2


def check_append_blobs():
    name = container()
    APPEND.create_blob(name, "log")
    assert APPEND.append_block(name, "log", b"one\n").append_offset == 0
    APPEND.append_blob_from_text(name, "log", "two\n")
    APPEND.append_blob_from_bytes(name, "log", b"x" * (5 * MIB))
    assert APPEND.get_blob_properties(name, "log").properties.content_length == 8 + 5 * MIB
    with checks.refused(AzureHttpError, 412):
        APPEND.append_block(name, "log", b"no", appendpos_condition=3)


def check_page_blobs():
    name = container()
    PAGE.create_blob(name, "disk", 8192)
    PAGE.update_page(name, "disk", b"\x01" * 512, 512, 1023)
    PAGE.update_page(name, "disk", b"\x02" * 512, 4096, 4607)
    PAGE.clear_page(name, "disk", 512, 1023)
    assert [(part.start, part.end) for part in PAGE.get_page_ranges(name, "disk")] == [(4096, 4607)]
    PAGE.resize_blob(name, "disk", 16384)
    PAGE.set_sequence_number(name, "disk", "max", 5)
    assert PAGE.get_blob_properties(name, "disk").properties.page_blob_sequence_number == 5
    data = os.urandom(512) * 16000
    PAGE.create_blob_from_bytes(name, "whole", data)
    assert PAGE.get_blob_to_bytes(name, "whole").content == data


def check_snapshots_leases_copies():
    name = container()
    BLOCK.create_blob_from_bytes(name, "b", b"before")
    taken = BLOCK.snapshot_blob(name, "b").snapshot
    BLOCK.create_blob_from_bytes(name, "b", b"after")
    assert BLOCK.get_blob_to_bytes(name, "b", snapshot=taken).content == b"before"
    with checks.refused(AzureConflictHttpError, 409):
        BLOCK.delete_blob(name, "b")
    lease = BLOCK.acquire_blob_lease(name, "b", 15)
    with checks.refused(AzureHttpError, 412):
        BLOCK.create_blob_from_bytes(name, "b", b"no")
    BLOCK.create_blob_from_bytes(name, "b", b"mine", lease_id=lease)
    BLOCK.renew_blob_lease(name, "b", lease)
    BLOCK.release_blob_lease(name, "b", lease)
    copy = BLOCK.copy_blob(name, "copy", BLOCK.make_blob_url(name, "b"))
    assert copy.status == "success"
    assert BLOCK.get_blob_to_bytes(name, "copy").content == b"mine"
    with checks.refused(AzureHttpError, 409):
        BLOCK.abort_copy_blob(name, "copy", copy.id)
    BLOCK.delete_blob(name, "b", delete_snapshots="include")
    lease = BLOCK.acquire_container_lease(name)
    with checks.refused(AzureHttpError, 412):
        BLOCK.delete_container(name)
    BLOCK.break_container_lease(name, 0)
    BLOCK.delete_container(name)


def _guest(token):
    if GIVEN["proxied"]:
        return BlockBlobService(account_name=GIVEN["account"], sas_token=token)
    text = "BlobEndpoint={};SharedAccessSignature={}".format(GIVEN["blob"], token)
    return BlockBlobService(connection_string=text)


def check_blob_sas():
    name = container()
    BLOCK.create_blob_from_bytes(name, "a b", b"shared")
    token = BLOCK.generate_blob_shared_access_signature(
        name, "a b", permission=BlobPermissions.READ, expiry=soon()
    )
    assert _guest(token).get_blob_to_bytes(name, "a b").content == b"shared"
    with checks.refused(AzureHttpError, 403):
        _guest(token).delete_blob(name, "a b")
    token = BLOCK.generate_container_shared_access_signature(
        name, ContainerPermissions(read=True, list=True), soon()
    )
    assert [one.name for one in _guest(token).list_blobs(name)] == ["a b"]
    BLOCK.set_container_acl(name, {"p": AccessPolicy(ContainerPermissions.LIST, soon())})
    token = BLOCK.generate_container_shared_access_signature(name, id="p")
    assert [one.name for one in _guest(token).list_blobs(name)] == ["a b"]
    with checks.refused(AzureHttpError, 403):
        _guest(token).get_blob_to_bytes(name, "a b")
    token = BLOCK.generate_account_shared_access_signature(
        ResourceTypes(service=True, container=True, object=True),
        AccountPermissions(read=True, list=True),
        soon(),
    )
    assert name in [one.name for one in _guest(token).list_containers()]
    with checks.refused(AzureHttpError, 403):
        _guest(token.replace("sp=rl", "sp=rlw")).list_containers()


def check_shares():
    name = share()
    assert not FILES.create_share(name)
    FILES.set_share_metadata(name, {"a": "1"})
    FILES.set_share_properties(name, 3)
    seen = FILES.get_share_properties(name)
    assert (seen.metadata, seen.properties.quota) == ({"a": "1"}, 3)
    assert [one.name for one in FILES.list_shares(prefix=name)] == [name]
    assert FILES.get_share_stats(name) in (0, 1)
    FILES.set_share_acl(name, {"p": AccessPolicy(SharePermissions.READ, soon())})
    assert list(FILES.get_share_acl(name)) == ["p"]
    assert FILES.delete_share(name)
    assert not FILES.exists(name)


def check_files():
    name = share()
    assert FILES.create_directory(name, "d")
    assert not FILES.create_directory(name, "d")
    FILES.create_directory(name, "d/e")
    for size in (*EMPTY, 1, 4096, 4 * MIB, 9 * MIB + 17):
        data = os.urandom(size)
        FILES.create_file_from_bytes(name, "d", f"{size}", data)
        assert FILES.get_file_to_bytes(name, "d", f"{size}").content == data, size
    FILES.create_file_from_text(name, None, "t", "h\u00f6her")
    assert FILES.get_file_to_text(name, None, "t").content == "h\u00f6her"
    FILES.create_file_from_stream(name, "d", "stream", io.BytesIO(b"streamed"), 8, validate_content=True)
    assert FILES.get_file_to_bytes(name, "d", "stream", start_range=2, end_range=4).content == b"rea"
    place = tempfile.mkdtemp()
    try:
        path = str(Path(place) / "file")
        Path(path).write_bytes(b"z" * 5000000)
        FILES.create_file_from_path(name, "d", "path", path, metadata={"k": "v"})
        FILES.get_file_to_path(name, "d", "path", path + "2")
        assert Path(path + "2").read_bytes() == b"z" * 5000000
    finally:
        shutil.rmtree(place)
    # 2.1 puts files before directories.
    assert sorted(one.name for one in FILES.list_directories_and_files(name)) == ["d", "t"]
    listed = [one.name for one in FILES.list_directories_and_files(name, "d")]
    assert {"1", "4096", "4194304", "9437201", "e", "path", "stream"} <= set(listed), listed
    assert FILES.get_file_metadata(name, "d", "path") == {"k": "v"}
    assert FILES.exists(name, "d", "path")
    assert not FILES.exists(name, "d", "nothing")
    with checks.refused(AzureHttpError, 409):
        FILES.delete_directory(name, "d", fail_not_exist=True)


def check_file_ranges_and_properties():
    name = share()
    FILES.create_file(name, None, "f", 2048, content_settings=FileContentSettings(content_type="text/x-log"))
    FILES.update_range(name, None, "f", b"a" * 512, 512, 1023)
    FILES.update_range(name, None, "f", b"b" * 512, 1024, 1535)
    FILES.clear_range(name, None, "f", 512, 1023)
    whole = FILES.get_file_to_bytes(name, None, "f").content
    assert whole == b"\0" * 1024 + b"b" * 512 + b"\0" * 512
    ranges = [(part.start, part.end) for part in FILES.list_ranges(name, None, "f")]
    assert ranges == [(1024, 1535)], ranges
    FILES.resize_file(name, None, "f", 10)
    assert FILES.get_file_properties(name, None, "f").properties.content_length == 10
    FILES.set_file_properties(name, None, "f", FileContentSettings(content_type="text/plain"))
    FILES.set_file_metadata(name, None, "f", {"m": "1"})
    seen = FILES.get_file_properties(name, None, "f")
    assert (seen.metadata, seen.properties.content_settings.content_type) == ({"m": "1"}, "text/plain")
    copy = FILES.copy_file(name, None, "g", FILES.make_file_url(name, None, "f"))
    assert copy.status == "success"
    assert FILES.exists(name, None, "g")


def check_share_snapshots():
    if not SHARE_SNAPSHOTS:
        return  # They came with version 1.0.
    name = share()
    FILES.create_file_from_bytes(name, None, "f", b"before")
    taken = FILES.snapshot_share(name).snapshot
    FILES.create_file_from_bytes(name, None, "f", b"after!!")
    assert FILES.get_file_to_bytes(name, None, "f", snapshot=taken).content == b"before"
    assert [one.name for one in FILES.list_directories_and_files(name, snapshot=taken)] == ["f"]
    assert len(list(FILES.list_shares(prefix=name, include_snapshots=True))) == 2
    with checks.refused(AzureHttpError, 409):
        FILES.delete_share(name, fail_not_exist=True)


def check_file_sas():
    name = share()
    FILES.create_file_from_bytes(name, None, "a b", b"shared")
    token = FILES.generate_file_shared_access_signature(name, None, "a b", FilePermissions.READ, soon())
    if GIVEN["proxied"]:
        guest = FileService(account_name=GIVEN["account"], sas_token=token)
    else:
        guest = FileService(
            connection_string="FileEndpoint={};SharedAccessSignature={}".format(GIVEN["file"], token)
        )
    assert guest.get_file_to_bytes(name, None, "a b").content == b"shared"
    with checks.refused(AzureHttpError, 403):
        guest.delete_file(name, None, "a b")
    token = FILES.generate_share_shared_access_signature(name, SharePermissions(read=True, list=True), soon())
    guest.sas_token = token
    assert FILES.make_file_url(name, None, "a b", sas_token=token)


def check_service_properties():
    from_service = BLOCK.get_blob_service_properties()
    assert from_service.hour_metrics is not None
    assert from_service.cors == []
    assert FILES.get_file_service_properties().cors == []


if __name__ == "__main__":
    checks.drive(sys.modules[__name__])
