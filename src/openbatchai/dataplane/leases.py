"""Leases of blobs, containers, files and shares: one state machine for all. Pure.

A lease is a few stored facts; which state it is in follows from them and the time, so nothing has to
happen when one runs out, and a restart changes nothing. The table below is the service's own ("Lease Blob",
outcomes by lease state): what each action does in each state, for the holder's id and for any other.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from openbatchai.dataplane.errors import StorageCode, StorageError

INFINITE = -1
_SHORTEST_S = 15
_LONGEST_S = 60
_NS = 1_000_000_000


class LeaseState(StrEnum):
    AVAILABLE = "available"
    LEASED = "leased"
    EXPIRED = "expired"
    BREAKING = "breaking"
    BROKEN = "broken"


class LeaseAction(StrEnum):
    ACQUIRE = "acquire"
    RENEW = "renew"
    CHANGE = "change"
    RELEASE = "release"
    BREAK = "break"


class Lease(NamedTuple):
    """What is stored of a lease; None stands for none. `id` is a GUID in lower case.

    `until_ns`: when a fixed lease, or the break of one, is over. A tuple, so that it goes into a JSON
    document as it is.
    """

    id: str
    duration_s: int
    until_ns: int = 0
    is_broken: bool = False

    def state(self, now_ns: int) -> LeaseState:
        if self.is_broken:
            return LeaseState.BREAKING if now_ns < self.until_ns else LeaseState.BROKEN
        if self.duration_s == INFINITE or now_ns < self.until_ns:
            return LeaseState.LEASED
        return LeaseState.EXPIRED


@dataclass(frozen=True)
class LeaseFacts:
    """A lease as headers and listings tell it; `duration` is "infinite", "fixed", or "" unless leased."""

    state: LeaseState = LeaseState.AVAILABLE
    duration: str = ""

    @property
    def status(self) -> str:
        return "locked" if self.state in _LOCKED else "unlocked"


@dataclass(frozen=True)
class LeaseRequest:
    """`proposed_id` is the new id of an acquire or change (an acquire without one gets a random one),
    `lease_id` the present one. `break_period_s=None` lets a fixed lease run out."""

    action: LeaseAction
    lease_id: str = ""
    proposed_id: str = ""
    duration_s: int = INFINITE
    break_period_s: int | None = None


@dataclass(frozen=True)
class LeaseCodes:
    """How a service calls a wrong lease id, and one where no lease is, in ordinary operations."""

    mismatch: StorageCode
    not_present: StorageCode


BLOB_CODES = LeaseCodes(StorageCode.LEASE_ID_MISMATCH_BLOB, StorageCode.LEASE_NOT_PRESENT_BLOB)
# Shares are containers of the same service underneath, and answer with its codes.
CONTAINER_CODES = LeaseCodes(StorageCode.LEASE_ID_MISMATCH_CONTAINER, StorageCode.LEASE_NOT_PRESENT_CONTAINER)
FILE_CODES = LeaseCodes(StorageCode.LEASE_ID_MISMATCH_FILE, StorageCode.LEASE_NOT_PRESENT_FILE)

UNLEASED = LeaseFacts()
_LOCKED = frozenset({LeaseState.LEASED, LeaseState.BREAKING})


def state_of(lease: Lease | None, now_ns: int) -> LeaseState:
    return LeaseState.AVAILABLE if lease is None else lease.state(now_ns)


def facts_of(lease: Lease | None, now_ns: int) -> LeaseFacts:
    if lease is None:
        return UNLEASED
    state = lease.state(now_ns)
    if state is not LeaseState.LEASED:
        return LeaseFacts(state)
    return LeaseFacts(state, "infinite" if lease.duration_s == INFINITE else "fixed")


def check_use(
    lease: Lease | None, now_ns: int, given: str | None, codes: LeaseCodes, *, needed: bool
) -> None:
    """Whether an ordinary operation that names the lease id `given` may go on.

    `needed`: a locked item demands its id; otherwise (reads) an id is only compared when one is given.
    Raises LeaseIdMissing, LeaseIdMismatch…, LeaseNotPresent… or, for an id that was the item's, LeaseLost.
    """
    state = state_of(lease, now_ns)
    if not given:
        if needed and state in _LOCKED:
            raise StorageError(StorageCode.LEASE_ID_MISSING)
        return
    if lease is None:
        raise StorageError(codes.not_present)
    if state in _LOCKED:
        if given != lease.id:
            raise StorageError(codes.mismatch)
        return
    raise StorageError(StorageCode.LEASE_LOST if given == lease.id else codes.not_present)


def after_write(lease: Lease | None, now_ns: int) -> Lease | None:
    """The lease of an item that was changed: one that had ended is forgotten, so it cannot be renewed."""
    return lease if lease is not None and lease.state(now_ns) in _LOCKED else None


def change(lease: Lease | None, request: LeaseRequest, now_ns: int) -> Lease | None:
    """The lease after a lease operation; StorageError (409) for what the state does not allow."""
    state = state_of(lease, now_ns)
    for_holder, for_others = _RULES[state, request.action]
    outcome = for_holder if lease is not None and lease.id in _named(request) else for_others
    if isinstance(outcome, StorageCode):
        raise StorageError(outcome)
    return outcome(lease, request, now_ns)


def remaining_s(lease: Lease | None, now_ns: int) -> int:
    """Seconds, rounded up, until a breaking lease is broken; 0 for all others."""
    if lease is None or lease.state(now_ns) is not LeaseState.BREAKING:
        return 0
    return -(-(lease.until_ns - now_ns) // _NS)


def check_duration(duration_s: int) -> None:
    if duration_s != INFINITE and not _SHORTEST_S <= duration_s <= _LONGEST_S:
        raise StorageError(
            StorageCode.INVALID_HEADER,
            detail={"HeaderName": "x-ms-lease-duration", "HeaderValue": str(duration_s)},
        )


def check_break_period(period_s: int) -> None:
    if not 0 <= period_s <= _LONGEST_S:
        raise StorageError(
            StorageCode.INVALID_HEADER,
            detail={"HeaderName": "x-ms-lease-break-period", "HeaderValue": str(period_s)},
        )


# --- the steps of the table


def _named(request: LeaseRequest) -> tuple[str, ...]:
    """The ids by which a request may prove that it comes from the holder."""
    if request.action is LeaseAction.ACQUIRE:
        return (request.proposed_id,)
    if request.action is LeaseAction.CHANGE:
        return request.lease_id, request.proposed_id
    return (request.lease_id,)


def _take(_: Lease | None, request: LeaseRequest, now_ns: int) -> Lease:
    until = 0 if request.duration_s == INFINITE else now_ns + request.duration_s * _NS
    return Lease(request.proposed_id, request.duration_s, until)


def _renew(lease: Lease | None, _: LeaseRequest, now_ns: int) -> Lease:
    held = _held(lease)
    return held if held.duration_s == INFINITE else held._replace(until_ns=now_ns + held.duration_s * _NS)


def _rename(lease: Lease | None, request: LeaseRequest, _: int) -> Lease:
    return _held(lease)._replace(id=request.proposed_id)


def _free(_: Lease | None, __: LeaseRequest, ___: int) -> None:
    return None


def _begin_break(lease: Lease | None, request: LeaseRequest, now_ns: int) -> Lease:
    """A fixed lease runs at most as long as it would have; one without end is over at once unless asked."""
    held, period = _held(lease), request.break_period_s
    if held.duration_s == INFINITE:
        until = now_ns + (period or 0) * _NS
    else:
        until = held.until_ns if period is None else min(held.until_ns, now_ns + period * _NS)
    return held._replace(is_broken=True, until_ns=until)


def _hasten_break(lease: Lease | None, request: LeaseRequest, now_ns: int) -> Lease:
    held, period = _held(lease), request.break_period_s
    if period is None:
        return held
    return held._replace(until_ns=min(held.until_ns, now_ns + period * _NS))


def _end_break(lease: Lease | None, _: LeaseRequest, now_ns: int) -> Lease:
    held = _held(lease)
    return held._replace(is_broken=True, until_ns=min(held.until_ns, now_ns))


def _held(lease: Lease | None) -> Lease:
    if lease is None:
        raise ValueError("only a rule of an available item may meet no lease")
    return lease


_Outcome = Callable[[Lease | None, LeaseRequest, int], Lease | None] | StorageCode
_MISMATCH = StorageCode.LEASE_ID_MISMATCH
_ABSENT = StorageCode.LEASE_NOT_PRESENT
_PRESENT = StorageCode.LEASE_ALREADY_PRESENT
_BROKEN = StorageCode.LEASE_BROKEN
_S, _A = LeaseState, LeaseAction

# (state, action) -> what it does for the holder's id, and for any other.
_RULES: Mapping[tuple[LeaseState, LeaseAction], tuple[_Outcome, _Outcome]] = {
    (_S.AVAILABLE, _A.ACQUIRE): (_take, _take),
    (_S.AVAILABLE, _A.RENEW): (_MISMATCH, _MISMATCH),
    (_S.AVAILABLE, _A.CHANGE): (_ABSENT, _ABSENT),
    (_S.AVAILABLE, _A.RELEASE): (_MISMATCH, _MISMATCH),
    (_S.AVAILABLE, _A.BREAK): (_ABSENT, _ABSENT),
    (_S.LEASED, _A.ACQUIRE): (_take, _PRESENT),
    (_S.LEASED, _A.RENEW): (_renew, _MISMATCH),
    (_S.LEASED, _A.CHANGE): (_rename, _MISMATCH),
    (_S.LEASED, _A.RELEASE): (_free, _MISMATCH),
    (_S.LEASED, _A.BREAK): (_begin_break, _begin_break),
    (_S.EXPIRED, _A.ACQUIRE): (_take, _take),
    (_S.EXPIRED, _A.RENEW): (_renew, _MISMATCH),
    (_S.EXPIRED, _A.CHANGE): (_ABSENT, _ABSENT),
    (_S.EXPIRED, _A.RELEASE): (_free, _MISMATCH),
    (_S.EXPIRED, _A.BREAK): (_end_break, _end_break),
    (_S.BREAKING, _A.ACQUIRE): (StorageCode.LEASE_BREAKING_ACQUIRE, _PRESENT),
    (_S.BREAKING, _A.RENEW): (_BROKEN, _MISMATCH),
    (_S.BREAKING, _A.CHANGE): (StorageCode.LEASE_BREAKING_CHANGE, _MISMATCH),
    (_S.BREAKING, _A.RELEASE): (_free, _MISMATCH),
    (_S.BREAKING, _A.BREAK): (_hasten_break, _hasten_break),
    (_S.BROKEN, _A.ACQUIRE): (_take, _take),
    (_S.BROKEN, _A.RENEW): (_BROKEN, _MISMATCH),
    (_S.BROKEN, _A.CHANGE): (_ABSENT, _ABSENT),
    (_S.BROKEN, _A.RELEASE): (_free, _MISMATCH),
    (_S.BROKEN, _A.BREAK): (_end_break, _end_break),
}
