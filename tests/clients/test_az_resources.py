"""`az group`, `provider`, `resource`, `account` and the storage commands that speak to the management API."""

import pytest
from harness.arm import unique
from harness.waiting import until

from .azure_cli import AzureCli


@pytest.fixture(scope="module")
def az(service, tmp_path_factory):
    return AzureCli(service, tmp_path_factory.mktemp("az") / "user")


@pytest.fixture(scope="module")
def group(az):
    name = unique("azg")
    az(f"group create -n {name} -l eastus")
    return name


@pytest.fixture(scope="module")
def account(az, group):
    """Account and group, as the commands that name both take them."""
    name = unique("azacct").replace("-", "")
    az(f"storage account create -n {name} -g {group} --sku Standard_LRS")
    return name


class TestGroupsAndProviders:
    def test_a_group_from_its_creation_to_its_end(self, az):
        name = unique("azg")
        made = az(f"group create -n {name} -l westus2 --tags a=1 b=2")
        assert (made["location"], made["tags"]) == ("westus2", {"a": "1", "b": "2"})
        assert az(f"group update -n {name} --set tags.c=3")["tags"]["c"] == "3"
        assert az(f"group update -n {name} --tags only=this")["tags"] == {"only": "this"}
        assert [one["name"] for one in az("group list --tag only=this")] == [name]
        assert {"Name": name, "Location": "westus2", "Status": "Succeeded"} in az.table("group list")
        assert az(f"group exists -n {name}") is True
        az(f"batchai workspace create -g {name} -n inside")
        az(f"group delete -n {name} -y --no-wait")
        az(f"group wait -n {name} --deleted --interval 1")
        assert az(f"group exists -n {name}") is False
        assert "NotFound" in az.refused(f"batchai workspace show -g {name} -n inside", 3)

    def test_providers(self, az):
        namespaces = {one["namespace"] for one in az("provider list")}
        assert {"Microsoft.BatchAI", "Microsoft.Storage", "Microsoft.Resources"} <= namespaces
        types = az("provider show -n Microsoft.BatchAI --query resourceTypes[].resourceType")
        assert {"workspaces", "workspaces/clusters", "workspaces/experiments/jobs"} <= set(types)
        for command, state in (("unregister", "Unregistered"), ("register", "Registered")):
            az(f"provider {command} -n Microsoft.Batch")
            shown = "provider show -n Microsoft.Batch --query registrationState"
            until(lambda shown=shown, state=state: az(shown) == state, state)

    def test_the_subscription(self, az, service):
        shown = az("account show")
        assert shown["id"] == service.endpoint["subscription_id"]
        assert shown["user"]["type"] == "servicePrincipal"
        assert "eastus" in az("account list-locations --query [].name")
        for resource in ("", "--resource https://storage.azure.com/"):
            assert az(f"account get-access-token {resource} --query tokenType") == "Bearer"

    def test_what_is_not_here_says_so(self, az, group):
        assert "OperationNotSupported" in az.refused(f"deployment group list -g {group}")
        for command in ("lock list", "role assignment list", "feature list"):
            assert "InvalidResourceNamespace" in az.refused(command, 3)


def test_resources_of_every_kind(az, group, account):
    name = unique("azw")
    identity = az(f"batchai workspace create -g {group} -n {name}")["id"]
    kinds = {(one["name"], one["type"]) for one in az(f"resource list -g {group}")}
    assert {(name, "Microsoft.BatchAI/workspaces"), (account, "Microsoft.Storage/storageAccounts")} <= kinds
    assert name in az("resource list --resource-type Microsoft.BatchAI/workspaces --query [].name")
    assert az(f"resource show --ids {identity}")["name"] == name
    assert az(f"resource show -g {group} -n {account} --resource-type Microsoft.Storage/storageAccounts")
    tagged = unique("value")
    assert az(f"resource tag --ids {identity} --tags mine={tagged}")["tags"] == {"mine": tagged}
    assert az(f"resource list --tag mine={tagged} --query [].name") == [name]
    az(f"resource delete --ids {identity}")
    assert "ResourceNotFound" in az.refused(f"resource show --ids {identity}", 3) or name not in az(
        f"resource list -g {group} --query [].name"
    )


class TestStorageAccounts:
    def test_an_account(self, az, group):
        name = unique("azacct").replace("-", "")
        assert az(f"storage account check-name -n {name}")["nameAvailable"] is True
        made = az(f"storage account create -n {name} -g {group} --sku Standard_LRS --tags a=1")
        assert (made["kind"], made["provisioningState"], made["location"]) == (
            "StorageV2",
            "Succeeded",
            "eastus",
        )
        assert az(f"storage account check-name -n {name}")["reason"] == "AlreadyExists"
        changed = az(f"storage account update -n {name} -g {group} --tags b=2 --https-only true")
        assert (changed["tags"], changed["enableHttpsTrafficOnly"]) == ({"b": "2"}, True)
        assert name in az(f"storage account list -g {group} --query [].name")
        before = az(f"storage account keys list -n {name} -g {group}")
        after = az(f"storage account keys renew -n {name} -g {group} --key key1")
        assert [one["keyName"] for one in after] == ["key1", "key2"]
        assert after[0]["value"] != before[0]["value"]
        assert after[1]["value"] == before[1]["value"]
        said = az(f"storage account show-connection-string -n {name} -g {group}")["connectionString"]
        assert after[0]["value"] in said
        az(f"storage container create -n after --account-name {name}")
        az(f"storage account delete -n {name} -g {group} -y")
        assert "ResourceNotFound" in az.refused(f"storage account show -n {name} -g {group}", 3)

    def test_what_a_region_has(self, az):
        usage = az("storage account show-usage -l eastus")
        assert (usage["unit"], usage["name"]["value"]) == ("Count", "StorageAccounts")
        assert "Standard_LRS" in az("storage sku list --query [].name")

    def test_properties_of_the_services(self, az, group, account):
        blob = f"storage account blob-service-properties {{}} -n {account} -g {group}"
        kept = az(blob.format("update") + " --enable-delete-retention true --delete-retention-days 7")
        assert (kept["deleteRetentionPolicy"]["enabled"], kept["deleteRetentionPolicy"]["days"]) == (True, 7)
        assert az(blob.format("show"))["deleteRetentionPolicy"]["days"] == 7
        # The data plane keeps to it.
        az(f"storage container create -n kept --account-name {account}")
        az(f"storage blob upload -c kept -n b --data bytes --account-name {account}")
        az(f"storage blob delete -c kept -n b --account-name {account}")
        az(f"storage blob undelete -c kept -n b --account-name {account}")
        assert az(f"storage blob exists -c kept -n b --account-name {account}") == {"exists": True}
        file = f"storage account file-service-properties show -n {account} -g {group}"
        assert az(file)["name"] == "default"

    def test_containers_by_the_management_api(self, az, group, account):
        of, name = f"--storage-account {account} -g {group}", unique("azc")
        made = az(f"storage container-rm create {of} -n {name} --metadata a=b --public-access blob")
        assert (made["name"], made["publicAccess"]) == (name, "Blob")
        assert az(f"storage container exists -n {name} --account-name {account}") == {"exists": True}
        assert name in az(f"storage container-rm list {of} --query [].name")
        assert az(f"storage container-rm show {of} -n {name}")["metadata"] == {"a": "b"}
        assert az(f"storage container-rm update {of} -n {name} --metadata c=d")["metadata"] == {"c": "d"}
        assert az(f"storage container-rm exists {of} -n {name}") == {"exists": True}
        az(f"storage container-rm delete {of} -n {name} -y")
        assert az(f"storage container-rm exists {of} -n {name}") == {"exists": False}

    def test_shares_by_the_management_api(self, az, group, account):
        of, name = f"--storage-account {account} -g {group}", unique("azs")
        assert az(f"storage share-rm create {of} -n {name} --quota 10")["shareQuota"] == 10
        az(f"storage directory create -n d -s {name} --account-name {account}")
        assert name in az(f"storage share-rm list {of} --query [].name")
        assert az(f"storage share-rm update {of} -n {name} --quota 20")["shareQuota"] == 20
        assert az(f"storage share-rm show {of} -n {name}")["shareQuota"] == 20
        assert az(f"storage share-rm stats {of} -n {name}") in ("0", 0, "1", 1)
        assert az(f"storage share-rm snapshot {of} -n {name}")["name"] == name
        az(f"storage share-rm delete {of} -n {name} -y --include snapshots")
        assert az(f"storage share-rm exists {of} -n {name}") == {"exists": False}
