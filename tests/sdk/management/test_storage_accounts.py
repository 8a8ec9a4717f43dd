"""Storage accounts at ARM as today's SDK sees them, and what they say kept to on the data plane."""

from datetime import UTC, datetime, timedelta

import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.storage.blob import (
    AccessPolicy,
    BlobServiceClient,
    ContainerClient,
    StandardBlobTier,
    generate_blob_sas,
)
from azure.storage.fileshare import ShareServiceClient
from harness.arm import Arm, Lab, cluster_properties, mount, unique
from harness.waiting import until

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)
OLD = "2015-06-15"
INVALID, UNSUPPORTED = "InvalidValuesForRequestParameters", "FeatureNotSupportedForAccount"


def account_path(arm, group, name):
    return f"{arm.group_path(group)}/providers/Microsoft.Storage/storageAccounts/{name}"


def creation(**changes):
    return {"location": "eastus", "kind": "StorageV2", "sku": {"name": "Standard_LRS"}, **changes}


class TestLifecycle:
    def test_what_was_asked_for_comes_back(self, new_account, management):
        asked = {
            "accessTier": "Cool",
            "allowSharedKeyAccess": True,
            "minimumTlsVersion": "TLS1_1",
            "publicNetworkAccess": "Enabled",
            "networkAcls": {
                "bypass": "Logging, Metrics",
                "defaultAction": "Deny",
                "ipRules": [{"value": "10.0.0.0/8", "action": "Allow"}],
                "virtualNetworkRules": [],
            },
            "keyPolicy": {"keyExpirationPeriodInDays": 30},
        }
        account = new_account(tags={"a": "1"}, sku={"name": "standard_grs"}, properties=asked)
        found = management.storage_accounts.get_properties(*account.place)
        assert (found.kind, found.sku.name, found.sku.tier) == ("StorageV2", "Standard_GRS", "Standard")
        assert (found.tags, found.location, found.provisioning_state) == ({"a": "1"}, "eastus", "Succeeded")
        assert {name: found.properties[name] for name in asked} == asked
        assert found.primary_endpoints.blob == f"https://{account.name}.blob.core.windows.net/"
        assert found.creation_time.tzinfo
        encrypted = account.update(encryption={"services": {"blob": {"enabled": True}}}).encryption
        assert (encrypted.key_source, encrypted.services.blob.enabled) == ("Microsoft.Storage", True)

    def test_defaults(self, account, management):
        found = management.storage_accounts.get_properties(*account.place)
        assert found.access_tier == "Hot"
        assert (found.enable_https_traffic_only, found.allow_blob_public_access) == (False, True)
        assert found.allow_shared_key_access is None
        assert (found.network_rule_set.default_action, found.network_rule_set.ip_rules) == ("Allow", [])

    def test_an_update_changes_what_it_names(self, new_account, management):
        account = new_account(
            tags={"a": "1"}, properties={"minimumTlsVersion": "TLS1_2", "accessTier": "Cool"}
        )
        changed = management.storage_accounts.update(
            *account.place, {"sku": {"name": "Standard_RAGRS"}, "properties": {"accessTier": "Hot"}}
        )
        assert (changed.sku.name, changed.access_tier) == ("Standard_RAGRS", "Hot")
        assert (changed.tags, changed.minimum_tls_version) == ({"a": "1"}, "TLS1_2")
        assert changed.secondary_endpoints.blob.startswith(f"https://{account.name}-secondary.blob.")
        assert management.storage_accounts.update(*account.place, {"tags": {"b": "2"}}).tags == {"b": "2"}

    def test_created_again_it_is_the_same_account(self, new_account, management, group):
        account = new_account()
        key = account.key
        new_account(account.name, properties={"accessTier": "Cool"})
        assert account.key == key
        assert management.storage_accounts.get_properties(*account.place).access_tier == "Cool"
        listed = [a.name for a in management.storage_accounts.list_by_resource_group(group)]
        assert listed.count(account.name) == 1
        assert account.name in [a.name for a in management.storage_accounts.list()]

    def test_deleted_it_is_gone_and_so_is_its_content(self, arm, new_account, management):
        account = new_account()
        with BlobServiceClient(account.url(), credential=account.credential) as client:
            client.create_container("content")
        key = account.credential
        assert arm.ask("DELETE", account.path).status_code == 200
        assert arm.ask("DELETE", account.path).status_code == 204
        with pytest.raises(ResourceNotFoundError) as missing:
            management.storage_accounts.get_properties(*account.place)
        assert missing.value.error.code == "ResourceNotFound"
        with (
            BlobServiceClient(account.url(), credential=key) as client,
            pytest.raises(ResourceNotFoundError),
        ):
            client.get_container_client("content").get_container_properties()

    def test_a_gpv1_account_becomes_gpv2_and_nothing_else(self, refused, new_account, management):
        account = new_account(kind="Storage")
        assert refused("PATCH", account.path, {"kind": "BlobStorage"}) == (
            400,
            "AccountPropertyCannotBeUpdated",
            "kind",
        )
        assert management.storage_accounts.update(*account.place, {"kind": "StorageV2"}).kind == "StorageV2"


class TestNames:
    @pytest.mark.parametrize("name", ["ab", "a" * 25, "Capital", "with-dash"])
    def test_that_none_may_have(self, arm, refused, management, group, name):
        answer = management.storage_accounts.check_name_availability(
            {"name": name, "type": "Microsoft.Storage/storageAccounts"}
        )
        assert (answer.name_available, answer.reason) == (False, "AccountNameInvalid")
        put = refused("PUT", account_path(arm, group, name), creation())
        assert put == (400, "AccountNameInvalid", "accountName")

    def test_that_are_taken(self, arm, refused, account, management):
        kind = "Microsoft.Storage/storageAccounts"
        answer = management.storage_accounts.check_name_availability({"name": account.name, "type": kind})
        assert (answer.name_available, answer.reason) == (False, "AlreadyExists")
        elsewhere = account_path(arm, arm.group(), account.name)
        assert refused("PUT", elsewhere, creation())[:2] == (409, "StorageAccountInAnotherResourceGroup")
        here = refused("PUT", account.path, creation(location="westeurope"))
        assert here[:2] == (409, "InvalidResourceLocation")
        free = management.storage_accounts.check_name_availability({"name": unique("free"), "type": kind})
        assert free.name_available is True

    def test_the_question_names_what_it_lacks(self, arm, refused):
        path = f"{arm.subscription}/providers/Microsoft.Storage/checkNameAvailability"
        assert refused("POST", path, {"type": "x"}) == (400, INVALID, "name")
        other = {"name": "abc", "type": "Microsoft.Other/things"}
        assert refused("POST", path, other) == (400, INVALID, "type")


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"sku": {"name": "Standard_Huge"}}, "InvalidAccountType", "sku.name"),
        ({"sku": {}}, INVALID, "sku.name"),
        ({"sku": 1}, INVALID, "sku"),
        ({"kind": "FileStorage"}, "InvalidAccountType", "sku.name"),
        ({"kind": "Tape"}, INVALID, "kind"),
        ({"kind": {}}, INVALID, "kind"),
        ({"properties": []}, INVALID, "properties"),
        ({"identity": {"type": "SystemAssigned"}}, "FeatureNotSupportedForAccount", None),
    ],
)
def test_accounts_that_cannot_be(arm, refused, group, change, code, field):
    path = account_path(arm, group, unique("cannotbe"))
    assert refused("PUT", path, creation(**change)) == (400, code, field)
    assert arm.gone(path)


@pytest.mark.parametrize(
    ("properties", "code", "field"),
    [
        ({"accessTier": "Lukewarm"}, INVALID, "accessTier"),
        ({"allowSharedKeyAccess": "no"}, INVALID, "allowSharedKeyAccess"),
        ({"networkAcls": {"defaultAction": 1}}, INVALID, "networkAcls.defaultAction"),
        ({"networkAcls": {"ipRules": [{"value": "x"}]}}, INVALID, "networkAcls.ipRules[0].value"),
        ({"networkAcls": {"ipRules": [{}]}}, INVALID, "networkAcls.ipRules[0].value"),
        ({"encryption": {"keySource": "Mine"}}, "UnknownEncryptionKeySource", "encryption.keySource"),
        ({"encryption": {"keySource": "Microsoft.Keyvault"}}, UNSUPPORTED, None),
        ({"isHnsEnabled": True}, UNSUPPORTED, None),
        ({"isSftpEnabled": True}, UNSUPPORTED, None),
        ({"immutableStorageWithVersioning": {"enabled": True}}, UNSUPPORTED, None),
    ],
)
def test_properties_that_no_account_has(arm, refused, account, properties, code, field):
    before = arm.get(account.path)
    assert refused("PATCH", account.path, {"properties": properties}) == (400, code, field)
    assert arm.get(account.path) == before


def test_a_domain_that_does_not_lead_here(refused, account):
    body = {"properties": {"customDomain": {"name": "www.example.com"}}}
    assert refused("PATCH", account.path, body)[:2] == (409, "StorageDomainNameCouldNotVerify")


def test_skus_change_within_their_family(refused, account):
    body = {"sku": {"name": "Premium_LRS"}}
    assert refused("PATCH", account.path, body)[:2] == (400, "StorageAccountTypeConversionNotAllowed")


class TestKeys:
    def test_are_listed_with_their_times(self, new_account, management):
        account = new_account()
        before = management.storage_accounts.list_keys(*account.place, expand="kerb").keys_property
        assert [(key.key_name, key.permissions.upper()) for key in before] == [
            ("key1", "FULL"),
            ("key2", "FULL"),
        ]
        management.storage_accounts.regenerate_key(*account.place, {"keyName": "key2"})
        after = management.storage_accounts.list_keys(*account.place).keys_property
        assert (after[0].value, after[0].creation_time) == (before[0].value, before[0].creation_time)
        assert after[1].value != before[1].value
        assert after[1].creation_time >= before[1].creation_time

    def test_that_are_none(self, refused, account):
        path = f"{account.path}/regenerateKey"
        assert refused("POST", path, {"keyName": "kerb1"}) == (
            400,
            "InvalidValuesForRequestParameters",
            "keyName",
        )
        assert refused("POST", path, {}) == (400, INVALID, "keyName")

    def test_in_the_shape_of_2015(self, arm, group):
        path = account_path(arm, group, unique("era"))
        body = {"location": "eastus", "properties": {"accountType": "Standard_LRS"}}
        made = arm.put(path, body, OLD)
        assert made["properties"]["accountType"] == "Standard_LRS"
        keys = arm.ask("POST", f"{path}/listKeys", version=OLD).json()
        assert sorted(keys) == ["key1", "key2"]
        renewed = arm.ask("POST", f"{path}/regenerateKey", {"keyName": "key1"}, version=OLD).json()
        assert (renewed["key1"] != keys["key1"], renewed["key2"]) == (True, keys["key2"])


class TestSignatures:
    @pytest.fixture
    def blob(self, account):
        with BlobServiceClient(account.url(), credential=account.credential) as client:
            container = client.create_container(unique("sas"))
            container.upload_blob("a b", b"content")
            yield container.get_blob_client("a b")

    def test_of_an_account_work_as_far_as_they_say(self, account, management, blob):
        token = management.storage_accounts.list_account_sas(
            *account.place,
            {
                "signedServices": "b",
                "signedResourceTypes": "sco",
                "signedPermission": "rl",
                "signedStart": (NOW - HOUR).isoformat(),
                "signedExpiry": (NOW + HOUR).isoformat(),
                "keyToSign": "key2",
            },
        ).account_sas_token
        with BlobServiceClient(account.url(), credential=token) as client:
            assert blob.container_name in [found.name for found in client.list_containers()]
            assert client.get_blob_client(blob.container_name, "a b").download_blob().readall() == b"content"
            with pytest.raises(HttpResponseError) as writing:
                client.get_blob_client(blob.container_name, "b").upload_blob(b"")
        assert writing.value.error_code == "AuthorizationPermissionMismatch"
        management.storage_accounts.regenerate_key(*account.place, {"keyName": "key2"})
        with (
            BlobServiceClient(account.url(), credential=token) as client,
            pytest.raises(ClientAuthenticationError),
        ):
            list(client.list_containers())

    def test_of_a_service_work_for_what_they_name(self, account, management, blob):
        body = {
            "canonicalizedResource": f"/blob/{account.name}/{blob.container_name}/a b",
            "signedResource": "b",
            "signedPermission": "r",
            "signedExpiry": (NOW + HOUR).isoformat(),
            "rsct": "text/x-of-the-token",
        }
        token = management.storage_accounts.list_service_sas(*account.place, body).service_sas_token
        answer = requests.get(f"{blob.url}?{token}", timeout=30)
        assert (answer.content, answer.headers["content-type"]) == (b"content", "text/x-of-the-token")
        other = f"{account.url()}/{blob.container_name}/other?{token}"
        assert requests.get(other, timeout=30).status_code == 403

    def test_of_a_share(self, account, management):
        with ShareServiceClient(account.url("file"), credential=account.credential) as client:
            share = client.create_share(unique("sas"))
            share.get_file_client("f").upload_file(b"content")
        body = {
            "canonicalizedResource": f"/file/{account.name}/{share.share_name}",
            "signedResource": "s",
            "signedPermission": "rl",
            "signedExpiry": (NOW + HOUR).isoformat(),
        }
        token = management.storage_accounts.list_service_sas(*account.place, body).service_sas_token
        url = f"{account.url('file')}/{share.share_name}/f?{token}"
        assert requests.get(url, timeout=30).content == b"content"

    def test_by_a_stored_policy(self, account, management, blob):
        with BlobServiceClient(account.url(), credential=account.credential) as client:
            policy = AccessPolicy(permission="r", expiry=NOW + HOUR)
            container = client.get_container_client(blob.container_name)
            container.set_container_access_policy({"mine": policy})
            body = {
                "canonicalizedResource": f"/blob/{account.name}/{blob.container_name}",
                "signedResource": "c",
                "signedIdentifier": "mine",
            }
            token = management.storage_accounts.list_service_sas(*account.place, body).service_sas_token
            assert requests.get(f"{blob.url}?{token}", timeout=30).content == b"content"
            container.set_container_access_policy({})
            assert requests.get(f"{blob.url}?{token}", timeout=30).status_code == 403

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"canonicalizedResource": "/blob/somebodyelse/c"}, "canonicalizedResource"),
            ({"canonicalizedResource": "/queue/{name}/q"}, "canonicalizedResource"),
            ({"signedResource": "b"}, "signedResource"),
            ({"signedExpiry": "tomorrow"}, "signedExpiry"),
            ({"signedExpiry": None}, "signedExpiry"),
            ({"signedExpiry": "9999-12-31T23:59:59-10:00"}, "signedExpiry"),
            ({"signedStart": "0001-01-01T00:00:00+10:00"}, "signedStart"),
            ({"signedPermission": "R"}, "signedPermission"),
            ({"signedProtocol": "ftp"}, "signedProtocol"),
            ({"keyToSign": "key3"}, "keyToSign"),
        ],
    )
    def test_that_cannot_be_made(self, refused, account, change, field):
        body = {
            "canonicalizedResource": f"/blob/{account.name}/c",
            "signedResource": "c",
            "signedPermission": "r",
            "signedExpiry": (NOW + HOUR).isoformat(),
            **change,
        }
        found = refused("POST", f"{account.path}/listServiceSas", body)
        assert found == (400, INVALID, field)


def blob_sas(account, **key):
    return generate_blob_sas(account.name, "ccc", "b", permission="r", expiry=NOW + HOUR, **key)


class TestAccess:
    def test_by_https_only_when_the_account_says_so(self, new_account):
        account = new_account(properties={"supportsHttpsTrafficOnly": True})
        with (
            BlobServiceClient(account.url(), credential=account.credential) as plain,
            pytest.raises(HttpResponseError) as refusal,
        ):
            plain.create_container("plain")
        assert (refusal.value.status_code, refusal.value.error_code) == (400, "AccountRequiresHttps")
        ca = account.arm.service.endpoint["ca_bundle"]
        with BlobServiceClient(
            account.url(tls=True), credential=account.credential, connection_verify=ca
        ) as client:
            client.create_container("sealed")
        account.update(supportsHttpsTrafficOnly=False)
        with BlobServiceClient(account.url(), credential=account.credential) as plain:
            assert [found.name for found in plain.list_containers()] == ["sealed"]

    def test_without_keys_when_the_account_says_so(self, new_account, login, arm):
        account = new_account()
        with BlobServiceClient(account.url(), credential=account.credential) as client:
            client.create_container("ccc").upload_blob("b", b"content")
        url = f"{account.url(tls=True)}/ccc/b"
        link = f"{url}?{blob_sas(account, account_key=account.key)}"
        ca = account.arm.service.endpoint["ca_bundle"]
        assert arm.http.get(link, timeout=30).content == b"content"
        account.update(allowSharedKeyAccess=False)
        with (
            BlobServiceClient(account.url(), credential=account.credential) as client,
            pytest.raises(HttpResponseError) as refusal,
        ):
            list(client.list_containers())
        assert (refusal.value.status_code, refusal.value.error_code) == (
            403,
            "KeyBasedAuthenticationNotPermitted",
        )
        assert (
            arm.http.get(link, timeout=30).headers["x-ms-error-code"] == "KeyBasedAuthenticationNotPermitted"
        )
        with BlobServiceClient(account.url(tls=True), credential=login, connection_verify=ca) as owner:
            assert owner.get_blob_client("ccc", "b").download_blob().readall() == b"content"
            key = owner.get_user_delegation_key(NOW - HOUR, NOW + HOUR)
        delegated = blob_sas(account, user_delegation_key=key)
        assert arm.http.get(f"{url}?{delegated}", timeout=30).content == b"content"
        account.update(allowSharedKeyAccess=True)
        assert arm.http.get(link, timeout=30).content == b"content"

    def test_without_the_delegation_keys_that_were_revoked(self, new_account, login, arm, management):
        account = new_account()
        ca = arm.service.endpoint["ca_bundle"]
        with BlobServiceClient(account.url(tls=True), credential=login, connection_verify=ca) as owner:
            owner.create_container("ccc").upload_blob("b", b"content")

            def link():
                key = owner.get_user_delegation_key(NOW - HOUR, NOW + HOUR)
                return f"{account.url()}/ccc/b?{blob_sas(account, user_delegation_key=key)}"

            before = link()
            assert requests.get(before, timeout=30).content == b"content"
            management.storage_accounts.revoke_user_delegation_keys(*account.place)
            assert requests.get(before, timeout=30).status_code == 403
            assert requests.get(link(), timeout=30).content == b"content"
        assert "delegationGeneration" not in arm.get(account.path)["properties"]

    def test_not_by_what_an_account_of_this_name_had_given_out_before(self, new_account, login, management):
        account = new_account()
        options = {"credential": login, "connection_verify": account.arm.service.endpoint["ca_bundle"]}
        with BlobServiceClient(account.url(tls=True), **options) as owner:
            key = owner.get_user_delegation_key(NOW - HOUR, NOW + HOUR)
            before = f"{account.url()}/ccc/b?{blob_sas(account, user_delegation_key=key)}"
            management.storage_accounts.delete(*account.place)

            def is_free():
                return management.storage_accounts.check_name_availability(
                    {"name": account.name, "type": "Microsoft.Storage/storageAccounts"}
                ).name_available

            until(is_free, "the name free again")
            new_account(account.name)
            owner.create_container("ccc").upload_blob("b", b"content")
            assert requests.get(before, timeout=30).status_code == 403

    def test_blobs_without_a_tier_have_the_accounts(self, new_account):
        account = new_account(properties={"accessTier": "Cool"})
        with BlobServiceClient(account.url(), credential=account.credential) as client:
            container = client.create_container("ccc")
            blob = container.upload_blob("a", b"content")
            container.upload_blob("b", b"content", standard_blob_tier=StandardBlobTier.COLD)

            def tiers():
                listed = [(b.blob_tier, b.blob_tier_inferred) for b in container.list_blobs()]
                found = blob.get_blob_properties()
                return [(found.blob_tier, found.blob_tier_inferred), *listed]

            assert tiers() == [("Cool", True), ("Cool", True), ("Cold", None)]
            account.update(accessTier="Hot")
            assert tiers() == [("Hot", True), ("Hot", True), ("Cold", None)]

    def test_public_containers_only_where_the_account_lets_them_be(self, new_account):
        account = new_account()
        with BlobServiceClient(account.url(), credential=account.credential) as client:
            client.create_container("public", public_access="blob").upload_blob("b", b"content")
            url = f"{account.url()}/public/b"
            assert requests.get(url, timeout=30).content == b"content"
            account.update(allowBlobPublicAccess=False)
            answer = requests.get(url, timeout=30)
            assert (answer.status_code, answer.headers["x-ms-error-code"]) == (
                409,
                "PublicAccessNotPermitted",
            )
            with pytest.raises(HttpResponseError) as making:
                client.create_container("another", public_access="container")
            assert (making.value.status_code, making.value.error_code) == (409, "PublicAccessNotPermitted")
            with pytest.raises(HttpResponseError) as setting:
                client.get_container_client("public").set_container_access_policy({}, public_access="blob")
            assert setting.value.error_code == "PublicAccessNotPermitted"
            client.get_container_client("public").set_container_access_policy({})
        with ContainerClient.from_container_url(f"{account.url()}/public") as anybody:
            with pytest.raises(HttpResponseError) as reading:
                anybody.get_blob_client("b").download_blob()
            assert reading.value.status_code == 401

    def test_what_it_says_outlives_the_service(self, new_service, login):
        service = new_service().up()
        arm = Arm(service)
        path = account_path(arm, arm.group(), "outlives")
        arm.put(path, creation(properties={"supportsHttpsTrafficOnly": True}), "2019-06-01")
        service.kill()
        service.up()
        url = f"{service.endpoint['blob']}/outlives?comp=list"
        assert requests.get(url, timeout=30).headers["x-ms-error-code"] == "AccountRequiresHttps"


class TestOfTheSubscription:
    def test_skus(self, management):
        found = [(sku.name, sku.tier, sku.kind) for sku in management.skus.list()]
        assert ("Standard_LRS", "Standard", "StorageV2") in found
        assert ("Premium_LRS", "Premium", "FileStorage") in found

    def test_usages_count_the_accounts(self, arm, new_account, management):
        new_account(location="westus2")
        before = next(iter(management.usages.list_by_location("westus2")))
        new_account(location="West US 2")
        after = next(iter(management.usages.list_by_location("westus2")))
        assert (after.name.value, after.unit, after.current_value) == (
            "StorageAccounts",
            "Count",
            before.current_value + 1,
        )
        assert after.limit > after.current_value
        everywhere = arm.get(f"{arm.subscription}/providers/Microsoft.Storage/usages", "2017-06-01")
        assert everywhere["value"][0]["currentValue"] > after.current_value

    def test_operations(self, management):
        names = [operation.name for operation in management.operations.list()]
        assert "Microsoft.Storage/storageAccounts/read" in names

    def test_nothing_deleted_is_kept(self, management):
        assert list(management.deleted_accounts.list()) == []
        with pytest.raises(ResourceNotFoundError) as missing:
            management.deleted_accounts.get("gone", "eastus")
        assert missing.value.error.code == "DeletedAccountNotFound"


def test_a_quota_of_accounts(new_service):
    arm = Arm(new_service({"quotas": {"StorageAccounts": 2}}).up())
    group = arm.group()
    arm.put(account_path(arm, group, "secondaccount"), creation(), "2019-06-01")
    answer = arm.ask("PUT", account_path(arm, group, "thirdaccount"), creation(), "2019-06-01")
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "MaxStorageAccountsCountPerSubscriptionExceeded"
    arm.put(account_path(arm, group, "secondaccount"), creation(tags={"a": "b"}), "2019-06-01")


class TestJobsOn:
    """Accounts that say something of access, and what jobs have to do with them."""

    def test_one_that_takes_no_keys_is_refused_as_a_mount(self, arm, new_account):
        account = new_account()
        share_of(account, "nokeys")
        mounted = mount_of(arm, account, "nokeys")
        account.update(allowSharedKeyAccess=False)
        workspace = f"{arm.provider(arm.group())}/workspaces/ws"
        arm.put(workspace, {"location": "eastus"})
        body = cluster_properties(arm.service, "nokeys") | {"nodeSetup": {"mountVolumes": mounted}}
        answer = arm.ask("PUT", f"{workspace}/clusters/nodes", {"properties": body})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidPropertyValue")
        assert "does not permit its keys to be used" in answer.json()["error"]["message"]

    def test_files_on_one_that_takes_https_only_have_such_urls(self, arm, new_account, make_lab):
        account = new_account(properties={"supportsHttpsTrafficOnly": True})
        share_of(account, "sealed")
        lab = make_lab(nodeSetup={"mountVolumes": mount_of(arm, account, "sealed")})
        job = lab.submit("echo hello")
        assert lab.finished(job)["executionState"] == "succeeded"
        [url] = [file["downloadUrl"] for file in lab.files(job) if file["name"] == "stdout.txt"]
        assert url.startswith("https://127.0.0.1:")
        assert arm.http.get(url, timeout=30).text == "hello\n"


def share_of(account, name):
    ca = account.arm.service.endpoint["ca_bundle"]
    url = account.url("file", tls=True)
    with ShareServiceClient(url, credential=account.credential, connection_verify=ca) as files:
        files.create_share(name)


def mount_of(arm, account, share):
    return mount(
        arm.service,
        share,
        accountName=account.name,
        azureFileUrl=f"https://{account.name}.file.core.windows.net/{share}",
        credentials={"accountKey": account.key},
    )


@pytest.fixture
def make_lab(arm):
    return lambda **cluster: Lab(arm, **cluster)
