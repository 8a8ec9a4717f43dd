"""The operations of Microsoft.Storage that this service has, as their provider lists them."""

from typing import Any

Json = dict[str, Any]

_ACCOUNTS = "Storage Accounts"
_CONTAINERS = "Blob containers"
_SHARES = "File shares"
# Below Microsoft.Storage: the name, the resource, what it does.
_OPERATIONS = (
    ("operations/read", "Operations", "List the operations of the provider"),
    ("skus/read", "Storage SKUs", "List the SKUs of storage accounts"),
    ("usages/read", "Usage", "Count the storage accounts of a subscription"),
    ("locations/usages/read", "Usage", "Count the storage accounts of a location"),
    ("checknameavailability/read", "Name availability", "Check whether an account's name is free"),
    ("deletedAccounts/read", "Deleted accounts", "List deleted accounts that can be brought back"),
    ("storageAccounts/read", _ACCOUNTS, "List or get storage accounts"),
    ("storageAccounts/write", _ACCOUNTS, "Create or update a storage account"),
    ("storageAccounts/delete", _ACCOUNTS, "Delete a storage account"),
    ("storageAccounts/listkeys/action", _ACCOUNTS, "List the keys of an account"),
    ("storageAccounts/regeneratekey/action", _ACCOUNTS, "Renew a key of an account"),
    (
        "storageAccounts/revokeUserDelegationKeys/action",
        _ACCOUNTS,
        "Revoke the user delegation keys of an account",
    ),
    ("storageAccounts/listAccountSas/action", _ACCOUNTS, "Make a shared access signature of an account"),
    ("storageAccounts/listServiceSas/action", _ACCOUNTS, "Make a shared access signature of a service"),
    ("storageAccounts/blobServices/read", "Blob service", "Get the properties of the blob service"),
    ("storageAccounts/blobServices/write", "Blob service", "Set the properties of the blob service"),
    ("storageAccounts/blobServices/containers/read", _CONTAINERS, "List or get containers"),
    ("storageAccounts/blobServices/containers/write", _CONTAINERS, "Create or update a container"),
    ("storageAccounts/blobServices/containers/delete", _CONTAINERS, "Delete a container"),
    ("storageAccounts/blobServices/containers/lease/action", _CONTAINERS, "Lease a container"),
    ("storageAccounts/fileServices/read", "File service", "Get the properties of the file service"),
    ("storageAccounts/fileServices/write", "File service", "Set the properties of the file service"),
    ("storageAccounts/fileServices/shares/read", _SHARES, "List or get shares"),
    ("storageAccounts/fileServices/shares/write", _SHARES, "Create, update or snapshot a share"),
    ("storageAccounts/fileServices/shares/delete", _SHARES, "Delete a share or a snapshot of it"),
    ("storageAccounts/fileServices/shares/lease/action", _SHARES, "Lease a share"),
)


def operations() -> list[Json]:
    return [
        {
            "name": f"Microsoft.Storage/{name}",
            "display": {
                "provider": "Microsoft Storage",
                "resource": resource,
                "operation": does,
                "description": f"{does}.",
            },
            "origin": "user,system",
            "isDataAction": False,
        }
        for name, resource, does in _OPERATIONS
    ]
