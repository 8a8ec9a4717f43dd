"""Microsoft.Storage at ARM: accounts, their keys and signatures, SKUs, usages and operations."""

import base64
from dataclasses import replace

from openbatchai.dataplane import sas
from openbatchai.domain.errors import Code, ServiceError
from openbatchai.domain.model import StorageAccount
from openbatchai.domain.regions import REGIONS
from openbatchai.http.calls import Answer, Call, Route
from openbatchai.services import accounts
from openbatchai.wire import arm, storage_operations, storage_rp, storage_signatures

PROVIDER = "/providers/Microsoft.Storage"
_SUBSCRIPTION = "/subscriptions/{subscription}"
_OF_SUBSCRIPTION = f"{_SUBSCRIPTION}{PROVIDER}"
_OF_GROUP = f"{_SUBSCRIPTION}/resourcegroups/{{group}}{PROVIDER}"
ACCOUNT = f"{_OF_GROUP}/storageAccounts/{{account}}"


def account_routes() -> list[Route]:
    return [
        Route("GET", f"{PROVIDER}/operations", list_operations),
        Route("GET", f"{_OF_SUBSCRIPTION}/skus", list_skus),
        Route("GET", f"{_OF_SUBSCRIPTION}/usages", list_usages),
        Route("GET", f"{_OF_SUBSCRIPTION}/locations/{{location}}/usages", list_usages),
        Route("POST", f"{_OF_SUBSCRIPTION}/checkNameAvailability", check_name),
        Route("GET", f"{_OF_SUBSCRIPTION}/deletedAccounts", list_deleted),
        Route("GET", f"{_OF_SUBSCRIPTION}/locations/{{location}}/deletedAccounts/{{account}}", get_deleted),
        Route("GET", f"{_OF_SUBSCRIPTION}/storageAccounts", list_accounts),
        Route("GET", f"{_OF_GROUP}/storageAccounts", list_accounts),
        Route("PUT", ACCOUNT, put_account),
        Route("PATCH", ACCOUNT, patch_account),
        Route("GET", ACCOUNT, get_account),
        Route("DELETE", ACCOUNT, delete_account),
        Route("POST", f"{ACCOUNT}/listKeys", list_keys),
        Route("POST", f"{ACCOUNT}/regenerateKey", regenerate_key),
        Route("POST", f"{ACCOUNT}/revokeUserDelegationKeys", revoke_delegation_keys),
        Route("POST", f"{ACCOUNT}/listAccountSas", list_account_sas),
        Route("POST", f"{ACCOUNT}/listServiceSas", list_service_sas),
    ]


def list_operations(call: Call) -> Answer:
    return Answer(200, arm.list_body(storage_operations.operations()))


def list_skus(call: Call, subscription: str) -> Answer:
    return Answer(200, arm.list_body(storage_rp.skus([*REGIONS], call.api_version)))


def list_usages(call: Call, subscription: str, location: str | None = None) -> Answer:
    return Answer(200, arm.list_body([storage_rp.usage(accounts.usage(call.context, location))]))


def check_name(call: Call, subscription: str) -> Answer:
    name = storage_rp.name_request(call.json())
    return Answer(200, storage_rp.name_availability(accounts.name_problem(call.context, name)))


def list_deleted(call: Call, subscription: str) -> Answer:
    """Accounts go with their content, at once: none can be brought back."""
    return Answer(200, arm.list_body([]))


def get_deleted(call: Call, subscription: str, location: str, account: str) -> Answer:
    raise ServiceError(404, Code.DELETED_ACCOUNT_NOT_FOUND, f"No deleted account {account} is kept.")


def put_account(call: Call, subscription: str, group: str, account: str) -> Answer:
    wanted = storage_rp.put_request(call.json(), call.api_version)
    return Answer(200, _shown(call, accounts.put(call.context, group, account, wanted, call.actor)))


def patch_account(call: Call, subscription: str, group: str, account: str) -> Answer:
    wanted = replace(storage_rp.patch_request(call.json(), call.api_version), location=None)
    return Answer(200, _shown(call, accounts.patch(call.context, group, account, wanted, call.actor)))


def get_account(call: Call, subscription: str, group: str, account: str) -> Answer:
    return Answer(200, _shown(call, accounts.get(call.context, group, account)))


def list_accounts(call: Call, subscription: str, group: str | None = None) -> Answer:
    found = accounts.listing(call.context, group)
    return Answer(200, arm.list_body(_shown(call, item) for item in found))


def delete_account(call: Call, subscription: str, group: str, account: str) -> Answer:
    return Answer(200 if accounts.delete(call.context, group, account, call.actor) else 204)


def list_keys(call: Call, subscription: str, group: str, account: str) -> Answer:
    storage_rp.check_key_expansion(call.query.get("$expand", ""))
    return _keys(call, accounts.get(call.context, group, account))


def regenerate_key(call: Call, subscription: str, group: str, account: str) -> Answer:
    name = storage_rp.key_name(call.json())
    return _keys(call, accounts.regenerate_key(call.context, group, account, name, call.actor))


def revoke_delegation_keys(call: Call, subscription: str, group: str, account: str) -> Answer:
    accounts.revoke_delegation_keys(call.context, group, account, call.actor)
    return Answer(200)


def list_account_sas(call: Call, subscription: str, group: str, account: str) -> Answer:
    found = accounts.get(call.context, group, account)
    wanted = storage_signatures.account_signature(call.json())
    token = sas.account_token(found.name, _key(found, wanted.key_name), wanted.fields)
    return Answer(200, {"accountSasToken": token})


def list_service_sas(call: Call, subscription: str, group: str, account: str) -> Answer:
    found = accounts.get(call.context, group, account)
    wanted = storage_signatures.service_signature(call.json(), found.name)
    key = _key(found, wanted.key_name)
    return Answer(
        200, {"serviceSasToken": sas.service_token(wanted.service, wanted.resource, key, wanted.fields)}
    )


def _key(account: StorageAccount, name: str) -> bytes:
    return base64.b64decode(account.secrets[name])


def _keys(call: Call, account: StorageAccount) -> Answer:
    return Answer(200, storage_rp.keys(account, call.api_version, accounts.key_created))


def _shown(call: Call, account: StorageAccount) -> arm.Json:
    return storage_rp.account(account, call.subscription, call.api_version, accounts.key_created)
