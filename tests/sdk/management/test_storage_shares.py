"""Shares and the file service at ARM beside the Files service itself: one truth, seen from two sides."""

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.storage.fileshare import ShareServiceClient
from harness.arm import unique

VERSION = "2019-06-01"
INVALID, UNSUPPORTED = "InvalidValuesForRequestParameters", "FeatureNotSupportedForAccount"


@pytest.fixture(scope="module")
def files(account):
    with ShareServiceClient(account.url("file"), credential=account.credential) as client:
        yield client


@pytest.fixture
def shares(management):
    return management.file_shares


@pytest.fixture
def share(account, shares):
    name = unique("shr")
    shares.create(*account.place, name, {})
    return name


def path_of(account, name):
    return f"{account.path}/fileServices/default/shares/{name}"


class TestShares:
    def test_made_at_arm_it_is_there(self, arm, account, files):
        path = path_of(account, unique("made"))
        properties = {
            "shareQuota": 7,
            "accessTier": "hot",
            "metadata": {"who": "me"},
            "enabledProtocols": "NFS",
            "rootSquash": "AllSquash",
            "signedIdentifiers": [
                {"id": "p", "accessPolicy": {"expiryTime": "2030-01-01T00:00:00Z", "permission": "rl"}}
            ],
        }
        made = arm.ask("PUT", path, {"properties": properties}, VERSION)
        assert made.status_code == 201
        told = made.json()["properties"]
        assert {name: told[name] for name in properties} == {**properties, "accessTier": "Hot"}
        client = files.get_share_client(made.json()["name"])
        found = client.get_share_properties()
        assert (found.quota, found.access_tier, found.metadata) == (7, "Hot", {"who": "me"})
        assert (found.protocols, found.root_squash) == (["NFS"], "AllSquash")
        assert [policy.id for policy in client.get_share_access_policy()["signed_identifiers"]] == ["p"]
        assert made.json()["etag"] == found.etag

    def test_made_by_rest_it_is_shown(self, account, shares, files):
        client = files.create_share(unique("rest"), metadata={"a": "1"}, quota=3)
        client.get_file_client("f").upload_file(b"12345")
        shown = shares.get(*account.place, client.share_name, expand="stats")
        assert (shown.share_quota, shown.metadata, shown.access_tier) == (
            3,
            {"a": "1"},
            "TransactionOptimized",
        )
        assert shown.share_usage_bytes >= 5
        assert shown.last_modified_time == client.get_share_properties().last_modified
        assert (shown.enabled_protocols, shown.lease_state) == ("SMB", "Available")

    def test_an_update_changes_what_it_names(self, account, shares, share, files):
        shares.update(*account.place, share, {"properties": {"metadata": {"a": "1"}}})
        changed = shares.update(
            *account.place, share, {"properties": {"shareQuota": 9, "accessTier": "Cool"}}
        )
        assert (changed.metadata, changed.share_quota, changed.access_tier) == ({"a": "1"}, 9, "Cool")
        found = files.get_share_client(share).get_share_properties()
        assert (found.metadata, found.quota, found.access_tier) == ({"a": "1"}, 9, "Cool")

    def test_an_update_on_a_condition(self, arm, account, share):
        path, body = path_of(account, share), {"properties": {"shareQuota": 2}}
        stale, current = {"If-Match": '"0x0"'}, {"If-Match": arm.get(path, VERSION)["etag"]}
        refused = arm.ask("PATCH", path, body, VERSION, headers=stale)
        assert (refused.status_code, refused.json()["error"]["code"]) == (412, "ConditionNotMet")
        assert arm.ask("PATCH", path, body, VERSION, headers=current).status_code == 200
        assert arm.ask("DELETE", path, version=VERSION, headers=current).status_code == 412

    def test_made_again_it_keeps_its_files(self, arm, account, share, files):
        files.get_share_client(share).get_file_client("f").upload_file(b"content")
        again = arm.ask("PUT", path_of(account, share), {"properties": {"shareQuota": 5}}, VERSION)
        assert (again.status_code, again.json()["properties"]["shareQuota"]) == (200, 5)
        assert files.get_share_client(share).get_file_client("f").download_file().readall() == b"content"

    def test_provisioning_is_kept(self, account, shares, files):
        name = unique("provisioned")
        bursting = {"paidBurstingEnabled": True, "paidBurstingMaxIops": 5000}
        body = {"properties": {"provisionedIops": 4000, "fileSharePaidBursting": bursting}}
        made = shares.create(*account.place, name, body)
        assert made.provisioned_iops == 4000
        assert made.file_share_paid_bursting.as_dict() == bursting
        assert files.get_share_client(name).get_share_properties().provisioned_iops == 4000

    def test_deleted_it_is_gone_once(self, arm, account, share, files):
        path = path_of(account, share)
        assert arm.ask("DELETE", path, version=VERSION).status_code == 200
        assert arm.ask("DELETE", path, version=VERSION).status_code == 204
        assert share not in [found.name for found in files.list_shares()]
        with pytest.raises(ResourceNotFoundError):
            files.get_share_client(share).get_share_properties()

    def test_none_comes_back(self, account, shares, share):
        with pytest.raises(ResourceNotFoundError) as missing:
            shares.restore(
                *account.place, share, {"deletedShareName": "gone", "deletedShareVersion": "01D64EB9886F00C4"}
            )
        assert missing.value.error.code == "ShareNotFound"

    def test_missing(self, account, shares):
        for act in (
            lambda: shares.get(*account.place, "missing"),
            lambda: shares.update(*account.place, "missing", {"properties": {"shareQuota": 1}}),
            lambda: shares.lease(*account.place, "missing", {"action": "Break"}),
        ):
            with pytest.raises(ResourceNotFoundError) as missing:
                act()
            assert missing.value.error.code == "ShareNotFound"

    @pytest.mark.parametrize(
        ("properties", "code", "field"),
        [
            ({"shareQuota": 0}, "InvalidHeaderValue", "properties.shareQuota"),
            ({"shareQuota": "many"}, "InvalidHeaderValue", "properties.shareQuota"),
            ({"shareQuota": []}, INVALID, "properties.shareQuota"),
            ({"accessTier": "Lukewarm"}, "InvalidHeaderValue", "properties.accessTier"),
            ({"enabledProtocols": "FTP"}, "InvalidHeaderValue", "properties.enabledProtocols"),
            ({"metadata": {"a-b": "1"}}, "InvalidMetadata", None),
            ({"signedIdentifiers": [{"id": ""}]}, "InvalidXmlNodeValue", "Id"),
            ({"signedIdentifiers": [1]}, INVALID, "properties.signedIdentifiers[0]"),
        ],
    )
    def test_what_none_can_be(self, arm, refused, account, properties, code, field):
        path = path_of(account, unique("none"))
        assert refused("PUT", path, {"properties": properties}) == (400, code, field)
        assert arm.gone(path, VERSION)


class TestSnapshots:
    def test_are_taken_listed_read_and_deleted(self, account, shares, share, files):
        files.get_share_client(share).get_file_client("f").upload_file(b"before")
        taken = shares.create(
            *account.place, share, {"properties": {"metadata": {"of": "arm"}}}, expand="snapshots"
        )
        moment = f"{taken.snapshot_time:%Y-%m-%dT%H:%M:%S.%f}0Z"
        files.get_share_client(share).get_file_client("f").upload_file(b"after")
        snapshot = files.get_share_client(share, snapshot=moment)
        assert snapshot.get_file_client("f").download_file().readall() == b"before"
        listed = [item for item in shares.list(*account.place, expand="snapshots") if item.name == share]
        assert [item.snapshot_time for item in listed] == [taken.snapshot_time, None]
        assert len([item for item in shares.list(*account.place) if item.name == share]) == 1
        for written in (moment, taken.snapshot_time.isoformat()):
            shown = shares.get(*account.place, share, x_ms_snapshot=written)
            assert (shown.snapshot_time, shown.metadata) == (taken.snapshot_time, {"of": "arm"})
        with pytest.raises(HttpResponseError) as kept:
            shares.delete(*account.place, share, include="none")
        assert kept.value.error.code == "ShareHasSnapshots"
        shares.delete(*account.place, share, x_ms_snapshot=moment)
        with pytest.raises(ResourceNotFoundError):
            shares.get(*account.place, share, x_ms_snapshot=moment)
        assert files.get_share_client(share).get_file_client("f").download_file().readall() == b"after"

    def test_go_with_their_share(self, account, shares, share, files):
        files.get_share_client(share).create_snapshot()
        shares.delete(*account.place, share)
        with pytest.raises(ResourceNotFoundError):
            shares.get(*account.place, share)

    def test_leased_ones_hold_it(self, account, shares, share):
        taken = shares.create(*account.place, share, {}, expand="snapshots")
        moment = taken.snapshot_time.isoformat()
        lease = {"action": "Acquire", "leaseDuration": -1}
        shares.lease(*account.place, share, lease, x_ms_snapshot=moment)
        with pytest.raises(HttpResponseError) as held:
            shares.delete(*account.place, share)
        assert held.value.status_code == 409
        shares.delete(*account.place, share, include="leased-snapshots")

    def test_words_that_are_none(self, refused, account, share):
        path = path_of(account, share)
        assert refused("GET", path, query={"$expand": "all"})[1:] == (
            INVALID,
            "$expand",
        )
        assert refused("DELETE", path, query={"$include": "all"})[1:] == (
            INVALID,
            "$include",
        )
        for then in ("then", "0001-01-01T00:00:00+10:00", "9999-12-31T23:59:59-10:00"):
            assert refused("GET", path, headers={"x-ms-snapshot": then}) == (400, INVALID, "x-ms-snapshot")


class TestRetention:
    @pytest.fixture
    def keeping(self, new_account, management):
        account = new_account()
        policy = {"shareDeleteRetentionPolicy": {"enabled": True, "days": 3}}
        management.file_services.set_service_properties(*account.place, {"properties": policy})
        found = management.file_services.get_service_properties(*account.place)
        assert found.share_delete_retention_policy.as_dict() == {"enabled": True, "days": 3}
        return account

    def test_what_was_deleted_comes_back_whole(self, keeping, shares):
        with ShareServiceClient(keeping.url("file"), credential=keeping.credential) as files:
            client = files.create_share("kept", quota=3, metadata={"a": "1"})
            client.create_directory("d").upload_file("f", b"before", metadata={"k": "v"})
            taken = client.create_snapshot()["snapshot"]
            client.get_directory_client("d").upload_file("f", b"after", metadata={"k": "w"})
            shares.delete(*keeping.place, "kept")
            assert list(files.list_shares()) == []
            [told] = files.list_shares(include_deleted=True)
            [gone] = shares.list(*keeping.place, expand="deleted")
            assert (told.name, told.deleted, told.version) == ("kept", True, gone.version)
            assert (gone.deleted, gone.remaining_retention_days, gone.share_quota) == (True, 2, 3)
            shares.restore(
                *keeping.place, "kept", {"deletedShareName": "kept", "deletedShareVersion": gone.version}
            )
            found = client.get_share_properties()
            assert (found.quota, found.metadata) == (3, {"a": "1"})
            for snapshot, content, metadata in ((None, b"after", {"k": "w"}), (taken, b"before", {"k": "v"})):
                share = files.get_share_client("kept", snapshot=snapshot)
                file = share.get_directory_client("d").get_file_client("f")
                assert file.download_file().readall() == content
                assert file.get_file_properties().metadata == metadata
            client.delete_share(delete_snapshots=True)
            [told] = files.list_shares(include_deleted=True)
            back = files.undelete_share("kept", told.version)
            assert back.get_directory_client("d").get_file_client("f").download_file().readall() == b"after"

    def test_under_the_name_that_is_free(self, keeping, shares):
        shares.create(*keeping.place, "kept", {})
        shares.delete(*keeping.place, "kept")
        shares.create(*keeping.place, "kept", {})
        [gone, there] = shares.list(*keeping.place, expand="deleted")
        assert (gone.deleted, there.deleted) == (True, None)
        body = {"deletedShareName": "kept", "deletedShareVersion": gone.version}
        with pytest.raises(HttpResponseError) as taken:
            shares.restore(*keeping.place, "kept", body)
        assert (taken.value.status_code, taken.value.error.code) == (409, "ShareAlreadyExists")
        shares.restore(*keeping.place, "other", body)
        assert [share.name for share in shares.list(*keeping.place, expand="deleted")] == ["kept", "other"]


def test_leases_hold_both_ways(account, shares, share, files):
    taken = shares.lease(*account.place, share, {"action": "Acquire", "leaseDuration": -1})
    with pytest.raises(HttpResponseError) as refusal:
        files.delete_share(share)
    assert refusal.value.error_code == "LeaseIdMissing"
    assert shares.get(*account.place, share).lease_state == "Leased"
    shares.lease(*account.place, share, {"action": "Release", "leaseId": taken.lease_id})
    files.delete_share(share)


def test_lists_in_pages_and_by_prefix(new_account, management):
    account = new_account()
    with ShareServiceClient(account.url("file"), credential=account.credential) as client:
        for name in ("aa1", "aa2", "aa3", "bb1"):
            client.create_share(name)
    pages = management.file_shares.list(*account.place, maxpagesize="2").by_page()
    assert [[s.name for s in page] for page in pages] == [["aa1", "aa2"], ["aa3", "bb1"]]
    assert [s.name for s in management.file_shares.list(*account.place, filter="bb")] == ["bb1"]


class TestService:
    def test_both_ways_show_the_same(self, new_account, management):
        account = new_account()
        smb = {"versions": "SMB3.0;SMB3.1.1", "multichannel": {"enabled": True}}
        management.file_services.set_service_properties(
            *account.place, {"properties": {"protocolSettings": {"smb": smb}, "cors": {"corsRules": []}}}
        )
        with ShareServiceClient(account.url("file"), credential=account.credential) as client:
            seen = client.get_service_properties()
        assert seen["protocol"].smb.multichannel.enabled is True
        found = management.file_services.get_service_properties(*account.place)
        assert found.protocol_settings.smb.as_dict() == smb
        assert found.share_delete_retention_policy.enabled is False
        assert [item.id for item in management.file_services.list(*account.place).value] == [found.id]
        again = management.file_services.set_service_properties(*account.place, found)
        assert again.as_dict() == found.as_dict()

    @pytest.mark.parametrize("settings", [{}, {"smb": {}}, {"nfs": {}}, {"smb": {"multichannel": {}}}])
    def test_settings_that_set_nothing_can_be_read(self, new_account, management, settings):
        account = new_account()
        body = {"properties": {"protocolSettings": settings}}
        management.file_services.set_service_properties(*account.place, body)
        with ShareServiceClient(account.url("file"), credential=account.credential) as client:
            client.get_service_properties()

    def test_what_it_cannot_be(self, refused, account):
        path = f"{account.path}/fileServices/default"
        kept = {"properties": {"shareDeleteRetentionPolicy": {"enabled": True, "days": 0}}}
        assert refused("PUT", path, kept) == (400, INVALID, "days")
        wrong = {"properties": {"protocolSettings": {"smb": {"colour": "red"}}}}
        assert refused("PUT", path, wrong) == (400, INVALID, "colour")
        assert refused("GET", f"{path}/usages/default")[:2] == (400, UNSUPPORTED)
