"""Whole services of an account at ARM: the blob and the file service, and those that there are not."""

from openbatchai.dataplane import Storage
from openbatchai.domain.model import StorageAccount
from openbatchai.domain.ports import StorageService
from openbatchai.domain.storage_accounts import not_supported, tier
from openbatchai.http.calls import Answer, Call, Route
from openbatchai.wire import arm, storage_services

from . import common
from .accounts import ACCOUNT
from .common import Json, refusing


class ServiceRoutes:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def routes(self) -> list[Route]:
        return [
            *self._of(StorageService.BLOB),
            *self._of(StorageService.FILE),
            *_absent("Queue", "queueServices", "queues"),
            *_absent("Table", "tableServices", "tables"),
        ]

    def _of(self, service: StorageService) -> list[Route]:
        def get(call: Call, subscription: str, group: str, account: str) -> Answer:
            return Answer(200, self._shown(call, common.account_of(call, group, account), service))

        def put(call: Call, subscription: str, group: str, account: str) -> Answer:
            owner = common.account_of(call, group, account)
            wanted = storage_services.read(common.body_of(call).get("properties"), service)
            self._storage.settings.change(owner.key, service, wanted)
            return Answer(200, self._shown(call, owner, service))

        def listing(call: Call, subscription: str, group: str, account: str) -> Answer:
            owner = common.account_of(call, group, account)
            return Answer(200, arm.list_body([self._shown(call, owner, service)]))

        place = f"{ACCOUNT}/{service}Services"
        return [
            Route("GET", place, refusing(listing)),
            Route("GET", f"{place}/default", refusing(get)),
            Route("PUT", f"{place}/default", refusing(put)),
        ]

    def _shown(self, call: Call, owner: StorageAccount, service: StorageService) -> Json:
        settings = self._storage.settings.get(owner.key, service)
        return {
            "sku": {"name": owner.sku, "tier": tier(owner.sku)},
            "id": common.service_id(call, owner, service),
            "name": "default",
            "type": f"Microsoft.Storage/storageAccounts/{service}Services",
            "properties": storage_services.shown(settings.properties, service),
        }


def _absent(noun: str, services: str, items: str) -> list[Route]:
    def refuse(call: Call, subscription: str, group: str, account: str, item: str = "") -> Answer:
        common.account_of(call, group, account)
        raise not_supported(noun)

    place = f"{ACCOUNT}/{services}"
    paths = {
        place: ("GET",),
        f"{place}/default": ("GET", "PUT"),
        f"{place}/default/{items}": ("GET",),
        f"{place}/default/{items}/{{item}}": ("GET", "PUT", "PATCH", "DELETE"),
    }
    return [Route(method, path, refuse) for path, methods in paths.items() for method in methods]
