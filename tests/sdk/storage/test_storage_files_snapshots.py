"""Shares and their snapshots, by azure-storage-file-share 12.27."""

import os
import uuid
from datetime import UTC, datetime, timedelta

import pytest
import requests
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.fileshare import (
    AccessPolicy,
    ContentSettings,
    ShareClient,
    ShareFileClient,
    ShareLeaseClient,
    ShareServiceClient,
    generate_share_sas,
)

MIB = 1 << 20


@pytest.fixture
def service(server):
    with ShareServiceClient.from_connection_string(server.connection_string) as client:
        yield client


@pytest.fixture
def share(service, fresh_name) -> ShareClient:
    return service.create_share(fresh_name)


def at(service, share, snapshot):
    return service.get_share_client(share.share_name, snapshot=snapshot["snapshot"])


def names(client):
    return {entry["name"] for entry in client.list_directories_and_files()}


def test_a_snapshot_keeps_everything_while_the_share_changes(server, service, share):
    home = server.directory("file", share.share_name)
    share.set_share_metadata({"of": "share"})
    directory = share.create_directory("d", metadata={"of": "d"})
    file = directory.get_file_client("f")
    file.upload_file(
        b"first", metadata={"of": "f"}, content_settings=ContentSettings(content_type="text/x"),
        file_attributes="Hidden",
    )  # fmt: skip
    (home / "log.txt").write_text("epoch 1\n")
    before = {path: share.get_file_client(path).get_file_properties() for path in ("d/f", "log.txt")}
    taken = share.create_snapshot()

    file.upload_range(b"FIRST", 0, 5)
    file.set_file_metadata({"of": "later"})
    with (home / "log.txt").open("a") as log:
        log.write("epoch 2\n")
    directory.get_file_client("new").upload_file(b"x")

    old = at(service, share, taken)
    assert old.get_share_properties().metadata == {"of": "share"}
    assert old.get_file_client("d/f").download_file().readall() == b"first"
    assert old.get_file_client("log.txt").download_file().readall() == b"epoch 1\n"
    assert names(old.get_directory_client("d")) == {"f"}
    assert old.get_directory_client("D").get_directory_properties().metadata == {"of": "d"}
    for path, then in before.items():
        found = old.get_file_client(path).get_file_properties()
        for name in (
            "etag", "last_modified", "metadata", "content_settings", "file_attributes", "creation_time",
            "last_write_time", "change_time", "permission_key", "file_id", "parent_id", "size",
        ):  # fmt: skip
            assert found[name] == then[name], (path, name)
    assert file.download_file().readall() == b"FIRST"


def test_a_snapshot_outlives_what_the_share_loses(server, service, share):
    share.create_directory("d").upload_file("f", b"content")
    taken = share.create_snapshot()
    (server.directory("file", share.share_name) / "d/f").unlink()
    share.delete_directory("d")
    old = at(service, share, taken)
    assert old.get_file_client("d/f").download_file().readall() == b"content"
    with pytest.raises(ResourceNotFoundError):
        share.get_file_client("d/f").download_file()


def test_a_snapshot_of_a_sparse_file_is_sparse(server, service, share):
    file = share.get_file_client("f")
    file.create_file(1 << 30)
    file.upload_range(b"x" * 4096, 1 << 29, 4096)
    taken = share.create_snapshot()
    old = at(service, share, taken).get_file_client("f")
    assert [entry["start"] for entry in old.get_ranges()] == [1 << 29]
    kept = next((server.root / server.account / ".snapshots").rglob("f"))
    assert kept.stat().st_blocks * 512 < MIB


def test_snapshots_are_listed_with_the_share(service, share):
    first = share.create_snapshot()
    second = share.create_snapshot(metadata={"own": "yes"})
    share.set_share_quota(9)

    def listed(**options):
        found = service.list_shares(name_starts_with=share.share_name, **options)
        return [(entry.name, entry.snapshot) for page in found.by_page() for entry in page]

    whole = [(share.share_name, snapshot) for snapshot in (first["snapshot"], second["snapshot"], None)]
    assert listed(include_snapshots=True) == whole
    assert listed(include_snapshots=True, results_per_page=1) == whole
    assert listed() == whole[2:]
    entries = list(service.list_shares(share.share_name, include_snapshots=True, include_metadata=True))
    assert [entry.metadata for entry in entries] == [{}, {"own": "yes"}, {}]
    assert [entry.quota for entry in entries] == [5120, 5120, 9]
    assert first["snapshot"] < second["snapshot"]


def test_a_share_with_snapshots_is_deleted_only_when_told(server, service, share):
    taken = share.create_snapshot()
    with pytest.raises(ResourceExistsError) as refused:
        share.delete_share()
    assert refused.value.error_code == "ShareHasSnapshots"
    snapshot = at(service, share, taken)
    lease = ShareLeaseClient(snapshot, str(uuid.uuid4()))
    lease.acquire()
    with pytest.raises(ResourceExistsError) as leased:
        share.delete_share(delete_snapshots="include")
    assert leased.value.error_code == "DeleteShareWhenSnapshotLeased"
    with pytest.raises(HttpResponseError) as missing:
        snapshot.delete_share()
    assert missing.value.error_code == "LeaseIdMissing"
    share.delete_share(delete_snapshots="include-leased")
    share.create_share()
    assert [entry.snapshot for entry in service.list_shares(share.share_name, include_snapshots=True)] == [
        None
    ]


def test_one_snapshot_is_deleted(service, share):
    first, second = share.create_snapshot(), share.create_snapshot()
    at(service, share, first).delete_share()
    with pytest.raises(ResourceNotFoundError) as gone:
        at(service, share, first).get_share_properties()
    assert gone.value.error_code == "ShareSnapshotNotFound"
    assert at(service, share, second).get_share_properties().quota == 5120
    at(service, share, second).delete_share()
    share.delete_share()


def test_snapshots_refuse_every_change(server, service, share):
    share.create_directory("d").upload_file("f", b"kept")
    taken = share.create_snapshot()["snapshot"]
    token = generate_share_sas(
        server.account, share.share_name, server.key, permission="rcwdl",
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )  # fmt: skip
    changes = {
        ("PUT", "d/f", "comp=metadata"): {},
        ("PUT", "d/f", "comp=properties"): {},
        ("PUT", "d/f", "comp=range"): {"x-ms-write": "clear", "x-ms-range": "bytes=0-1"},
        ("PUT", "d/g", ""): {"x-ms-type": "file", "x-ms-content-length": "1"},
        ("PUT", "d/e", "restype=directory"): {},
        ("PUT", "d", "restype=directory&comp=metadata"): {},
        ("PUT", "d/f", "comp=lease"): {"x-ms-lease-action": "acquire", "x-ms-lease-duration": "-1"},
        ("DELETE", "d/f", ""): {},
        ("PUT", "d/g", "comp=rename"): {
            "x-ms-file-rename-source": f"{server.url('file', f'{share.share_name}/d/f')}?{token}"
        },
    }
    with requests.Session() as session:
        session.trust_env = False
        for (method, path, query), headers in changes.items():
            url = server.url("file", f"{share.share_name}/{path}")
            answer = session.request(method, f"{url}?{query}&sharesnapshot={taken}&{token}", headers=headers)
            assert (answer.status_code, answer.headers["x-ms-error-code"]) == (
                400,
                "InvalidQueryParameterValue",
            ), (method, path, query)
        url = f"{server.url('file', share.share_name)}?restype=share&comp=snapshot&sharesnapshot={taken}"
        owner = {**server.bearer, "x-ms-file-request-intent": "backup"}
        assert session.put(url, headers=owner).status_code == 400
    old = service.get_share_client(share.share_name, snapshot=taken)
    assert names(old.get_directory_client("d")) == {"f"}
    assert old.get_file_client("d/f").download_file().readall() == b"kept"


def test_snapshots_that_are_not_there(service, share):
    share.get_file_client("f").upload_file(b"x")
    for snapshot, code in (
        ("2020-01-01T00:00:00.0000000Z", "ShareSnapshotNotFound"),
        ("../../file", "InvalidQueryParameterValue"),
    ):
        client = service.get_share_client(share.share_name, snapshot=snapshot)
        for read in (
            client.get_share_properties,
            client.get_file_client("f").get_file_properties,
            lambda client=client: names(client.get_directory_client()),
        ):
            with pytest.raises(HttpResponseError) as refused:
                read()
            assert refused.value.error_code == code


def test_ranges_changed_since_a_snapshot(server, service, share):
    file = share.get_file_client("f")
    file.create_file(4 * MIB)
    file.upload_range(os.urandom(MIB), 0, MIB)
    file.upload_range(os.urandom(MIB), 2 * MIB, MIB)
    taken = share.create_snapshot()
    file.clear_range(0, 4096 * 2)
    file.upload_range(b"y" * 4096, MIB - 4096, 4096)
    with (server.directory("file", share.share_name) / "f").open("r+b") as job:
        job.seek(3 * MIB)
        job.write(b"z" * 5000)
    changed, cleared = file.get_ranges_diff(taken)
    assert changed == [
        {"start": MIB - 4096, "end": MIB - 1},
        {"start": 3 * MIB, "end": 3 * MIB + 5119},
    ]
    assert cleared == [{"start": 0, "end": 8191}]
    new = share.get_file_client("new")
    new.upload_file(b"n" * 4096)
    assert new.get_ranges_diff(taken) == ([{"start": 0, "end": 4095}], [])
    later = share.create_snapshot()
    file.upload_range(b"w" * 4096, 2 * MIB, 4096)
    assert at(service, share, later).get_file_client("f").get_ranges_diff(taken)[1] == cleared
    with pytest.raises(HttpResponseError) as unknown:
        file.get_ranges_diff("2020-01-01T00:00:00.0000000Z")
    assert unknown.value.error_code == "PreviousSnapshotNotFound"


def test_ranges_of_a_renamed_file_are_compared_when_asked(share):
    file = share.get_file_client("f")
    file.upload_file(b"a" * 8192)
    taken = share.create_snapshot()
    renamed = file.rename_file("g")
    renamed.upload_range(b"b" * 4096, 4096, 4096)
    with pytest.raises(ResourceExistsError):
        renamed.get_ranges_diff(taken)
    assert renamed.get_ranges_diff(taken, include_renames=True)[0] == [{"start": 4096, "end": 8191}]


def test_share_settings_are_kept(service, fresh_name):
    share = service.get_share_client(fresh_name)
    share.create_share(
        quota=3, access_tier="Hot", metadata={"a": "1"}, provisioned_iops=500, paid_bursting_enabled=True
    )
    found = share.get_share_properties()
    assert (found.quota, found.access_tier, found.protocols) == (3, "Hot", ["SMB"])
    assert (found.provisioned_iops, found.paid_bursting_enabled) == (500, True)
    share.set_share_properties(access_tier="cool", quota=4)
    share.set_share_access_policy({"p": AccessPolicy(permission="r", expiry="2099-01-01T00:00:00Z")})
    entry = next(iter(service.list_shares(fresh_name, include_metadata=True)))
    assert (entry.quota, entry.access_tier, entry.metadata) == (4, "Cool", {"a": "1"})
    assert (entry.provisioned_iops, entry.paid_bursting_enabled) == (500, True)
    assert entry.lease.state == "available"
    for wrong in ({"quota": 200_000}, {"access_tier": "Best"}, {"root_squash": "Some"}):
        with pytest.raises(HttpResponseError) as refused:
            share.set_share_properties(**wrong)
        assert refused.value.status_code == 400
    nfs = service.create_share(f"{fresh_name}-nfs", protocols="NFS", root_squash="RootSquash")
    nfs.set_share_properties(root_squash="AllSquash")
    found = nfs.get_share_properties()
    assert (found.protocols, found.root_squash) == (["NFS"], "AllSquash")


def test_stats_count_what_jobs_write_too(server, share):
    share.get_file_client("f").create_file(1000)
    (server.directory("file", share.share_name) / "d").mkdir()
    (server.directory("file", share.share_name) / "d/log").write_bytes(bytes(24))
    assert share.get_share_stats() == 1024


def test_restoring_a_share_finds_none(service, share):
    with pytest.raises(ResourceNotFoundError) as refused:
        service.undelete_share("gone-share", "01D60F8BB59A4652")
    assert refused.value.error_code == "ShareNotFound"


def test_a_token_reads_files_of_snapshots(server, service, share):
    share.get_file_client("f").upload_file(b"old")
    taken = share.create_snapshot()["snapshot"]
    share.get_file_client("f").upload_file(b"new")
    token = generate_share_sas(
        server.account, share.share_name, server.key, permission="r",
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )  # fmt: skip
    client = ShareFileClient(server.url("file"), share.share_name, "f", snapshot=taken, credential=token)
    assert client.download_file().readall() == b"old"
