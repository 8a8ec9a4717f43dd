"""What azure-mgmt-storage 2.0.0 of 2018 does with accounts and containers, in its own api-versions, through
the proxy. Writes what it saw to the file that is its second argument."""

import json
import sys
from pathlib import Path

from azure.common.credentials import ServicePrincipalCredentials
from azure.mgmt.resource import ResourceManagementClient
from azure.mgmt.storage import StorageManagementClient

VERSIONS = ("2015-06-15", "2016-12-01", "2017-10-01", "2018-02-01", "2018-03-01-preview")
values = json.loads(Path(sys.argv[1]).read_text())
credentials = ServicePrincipalCredentials(
    client_id=values["client_id"],
    secret=values["client_secret"],
    tenant=values["tenant"],
    token_uri=values["token_uri"],
)
subscription = values["subscription_id"]
ResourceManagementClient(credentials, subscription).resource_groups.create_or_update(
    "storage2018", {"location": "eastus"}
)
report = {}
for version in VERSIONS:
    client = StorageManagementClient(credentials, subscription, api_version=version)
    models = client.models(version)
    name = "era" + "".join(c for c in version if c.isalnum())
    if version == "2015-06-15":
        asked = models.StorageAccountCreateParameters(location="eastus", account_type="Standard_LRS")
    else:
        sku = models.Sku(name=models.SkuName.standard_lrs)
        kind = models.Kind.storage
        asked = models.StorageAccountCreateParameters(sku=sku, kind=kind, location="eastus")
    free = client.storage_accounts.check_name_availability(name).name_available
    made = client.storage_accounts.create("storage2018", name, asked).result()
    keys = client.storage_accounts.list_keys("storage2018", name)
    tags = models.StorageAccountUpdateParameters(tags={"a": "b"})
    changed = client.storage_accounts.update("storage2018", name, tags)
    usage = client.usages if version == VERSIONS[-1] else client.usage
    report[version] = {
        "free": free,
        "name": made.name,
        "state": getattr(made.provisioning_state, "value", made.provisioning_state),
        "keys": [keys.key1, keys.key2] if version == "2015-06-15" else [key.value for key in keys.keys],
        "tags": changed.tags,
        "endpoint": made.primary_endpoints.blob,
        "listed": name in [a.name for a in client.storage_accounts.list_by_resource_group("storage2018")],
        "usage": [item.name.value for item in usage.list()],
    }
    if version >= "2017-06-01":
        report[version]["skus"] = "Standard_LRS" in [sku.name for sku in client.skus.list()]
    if version >= "2018-02-01":
        containers = client.blob_containers
        containers.create("storage2018", name, "old", public_access="Blob", metadata={"who": "me"})
        found = containers.get("storage2018", name, "old")
        report[version]["container"] = [
            found.name,
            found.public_access.value,
            found.metadata,
            getattr(found.lease_status, "value", found.lease_status),
            [item.name for item in containers.list("storage2018", name).value],
        ]
        containers.delete("storage2018", name, "old")
    client.storage_accounts.delete("storage2018", name)
Path(sys.argv[2]).write_text(json.dumps(report))
