"""Containers and the blob service at ARM beside the Blob service itself: one truth, seen from two sides."""

import shutil
import uuid

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.storage.blob import BlobServiceClient, CorsRule, RetentionPolicy
from harness.arm import unique

VERSION = "2019-06-01"
INVALID, UNSUPPORTED = "InvalidValuesForRequestParameters", "FeatureNotSupportedForAccount"


@pytest.fixture(scope="module")
def blobs(account):
    with BlobServiceClient(account.url(), credential=account.credential) as client:
        yield client


@pytest.fixture
def containers(management):
    return management.blob_containers


@pytest.fixture
def container(account, containers):
    name = unique("ctr")
    containers.create(*account.place, name, {})
    return name


def path_of(account, name):
    return f"{account.path}/blobServices/default/containers/{name}"


class TestContainers:
    def test_made_at_arm_it_is_there(self, arm, account, blobs):
        path = path_of(account, unique("made"))
        body = {"properties": {"publicAccess": "blob", "metadata": {"who": "me"}}}
        made = arm.ask("PUT", path, body, VERSION)
        assert made.status_code == 201
        name = made.json()["name"]
        found = blobs.get_container_client(name).get_container_properties()
        assert (found.public_access, found.metadata) == ("blob", {"who": "me"})
        assert made.json()["etag"] == made.headers["ETag"] == found.etag
        assert made.json()["properties"]["publicAccess"] == "Blob"
        assert made.json()["id"].lower() == path.lower()

    def test_made_by_rest_it_is_shown(self, account, containers, blobs):
        client = blobs.create_container(unique("rest"), metadata={"a": "1"}, public_access="container")
        shown = containers.get(*account.place, client.container_name)
        assert (shown.public_access, shown.metadata) == ("Container", {"a": "1"})
        assert (shown.lease_status, shown.lease_state) == ("Unlocked", "Available")
        assert shown.last_modified_time == client.get_container_properties().last_modified
        assert (shown.has_legal_hold, shown.has_immutability_policy, shown.deleted) == (False, False, False)

    def test_made_again_it_keeps_what_is_not_named(self, arm, account, blobs):
        path = path_of(account, unique("again"))
        arm.ask("PUT", path, {"properties": {"metadata": {"a": "1"}}}, VERSION)
        name = path.rpartition("/")[2]
        blobs.get_container_client(name).upload_blob("b", b"content")
        again = arm.ask("PUT", path, {"properties": {"publicAccess": "Container"}}, VERSION)
        assert again.status_code == 200
        assert again.json()["properties"]["metadata"] == {"a": "1"}
        assert [blob.name for blob in blobs.get_container_client(name).list_blobs()] == ["b"]

    def test_an_update_changes_what_it_names(self, account, containers, container, blobs):
        containers.update(*account.place, container, {"properties": {"metadata": {"a": "1"}}})
        changed = containers.update(*account.place, container, {"properties": {"publicAccess": "Blob"}})
        assert (changed.metadata, changed.public_access) == ({"a": "1"}, "Blob")
        found = blobs.get_container_client(container).get_container_properties()
        assert (found.metadata, found.public_access) == ({"a": "1"}, "blob")

    def test_an_update_on_a_condition(self, arm, account, container):
        path, body = path_of(account, container), {"properties": {"metadata": {"a": "1"}}}
        stale = {"If-Match": '"0x0"'}
        refused = arm.ask("PATCH", path, body, VERSION, headers=stale)
        assert (refused.status_code, refused.json()["error"]["code"]) == (412, "ConditionNotMet")
        assert arm.ask("DELETE", path, version=VERSION, headers=stale).status_code == 412
        current = {"If-Match": arm.get(path, VERSION)["etag"]}
        assert arm.ask("PATCH", path, body, VERSION, headers=current).status_code == 200

    def test_deleted_it_is_gone_once(self, arm, account, container, blobs):
        path = path_of(account, container)
        assert arm.ask("DELETE", path, version=VERSION).status_code == 200
        assert arm.ask("DELETE", path, version=VERSION).status_code == 204
        assert not blobs.get_container_client(container).exists()

    def test_missing(self, account, containers):
        for act in (
            lambda: containers.get(*account.place, "missing"),
            lambda: containers.update(*account.place, "missing", {"properties": {"metadata": {}}}),
            lambda: containers.lease(*account.place, "missing", {"action": "Break"}),
        ):
            with pytest.raises(ResourceNotFoundError) as missing:
                act()
            assert missing.value.error.code == "ContainerNotFound"
        with pytest.raises(ResourceNotFoundError) as missing:
            containers.get(account.group, "noaccount", "missing")
        assert missing.value.error.code == "ResourceNotFound"

    @pytest.mark.parametrize(
        ("properties", "code", "field"),
        [
            ({"publicAccess": "Everybody"}, INVALID, "properties.publicAccess"),
            ({"metadata": {"a": 1}}, INVALID, "properties.metadata.a"),
            ({"metadata": {"a": "1\r\nx: 2"}}, INVALID, "properties.metadata.a"),
            ({"metadata": {"a b": "1"}}, "InvalidMetadata", None),
            ({"metadata": {"a": "x" * 9000}}, "MetadataTooLarge", None),
            ({"metadata": "a"}, INVALID, "properties.metadata"),
            ({"defaultEncryptionScope": "mine"}, UNSUPPORTED, None),
            ({"immutableStorageWithVersioning": {"enabled": True}}, UNSUPPORTED, None),
        ],
    )
    def test_what_none_can_be(self, arm, refused, account, properties, code, field):
        path = path_of(account, unique("none"))
        assert refused("PUT", path, {"properties": properties}) == (400, code, field)
        assert arm.gone(path, VERSION)

    @pytest.mark.parametrize(("name", "code"), [("A", "OutOfRangeInput"), ("a--b", "InvalidResourceName")])
    def test_names_that_none_has(self, refused, account, name, code):
        assert refused("PUT", path_of(account, name), {}) == (400, code, None)

    def test_none_is_public_where_the_account_forbids_it(self, new_account, management):
        account = new_account(properties={"allowBlobPublicAccess": False})
        with pytest.raises(HttpResponseError) as refusal:
            management.blob_containers.create(
                *account.place, "public", {"properties": {"publicAccess": "Blob"}}
            )
        assert (refusal.value.status_code, refusal.value.error.code) == (409, "PublicAccessNotPermitted")
        assert list(management.blob_containers.list(*account.place)) == []


@pytest.fixture(scope="module")
def many(make_account):
    made = make_account("manyctr")
    with BlobServiceClient(made.url(), credential=made.credential) as client:
        for name in ("aa1", "aa2", "aa3", "bb1", "bb2"):
            client.create_container(name)
    return made


def test_what_the_file_system_refuses_is_told_as_by_the_service_itself(refused, new_account):
    """Directories vanish, as those of an account that is deleted at the moment."""
    account = new_account()
    path = f"{account.path}/blobServices/default/containers"
    assert account.arm.ask("PUT", f"{path}/before", {}).status_code == 201
    shutil.rmtree(account.arm.service.home / "storage" / account.name / ".staging")
    assert refused("PUT", f"{path}/after", {})[:2] == (404, "ResourceNotFound")


class TestLists:
    def test_whole(self, many, containers):
        assert [c.name for c in containers.list(*many.place)] == ["aa1", "aa2", "aa3", "bb1", "bb2"]
        assert [c.name for c in containers.list(*many.place, include="deleted")][-1] == "bb2"

    def test_in_pages(self, many, containers):
        pages = containers.list(*many.place, maxpagesize="2").by_page()
        assert [[c.name for c in page] for page in pages] == [["aa1", "aa2"], ["aa3", "bb1"], ["bb2"]]

    def test_by_prefix(self, many, containers):
        pages = containers.list(*many.place, maxpagesize="2", filter="aa").by_page()
        assert [[c.name for c in page] for page in pages] == [["aa1", "aa2"], ["aa3"]]
        assert [c.name for c in containers.list(*many.place, filter="startswith(name, 'bb')")] == [
            "bb1",
            "bb2",
        ]

    @pytest.mark.parametrize("query", [{"$maxpagesize": "0"}, {"$maxpagesize": "x"}, {"$skipToken": "a"}])
    def test_pages_that_are_none(self, arm, many, query):
        answer = arm.ask("GET", f"{many.path}/blobServices/default/containers", version=VERSION, query=query)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"]


class TestRetention:
    @pytest.fixture
    def keeping(self, new_account, management):
        account = new_account()
        policy = {"containerDeleteRetentionPolicy": {"enabled": True, "days": 7}}
        told = management.blob_services.set_service_properties(*account.place, {"properties": policy})
        kept = told.container_delete_retention_policy
        assert (kept.enabled, kept.days) == (True, 7)
        return account

    @pytest.fixture
    def client(self, keeping):
        with BlobServiceClient(keeping.url(), credential=keeping.credential) as client:
            yield client

    def test_what_was_deleted_comes_back_whole(self, keeping, client, containers):
        made = client.create_container("kept", metadata={"a": "1"}, public_access="blob")
        blob = made.upload_blob("b", b"before", metadata={"k": "v"})
        taken = blob.create_snapshot()["snapshot"]
        blob.upload_blob(b"after", overwrite=True, metadata={"k": "w"}, tags={"t": "1"})
        containers.delete(*keeping.place, "kept")
        assert [c.name for c in containers.list(*keeping.place)] == []
        [gone] = containers.list(*keeping.place, include="deleted")
        assert (gone.name, gone.deleted, gone.remaining_retention_days) == ("kept", True, 6)
        assert list(client.list_containers()) == []
        assert list(client.find_blobs_by_tags("\"t\" = '1'")) == []
        [told] = client.list_containers(include_deleted=True, include_metadata=True)
        assert (told.name, told.deleted, told.version, told.metadata) == (
            "kept",
            True,
            gone.version,
            {"a": "1"},
        )
        back = client.undelete_container("kept", told.version)
        found = back.get_container_properties()
        assert (found.metadata, found.public_access) == ({"a": "1"}, "blob")
        assert back.get_blob_client("b").download_blob().readall() == b"after"
        assert back.get_blob_client("b").get_blob_properties().metadata == {"k": "w"}
        assert back.get_blob_client("b", snapshot=taken).download_blob().readall() == b"before"
        assert [b.name for b in client.find_blobs_by_tags("\"t\" = '1'")] == ["b"]
        assert [c.deleted for c in containers.list(*keeping.place, include="deleted")] == [False]

    def test_a_new_one_of_the_name_is_another(self, keeping, client):
        client.create_container("twice").upload_blob("b", b"first")
        client.delete_container("twice")
        client.create_container("twice").upload_blob("b", b"second")
        client.delete_container("twice")
        client.create_container("twice").upload_blob("b", b"third")
        listed = [*client.list_containers(include_deleted=True)]
        assert [c.deleted for c in listed] == [True, True, None]
        pages = client.list_containers(include_deleted=True, results_per_page=1).by_page()
        assert [[c.version for c in page] for page in pages] == [[c.version] for c in listed]
        with pytest.raises(HttpResponseError) as taken:
            client.undelete_container("twice", listed[0].version)
        assert (taken.value.status_code, taken.value.error_code) == (409, "ContainerAlreadyExists")
        client.delete_container("twice")
        first = client.undelete_container("twice", listed[0].version)
        assert first.get_blob_client("b").download_blob().readall() == b"first"
        with pytest.raises(ResourceNotFoundError):
            client.undelete_container("other", listed[0].version)

    def test_a_lease_does_not_come_back(self, client):
        made = client.create_container("leased")
        client.delete_container("leased", lease=made.acquire_lease())
        [told] = client.list_containers(include_deleted=True)
        back = client.undelete_container("leased", told.version)
        assert back.get_container_properties().lease.state == "available"

    def test_without_it_nothing_is_kept(self, keeping, client, management):
        off = {"properties": {"containerDeleteRetentionPolicy": {"enabled": False}}}
        management.blob_services.set_service_properties(*keeping.place, off)
        client.create_container("gone")
        client.delete_container("gone")
        assert list(client.list_containers(include_deleted=True)) == []


class TestLeases:
    def test_holds_both_ways(self, account, containers, container, blobs):
        taken = containers.lease(*account.place, container, {"action": "Acquire", "leaseDuration": -1})
        assert uuid.UUID(taken.lease_id)
        with pytest.raises(HttpResponseError) as refusal:
            blobs.delete_container(container)
        assert refusal.value.error_code == "LeaseIdMissing"
        with pytest.raises(HttpResponseError) as refusal:
            containers.delete(*account.place, container)
        assert (refusal.value.status_code, refusal.value.error.code) == (412, "LeaseIdMissing")
        shown = containers.get(*account.place, container)
        assert (shown.lease_status, shown.lease_state, shown.lease_duration) == (
            "Locked",
            "Leased",
            "Infinite",
        )
        assert containers.lease(
            *account.place, container, {"action": "Renew", "leaseId": taken.lease_id}
        ).lease_id
        broken = containers.lease(*account.place, container, {"action": "Break", "breakPeriod": 0})
        assert broken.lease_time_seconds == "0"
        containers.delete(*account.place, container)

    @pytest.mark.parametrize(
        ("body", "code", "field"),
        [
            ({}, "MissingRequiredHeader", "action"),
            ({"action": "Steal"}, "InvalidHeaderValue", "action"),
            ({"action": "Acquire"}, "MissingRequiredHeader", "leaseDuration"),
            ({"action": "Acquire", "leaseDuration": 5}, "InvalidHeaderValue", "leaseDuration"),
            ({"action": "Renew", "leaseId": "x"}, "InvalidHeaderValue", "leaseId"),
            ({"action": ["Break"]}, INVALID, "action"),
        ],
    )
    def test_that_are_none(self, refused, account, container, body, code, field):
        assert refused("POST", f"{path_of(account, container)}/lease", body) == (400, code, field)


class TestImmutability:
    def test_there_is_none_and_it_is_told(self, account, containers, container):
        policy = containers.get_immutability_policy(*account.place, container)
        assert (policy.immutability_period_since_creation_in_days, policy.state) == (0, "Unlocked")
        for act in (
            lambda: containers.create_or_update_immutability_policy(
                *account.place, container, {"properties": {"immutabilityPeriodSinceCreationInDays": 3}}
            ),
            lambda: containers.set_legal_hold(*account.place, container, {"tags": ["tag1"]}),
        ):
            with pytest.raises(HttpResponseError) as refusal:
                act()
            assert (refusal.value.status_code, refusal.value.error.code) == (
                400,
                UNSUPPORTED,
            )


class TestService:
    def test_defaults(self, new_account, management):
        account = new_account()
        [listed] = management.blob_services.list(*account.place)
        found = management.blob_services.get_service_properties(*account.place)
        assert listed.id == found.id
        assert found.sku.name == "Standard_LRS"
        assert (found.cors.cors_rules, found.delete_retention_policy.enabled) == ([], False)
        assert (found.is_versioning_enabled, found.container_delete_retention_policy.enabled) == (
            False,
            False,
        )

    def test_both_ways_show_the_same(self, new_account, management):
        account = new_account()
        rule = {
            "allowedOrigins": ["https://a.example", "https://b.example"],
            "allowedMethods": ["GET", "PUT"],
            "maxAgeInSeconds": 60,
            "exposedHeaders": ["x-ms-meta-*"],
            "allowedHeaders": ["*"],
        }
        management.blob_services.set_service_properties(
            *account.place,
            {
                "properties": {
                    "cors": {"corsRules": [rule]},
                    "deleteRetentionPolicy": {"enabled": True, "days": 5},
                    "defaultServiceVersion": "2020-10-02",
                }
            },
        )
        with BlobServiceClient(account.url(), credential=account.credential) as client:
            seen = client.get_service_properties()
            assert [r.allowed_origins for r in seen["cors"]] == ["https://a.example,https://b.example"]
            assert (seen["delete_retention_policy"].enabled, seen["delete_retention_policy"].days) == (
                True,
                5,
            )
            assert seen["target_version"] == "2020-10-02"
            client.create_container("kept").upload_blob("b", b"content")
            client.get_blob_client("kept", "b").delete_blob()
            client.get_blob_client("kept", "b").undelete_blob()
            assert client.get_blob_client("kept", "b").download_blob().readall() == b"content"
            client.set_service_properties(
                cors=[CorsRule(["*"], ["HEAD"], max_age_in_seconds=1)],
                delete_retention_policy=RetentionPolicy(enabled=False),
            )
        found = management.blob_services.get_service_properties(*account.place)
        assert [r["allowedMethods"] for r in found.cors.cors_rules] == [["HEAD"]]
        assert found.delete_retention_policy.enabled is False
        assert found.default_service_version == "2020-10-02"
        again = management.blob_services.set_service_properties(*account.place, found)
        assert again.as_dict() == found.as_dict()

    @pytest.mark.parametrize(
        ("properties", "code", "field"),
        [
            ({"deleteRetentionPolicy": {"enabled": True}}, INVALID, "days"),
            ({"deleteRetentionPolicy": {"enabled": True, "days": 0}}, INVALID, "days"),
            ({"cors": {"corsRules": [{}]}}, INVALID, "allowedOrigins"),
            ({"cors": {"corsRules": [1, 2]}}, INVALID, "allowedOrigins"),
            ({"cors": []}, INVALID, "cors"),
            ({"defaultServiceVersion": "new"}, INVALID, "defaultServiceVersion"),
            ({"isVersioningEnabled": True}, UNSUPPORTED, None),
            ({"containerDeleteRetentionPolicy": {"enabled": True}}, INVALID, "days"),
            ({"containerDeleteRetentionPolicy": {"enabled": True, "days": 366}}, INVALID, "days"),
            ({"restorePolicy": {"enabled": True, "days": 3}}, UNSUPPORTED, None),
            ({"changeFeed": {"enabled": "yes"}}, INVALID, "changeFeed.enabled"),
        ],
    )
    def test_what_it_cannot_be(self, arm, refused, account, properties, code, field):
        path = f"{account.path}/blobServices/default"
        before = arm.get(path, VERSION)
        assert refused("PUT", path, {"properties": properties}) == (400, code, field)
        assert arm.get(path, VERSION) == before


@pytest.mark.parametrize(
    ("collection", "name", "code"),
    [
        ("managementPolicies", "default", "ManagementPolicyNotFound"),
        ("inventoryPolicies", "default", "BlobInventoryPolicyNotFound"),
        ("objectReplicationPolicies", "default", "ObjectReplicationPolicyNotFound"),
        ("encryptionScopes", "scope", "EncryptionScopeNotFound"),
        ("localUsers", "user", "LocalUserNotFound"),
        ("privateEndpointConnections", "one", "ResourceNotFound"),
    ],
)
def test_what_no_account_has(arm, refused, account, collection, name, code):
    path = f"{account.path}/{collection}/{name}"
    assert refused("GET", path)[:2] == (404, code)
    assert refused("PUT", path, {"properties": {}})[:2] == (400, UNSUPPORTED)
    assert arm.ask("DELETE", path, version=VERSION).status_code == 204
    assert arm.get(f"{account.path}/{collection}", VERSION) == {"value": []}


@pytest.mark.parametrize("noun", ["queue", "table"])
def test_services_that_there_are_not(refused, account, noun):
    for path in ("", "/default", f"/default/{noun}s", f"/default/{noun}s/one"):
        found = refused("GET", f"{account.path}/{noun}Services{path}")
        assert found[:2] == (400, UNSUPPORTED)
