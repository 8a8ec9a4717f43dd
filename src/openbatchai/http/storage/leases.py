"""PUT comp=lease: the same headers and answers for blobs, containers, shares and files."""

import uuid
from collections.abc import Callable, Mapping

from openbatchai.dataplane import Storage
from openbatchai.dataplane.conditions import Conditions
from openbatchai.dataplane.containers import Container
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.leases import (
    INFINITE,
    Lease,
    LeaseAction,
    LeaseRequest,
    check_break_period,
    check_duration,
    remaining_s,
)
from openbatchai.dataplane.records import Item
from openbatchai.domain.ports import ItemRef
from openbatchai.http.storage.answers import version_headers
from openbatchai.http.storage.app import Call, Calls, Level
from openbatchai.http.storage.exchange import Exchange
from openbatchai.http.storage.request import conditions_of, guid_header

_STATUS = {LeaseAction.ACQUIRE: 201, LeaseAction.BREAK: 202}

# Carries out a lease operation: what was leased, and the lease it has now.
ChangeLease = Callable[[ItemRef, LeaseRequest, Conditions], tuple[Item | Container, Lease | None]]


class BlobLeaseCalls:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def calls(self) -> Calls:
        return {
            (Level.ITEM, "PUT", "", "lease"): Call("LeaseBlob", self.lease_blob, "o", "wd"),
            (Level.CONTAINER, "PUT", "container", "lease"): Call(
                "LeaseContainer", self.lease_container, "c", "w"
            ),
        }

    async def lease_blob(self, exchange: Exchange) -> None:
        # Who may delete a blob may also break its lease (Azure: since 2017-07-29); the rest is writing.
        if exchange.headers.get("x-ms-lease-action", "").lower() != LeaseAction.BREAK:
            exchange.grant.demand("o", "w")
        await answer_lease(exchange, self._storage, self._storage.blobs.lease)

    async def lease_container(self, exchange: Exchange) -> None:
        await answer_lease(exchange, self._storage, self._storage.containers.lease)


async def answer_lease(exchange: Exchange, storage: Storage, change: ChangeLease) -> None:
    request = lease_request(exchange.headers)
    # The lease id is part of the operation here, not a demand on the item.
    plain = {name: value for name, value in exchange.headers.items() if name != "x-ms-lease-id"}
    found, lease = await exchange.run(change, exchange.ref, request, conditions_of(plain))
    headers = version_headers(found)
    if request.action is LeaseAction.BREAK:
        now_ns = int(storage.clock.now().timestamp() * 1_000_000) * 1_000
        headers["x-ms-lease-time"] = str(remaining_s(lease, now_ns))
    elif lease is not None:
        headers["x-ms-lease-id"] = lease.id
    await exchange.reply(_STATUS.get(request.action, 200), headers)


def lease_request(headers: Mapping[str, str]) -> LeaseRequest:
    """What a lease operation asks for; 400 for a missing or malformed header."""
    name = _needed(headers, "x-ms-lease-action").lower()
    try:
        action = LeaseAction(name)
    except ValueError:
        raise _invalid("x-ms-lease-action", name) from None
    lease_id = guid_header(headers, "x-ms-lease-id") or ""
    proposed_id = guid_header(headers, "x-ms-proposed-lease-id") or ""
    if action is LeaseAction.ACQUIRE:
        _needed(headers, "x-ms-lease-duration")
        duration_s = _integer(headers, "x-ms-lease-duration")
        check_duration(duration_s)
        return LeaseRequest(action, lease_id, proposed_id or str(uuid.uuid4()), duration_s)
    if action is LeaseAction.BREAK:
        if not headers.get("x-ms-lease-break-period"):
            return LeaseRequest(action, lease_id)
        period_s = _integer(headers, "x-ms-lease-break-period")
        check_break_period(period_s)
        return LeaseRequest(action, lease_id, break_period_s=period_s)
    _needed(headers, "x-ms-lease-id")
    if action is LeaseAction.CHANGE:
        _needed(headers, "x-ms-proposed-lease-id")
    return LeaseRequest(action, lease_id, proposed_id, INFINITE)


def _needed(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise StorageError(StorageCode.MISSING_HEADER, detail={"HeaderName": name})
    return value


def _integer(headers: Mapping[str, str], name: str) -> int:
    text = headers[name]
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 9):
        raise _invalid(name, text)
    return int(text)


def _invalid(name: str, value: str) -> StorageError:
    return StorageError(StorageCode.INVALID_HEADER, detail={"HeaderName": name, "HeaderValue": value})
