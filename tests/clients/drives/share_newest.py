"""The newest azure-storage-file-share, synchronous."""

import datetime
import io
import os
import sys
import uuid

import checks
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
    CorsRule,
    FileSasPermissions,
    NTFSAttributes,
    ResourceTypes,
    ShareClient,
    ShareFileClient,
    ShareSasPermissions,
    ShareServiceClient,
    generate_account_sas,
    generate_file_sas,
    generate_share_sas,
)

GIVEN = checks.load()
ACCOUNT, KEY = GIVEN["account"], GIVEN["key"]
URL = GIVEN["file"]
SERVICE = ShareServiceClient(URL, credential=KEY)
HOUR = datetime.timedelta(hours=1)
MIB = 1 << 20


def soon():
    return datetime.datetime.now(datetime.UTC) + HOUR


def share(**options):
    return SERVICE.create_share("s" + uuid.uuid4().hex[:12], **options)


def names(client, **options):
    """Sorted, because the SDK puts all directories of a page before its files."""
    return sorted(item["name"] for item in client.list_directories_and_files(**options))


def check_shares():
    one = share(metadata={"purpose": "scripts"}, quota=7)
    seen = one.get_share_properties()
    assert (seen.quota, seen.metadata) == (7, {"purpose": "scripts"})
    with checks.refused(ResourceExistsError, "ShareAlreadyExists"):
        one.create_share()
    one.set_share_quota(9)
    one.set_share_metadata({"purpose": "logs"})
    found = list(SERVICE.list_shares(name_starts_with=one.share_name, include_metadata=True))
    assert [(item.name, item.quota, item.metadata) for item in found] == [
        (one.share_name, 9, {"purpose": "logs"})
    ]
    assert one.get_share_stats() == 0
    one.delete_share()
    with checks.refused(ResourceNotFoundError, "ShareNotFound"):
        one.get_share_properties()


def check_directories():
    home = share()
    top = home.create_directory("top", metadata={"a": "1"})
    with checks.refused(ResourceExistsError, "ResourceAlreadyExists"):
        home.create_directory("top")
    with checks.refused(ResourceNotFoundError, "ParentNotFound"):
        home.create_directory("missing/below")
    below = top.create_subdirectory("below")
    below.upload_file("x.txt", b"x")
    assert top.get_directory_properties().metadata == {"a": "1"}
    with checks.refused(HttpResponseError, "DirectoryNotEmpty"):
        top.delete_directory()
    assert [(i["name"], i["is_directory"]) for i in top.list_directories_and_files()] == [("below", True)]
    assert home.get_directory_client("TOP/BELOW").exists()
    below.delete_file("x.txt")
    below.delete_directory()
    top.delete_directory()
    assert not top.exists()


def check_sizes_up_and_down():
    home = share()
    for size in (0, 1, 4096, 4 * MIB, 4 * MIB + 1, 9 * MIB + 17):
        data = os.urandom(size)
        file = home.get_file_client(f"f{size}.bin")
        file.upload_file(data, max_concurrency=3)
        assert file.download_file(max_concurrency=3).readall() == data, size
        assert file.get_file_properties().size == size
    file.upload_file(io.BytesIO(b"shorter now"))
    assert file.download_file().readall() == b"shorter now"
    assert file.download_file(offset=3, length=4).readall() == b"rter"
    with checks.refused(HttpResponseError, "InvalidRange"):
        file.download_file(offset=11, length=1).readall()
    assert b"".join(file.download_file().chunks()) == b"shorter now"


def check_ranges():
    file = share().get_file_client("sparse")
    file.create_file(4096)
    file.upload_range(b"a" * 512, offset=512, length=512)
    file.upload_range(b"b" * 512, offset=1024, length=512, validate_content=True)
    assert file.get_ranges() == [{"start": 512, "end": 1535}], file.get_ranges()
    file.clear_range(512, 512)
    assert file.download_file().readall()[:1536] == b"\0" * 1024 + b"b" * 512
    with checks.refused(HttpResponseError, "InvalidRange"):
        file.upload_range(b"x" * 10, offset=4096, length=10)
    file.resize_file(100)
    assert file.get_file_properties().size == 100


def check_properties():
    file = share().get_file_client("p.txt")
    when = datetime.datetime(2019, 5, 10, 17, 3, 4, tzinfo=datetime.UTC)
    file.create_file(
        5,
        content_settings=ContentSettings(content_type="text/x-log"),
        metadata={"k": "v"},
        file_attributes=NTFSAttributes(read_only=False, hidden=True),
        file_creation_time=when,
    )
    seen = file.get_file_properties()
    assert (seen.content_settings.content_type, seen.metadata) == ("text/x-log", {"k": "v"})
    assert "Hidden" in seen.file_attributes
    assert seen.creation_time == when
    assert seen.permission_key
    assert seen.file_id
    assert seen.parent_id
    file.set_file_metadata({"n": "2"})
    file.set_http_headers(ContentSettings(content_type="text/plain"))
    seen = file.get_file_properties()
    assert (seen.content_settings.content_type, seen.metadata) == ("text/plain", {"n": "2"})
    share_client = ShareClient(URL, file.share_name, credential=KEY)
    domain = "S-1-5-21-2127521184-1604012920-1887927527"
    sddl = f"O:{domain}-21560751G:{domain}-513D:AI(A;;FA;;;SY)"
    key = share_client.create_permission_for_share(sddl)
    assert share_client.get_permission_for_share(key)


def check_copy_and_rename():
    home = share()
    source = home.get_file_client("a.txt")
    source.upload_file(b"contents", metadata={"m": "1"})
    copy = home.get_file_client("b.txt")
    answer = copy.start_copy_from_url(source.url)
    assert answer["copy_status"] == "success"
    assert copy.download_file().readall() == b"contents"
    with checks.refused(HttpResponseError):
        copy.abort_copy(answer["copy_id"])
    renamed = source.rename_file("c.txt")
    assert (renamed.download_file().readall(), source.exists()) == (b"contents", False)
    with checks.refused(ResourceExistsError):
        renamed.rename_file("b.txt")
    renamed.rename_file("b.txt", overwrite=True)
    folder = home.create_directory("folder")
    folder.upload_file("in.txt", b"in")
    moved = folder.rename_directory("moved")
    assert moved.get_file_client("in.txt").download_file().readall() == b"in"
    assert not folder.exists()
    piece = home.get_file_client("piece")
    piece.create_file(4)
    token = generate_file_sas(
        ACCOUNT, home.share_name, ["b.txt"], KEY, permission=FileSasPermissions(read=True), expiry=soon()
    )
    link = home.get_file_client("b.txt").url + "?" + token
    piece.upload_range_from_url(link, offset=0, length=4, source_offset=4)
    assert piece.download_file().readall() == b"ents"


def check_listing():
    home = share()
    home.create_directory("d1")
    for name in ("b.txt", "A.txt", "c d+%.txt", "é.txt"):
        home.get_file_client(name).upload_file(name.encode())
    assert names(home) == ["A.txt", "b.txt", "c d+%.txt", "d1", "é.txt"], names(home)
    assert names(home, name_starts_with="b") == ["b.txt"]
    pages = [len(list(page)) for page in home.list_directories_and_files(results_per_page=2).by_page()]
    assert (sum(pages), max(pages)) == (5, 2)
    listed = home.list_directories_and_files(include=["timestamps", "Etag", "Attributes", "PermissionKey"])
    assert all(item["etag"] and item["last_modified"] for item in listed)
    home.get_file_client("B.TXT").upload_file(b"replaced")
    assert names(home) == ["A.txt", "b.txt", "c d+%.txt", "d1", "é.txt"]
    assert home.get_file_client("b.txt").download_file().readall() == b"replaced"
    with checks.refused(HttpResponseError):
        home.get_file_client("no:colon").create_file(1)


def check_snapshots():
    home = share()
    file = home.get_file_client("s.txt")
    file.upload_file(b"before")
    taken = home.create_snapshot(metadata={"nr": "1"})
    file.upload_file(b"after!!")
    kept = ShareClient(URL, home.share_name, snapshot=taken["snapshot"], credential=KEY)
    assert kept.get_file_client("s.txt").download_file().readall() == b"before"
    assert names(kept) == ["s.txt"]
    assert file.download_file().readall() == b"after!!"
    found = list(SERVICE.list_shares(name_starts_with=home.share_name, include_snapshots=True))
    assert [item.snapshot for item in found if item.snapshot] == [taken["snapshot"]]
    with checks.refused(HttpResponseError, "ShareHasSnapshots"):
        home.delete_share()
    kept.delete_share()
    home.delete_share()


def check_leases():
    home = share()
    file = home.get_file_client("l")
    file.upload_file(b"1")
    lease = file.acquire_lease()
    with checks.refused(HttpResponseError, "LeaseIdMissing"):
        file.delete_file()
    file.upload_range(b"2", offset=0, length=1, lease=lease)
    lease.release()
    file.delete_file()
    whole = home.acquire_lease(lease_duration=15)
    with checks.refused(HttpResponseError, "LeaseIdMissing"):
        home.delete_share()
    whole.release()
    home.delete_share()


def check_handles():
    home = share()
    home.get_file_client("h").upload_file(b"1")
    assert list(home.get_file_client("h").list_handles()) == []
    closed = home.get_directory_client("").close_all_handles(recursive=True)
    assert closed == {"closed_handles_count": 0, "failed_handles_count": 0}


def check_sas():
    # Not by from_file_url and the like: they take the first segment of a path for the share.
    home = share()
    home.create_directory("d").upload_file("x y.txt", b"shared")
    read = FileSasPermissions(read=True)
    token = generate_file_sas(ACCOUNT, home.share_name, ["d", "x y.txt"], KEY, permission=read, expiry=soon())
    guest = ShareFileClient(URL, home.share_name, "d/x y.txt", credential=token)
    assert guest.download_file().readall() == b"shared"
    with checks.refused(HttpResponseError, "AuthorizationPermissionMismatch"):
        guest.delete_file()
    forged = token.replace("sp=r", "sp=rd")
    with checks.refused(ClientAuthenticationError, "AuthenticationFailed"):
        ShareFileClient(URL, home.share_name, "d/x y.txt", credential=forged).download_file()
    rights = ShareSasPermissions(read=True, write=True, list=True, create=True)
    token = generate_share_sas(ACCOUNT, home.share_name, KEY, permission=rights, expiry=soon())
    guest = ShareClient(URL, home.share_name, credential=token)
    guest.get_file_client("guest").upload_file(b"1")
    assert names(guest) == ["d", "guest"]
    with checks.refused(HttpResponseError):
        guest.delete_share()
    home.set_share_access_policy({"readers": AccessPolicy(permission="rl", expiry=soon())})
    token = generate_share_sas(ACCOUNT, home.share_name, KEY, policy_id="readers")
    assert names(ShareClient(URL, home.share_name, credential=token)) == ["d", "guest"]
    everything = ResourceTypes(service=True, container=True, object=True)
    token = generate_account_sas(
        ACCOUNT, KEY, everything, AccountSasPermissions(read=True, list=True), soon()
    )
    guest = ShareServiceClient(URL, credential=token)
    assert home.share_name in [item.name for item in guest.list_shares()]


def check_links_as_azure_makes_them():
    if not GIVEN["proxied"]:
        return
    home = share()
    file = home.get_file_client("x")
    file.upload_file(b"shared")
    read = FileSasPermissions(read=True)
    token = generate_file_sas(ACCOUNT, home.share_name, ["x"], KEY, permission=read, expiry=soon())
    assert ShareFileClient.from_file_url(file.url + "?" + token).download_file().readall() == b"shared"


def check_tokens():
    if URL.startswith("http:"):
        return  # The SDK refuses to send a token over http.
    from azure.identity import ClientSecretCredential

    login = ClientSecretCredential(GIVEN["tenant"], GIVEN["client_id"], GIVEN["client_secret"])
    home = share()
    file = ShareFileClient(URL, home.share_name, "t.txt", credential=login, token_intent="backup")
    file.upload_file(b"by token")
    assert file.download_file().readall() == b"by token"


def check_service_properties():
    SERVICE.set_service_properties(cors=[CorsRule(["*"], ["GET"], max_age_in_seconds=5)])
    assert SERVICE.get_service_properties()["cors"][0].allowed_origins == "*"
    SERVICE.set_service_properties(cors=[])


if __name__ == "__main__":
    checks.drive(sys.modules[__name__])
