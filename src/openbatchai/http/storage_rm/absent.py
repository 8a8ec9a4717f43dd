"""Resources of an account that there are none of here: their lists are empty, each is missing, and none can
be made. So a client that looks sees the truth, and one that asks for more is told."""

from openbatchai.domain.errors import Code, ServiceError
from openbatchai.domain.storage_accounts import not_supported
from openbatchai.http.calls import Answer, Call, Handler, Route
from openbatchai.wire import arm

from . import common
from .accounts import ACCOUNT

# The collection, how one is called, the code of a missing one.
_COLLECTIONS = (
    ("managementPolicies", "A management policy", Code.MANAGEMENT_POLICY_NOT_FOUND),
    ("inventoryPolicies", "A blob inventory policy", Code.INVENTORY_POLICY_NOT_FOUND),
    ("objectReplicationPolicies", "Object replication", Code.REPLICATION_POLICY_NOT_FOUND),
    ("encryptionScopes", "An encryption scope", Code.ENCRYPTION_SCOPE_NOT_FOUND),
    ("localUsers", "A local user", Code.LOCAL_USER_NOT_FOUND),
    ("privateEndpointConnections", "A private endpoint connection", Code.RESOURCE_NOT_FOUND),
)
_ACTIONS = (
    ("failover", "Failover"),
    ("restoreBlobRanges", "Point-in-time restore"),
    ("hnsonmigration", "A hierarchical namespace"),
    ("aborthnsonmigration", "A hierarchical namespace"),
    ("startAccountMigration", "Conversion of redundancy"),
)


def absent_routes() -> list[Route]:
    return [
        *(route for collection in _COLLECTIONS for route in _collection(*collection)),
        *(Route("POST", f"{ACCOUNT}/{action}", _refusal(what)) for action, what in _ACTIONS),
        Route("GET", f"{ACCOUNT}/privateLinkResources", _empty),
    ]


def _collection(name: str, what: str, missing: Code) -> list[Route]:
    def get(call: Call, subscription: str, group: str, account: str, item: str) -> Answer:
        owner = common.account_of(call, group, account)
        raise ServiceError(404, missing, f"{what} '{item}' was not found in account {owner.name}.")

    def delete(call: Call, subscription: str, group: str, account: str, item: str) -> Answer:
        common.account_of(call, group, account)
        return Answer(204)

    place = f"{ACCOUNT}/{name}/{{item}}"
    return [
        Route("GET", f"{ACCOUNT}/{name}", _empty),
        Route("GET", place, get),
        Route("DELETE", place, delete),
        Route("PUT", place, _refusal(what)),
        Route("PATCH", place, _refusal(what)),
    ]


def _empty(call: Call, subscription: str, group: str, account: str) -> Answer:
    common.account_of(call, group, account)
    return Answer(200, arm.list_body([]))


def _refusal(what: str) -> Handler:
    def refuse(call: Call, subscription: str, group: str, account: str, item: str = "") -> Answer:
        common.account_of(call, group, account)
        raise not_supported(what)

    return refuse
