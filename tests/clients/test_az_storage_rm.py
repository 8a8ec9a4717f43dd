"""What `az storage` asks of the management API beyond accounts, containers and shares as such: rules,
retention and restoring, access, and what there is not."""

import pytest
from harness.arm import unique

from .azure_cli import AzureCli


@pytest.fixture(scope="module")
def az(service, tmp_path_factory):
    return AzureCli(service, tmp_path_factory.mktemp("az") / "user")


@pytest.fixture(scope="module")
def group(az):
    name = unique("azrm")
    az(f"group create -n {name} -l eastus")
    return name


@pytest.fixture(scope="module")
def account(az, group):
    name = unique("azrmacct")
    az(
        f"storage account create -n {name} -g {group} --access-tier Cool --default-action Deny"
        " --bypass Logging --key-exp-days 3 --sas-exp 1.00:00:00 --routing-choice MicrosoftRouting"
        " --allow-blob-public-access true"
    )
    return name


def test_rules_of_the_account(az, group, account):
    of = f"-n {account} -g {group}"
    shown = az(f"storage account show {of}")
    assert (shown["accessTier"], shown["keyPolicy"]["keyExpirationPeriodInDays"]) == ("Cool", 3)
    assert (shown["networkRuleSet"]["defaultAction"], shown["networkRuleSet"]["bypass"]) == (
        "Deny",
        "Logging",
    )
    added = az(f"storage account network-rule add {of} --ip-address 10.1.2.3")
    assert [rule["ipAddressOrRange"] for rule in added["networkRuleSet"]["ipRules"]] == ["10.1.2.3"]
    left = az(f"storage account network-rule remove {of} --ip-address 10.1.2.3")
    assert left["networkRuleSet"]["ipRules"] == []
    changed = az(f"storage account update {of} --sku Standard_GRS --access-tier Hot --yes")
    assert (changed["sku"]["name"], changed["accessTier"]) == ("Standard_GRS", "Hot")


def test_cors_of_the_blob_service(az, group, account):
    rules = f"storage account blob-service-properties cors-rule {{}} -n {account} -g {group}"
    az(rules.format("add") + " --origins '*' --methods GET HEAD --max-age 60 --allowed-headers '*'")
    [rule] = az(rules.format("list"))
    assert (rule["allowedMethods"], rule["maxAgeInSeconds"]) == (["GET", "HEAD"], 60)
    assert az(rules.format("clear")) == []


def test_a_deleted_container_comes_back(az, group, account):
    properties, of = f"-n {account} -g {group}", f"--storage-account {account} -g {group}"
    az(
        f"storage account blob-service-properties update {properties}"
        " --enable-container-delete-retention true --container-delete-retention-days 5"
    )
    az(f"storage container-rm create {of} -n kept --metadata a=b")
    az(f"storage container-rm delete {of} -n kept -y")
    [gone] = az(f"storage container-rm list {of} --include-deleted")
    assert (gone["name"], gone["deleted"]) == ("kept", True)
    az(f"storage container restore -n kept --deleted-version {gone['version']} --account-name {account}")
    assert az(f"storage container-rm show {of} -n kept")["metadata"] == {"a": "b"}


def test_a_deleted_share_comes_back(az, group, account):
    properties, of = f"-n {account} -g {group}", f"--storage-account {account} -g {group}"
    az(
        f"storage account file-service-properties update {properties}"
        " --enable-delete-retention true --delete-retention-days 7"
    )
    az(f"storage share-rm create {of} -n kept --quota 3")
    taken = az(f"storage share-rm snapshot {of} -n kept")["snapshotTime"]
    az(f"storage share-rm delete {of} -n kept -y --include snapshots")
    [gone] = az(f"storage share-rm list {of} --include-deleted")
    az(f"storage share-rm restore {of} -n kept --deleted-version {gone['version']}")
    assert az(f"storage share-rm show {of} -n kept")["shareQuota"] == 3
    assert az(f"storage share-rm show {of} -n kept --snapshot {taken}")["snapshotTime"] == taken


def test_an_account_without_keys(az, group):
    name = unique("azrmnokey")
    az(f"storage account create -n {name} -g {group} --https-only true --allow-shared-key-access false")
    said = az.refused(f"storage container create -n ccc --account-name {name} --auth-mode key")
    assert "KeyBasedAuthenticationNotPermitted" in said
    made = az(f"storage container create -n ccc --account-name {name} --auth-mode login")
    assert made == {"created": True}


def test_what_there_is_not(az, group, account):
    of = f"--account-name {account} -g {group}"
    for line, says, status in (
        (f"storage account management-policy show {of}", "ManagementPolicyNotFound", 3),
        (f"storage account encryption-scope create -n one {of}", "FeatureNotSupportedForAccount", 1),
        (f"storage account failover -n {account} -g {group} -y", "FeatureNotSupportedForAccount", 1),
        (f"storage container legal-hold set -c kept --tags abc {of}", "FeatureNotSupportedForAccount", 1),
    ):
        assert says in az.refused(line, status)
    assert az(f"storage account encryption-scope list {of}") == []
