"""Leases of shares and files; those of files have no end (storage.md 7)."""

from openbatchai.dataplane import Storage
from openbatchai.dataplane.conditions import Conditions
from openbatchai.dataplane.leases import INFINITE, Lease, LeaseAction, LeaseRequest
from openbatchai.dataplane.records import Item
from openbatchai.domain.ports import ItemRef
from openbatchai.http.storage.app import Call, Calls, Level
from openbatchai.http.storage.exchange import Exchange
from openbatchai.http.storage.file_smb import invalid_header
from openbatchai.http.storage.leases import answer_lease


class FileLeaseCalls:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def calls(self) -> Calls:
        return {
            (Level.CONTAINER, "PUT", "share", "lease"): Call("LeaseShare", self.lease_share, "c", "w"),
            (Level.ITEM, "PUT", "", "lease"): Call("LeaseFile", self.lease_file, "o", "w"),
        }

    async def lease_share(self, exchange: Exchange) -> None:
        await answer_lease(exchange, self._storage, self._storage.containers.lease)

    async def lease_file(self, exchange: Exchange) -> None:
        await answer_lease(exchange, self._storage, self._lease)

    def _lease(self, ref: ItemRef, request: LeaseRequest, _: Conditions) -> tuple[Item, Lease | None]:
        if request.duration_s != INFINITE:
            raise invalid_header("x-ms-lease-duration", str(request.duration_s))
        if request.action is LeaseAction.RENEW:
            raise invalid_header("x-ms-lease-action", request.action.value)
        if request.break_period_s:
            raise invalid_header("x-ms-lease-break-period", str(request.break_period_s))
        return self._storage.files.lease(ref, request)
