"""The lease state machine against the published table of outcomes, and against a model with timers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.leases import (
    BLOB_CODES,
    INFINITE,
    Lease,
    LeaseAction,
    LeaseRequest,
    LeaseState,
    after_write,
    change,
    check_break_period,
    check_duration,
    check_use,
    facts_of,
    remaining_s,
    state_of,
)

NS = 1_000_000_000
NOW = 1_700_000_000 * NS
A, B, C, X = (f"{letter * 8}-0000-0000-0000-000000000000" for letter in "abcf")

# An item with lease A in each state.
IN_STATE = {
    "available": None,
    "leased": Lease(A, 30, NOW + 30 * NS),
    "breaking": Lease(A, 30, NOW + 20 * NS, is_broken=True),
    "broken": Lease(A, 30, NOW, is_broken=True),
    "expired": Lease(A, 30, NOW),
}
STATES = ("available", "leased", "breaking", "broken", "expired")

_ID = "LeaseIdMismatchWithLeaseOperation"
_NONE = "LeaseNotPresentWithLeaseOperation"
_HELD = "LeaseAlreadyPresent"
_UNRENEWABLE = "LeaseIsBrokenAndCannotBeRenewed"

# Rows of "Outcomes of lease operations on blobs by lease state"; columns as in STATES. An outcome is a state
# and the id the lease has then, or the code of a 409.
OUTCOMES = {
    "acquire without id": (
        LeaseRequest(LeaseAction.ACQUIRE, proposed_id=X, duration_s=60),
        (f"leased {X}", _HELD, _HELD, f"leased {X}", f"leased {X}"),
    ),
    "acquire A": (
        LeaseRequest(LeaseAction.ACQUIRE, proposed_id=A, duration_s=60),
        (f"leased {A}", f"leased {A}", "LeaseIsBreakingAndCannotBeAcquired", f"leased {A}", f"leased {A}"),
    ),
    "acquire B": (
        LeaseRequest(LeaseAction.ACQUIRE, proposed_id=B, duration_s=60),
        (f"leased {B}", _HELD, _HELD, f"leased {B}", f"leased {B}"),
    ),
    "break at once": (
        LeaseRequest(LeaseAction.BREAK, break_period_s=0),
        (_NONE, f"broken {A}", f"broken {A}", f"broken {A}", f"broken {A}"),
    ),
    "break later": (
        LeaseRequest(LeaseAction.BREAK, break_period_s=10),
        (_NONE, f"breaking {A}", f"breaking {A}", f"broken {A}", f"broken {A}"),
    ),
    "change A to B": (
        LeaseRequest(LeaseAction.CHANGE, A, B),
        (_NONE, f"leased {B}", "LeaseIsBreakingAndCannotBeChanged", _NONE, _NONE),
    ),
    "change B to A": (
        LeaseRequest(LeaseAction.CHANGE, B, A),
        (_NONE, f"leased {A}", "LeaseIsBreakingAndCannotBeChanged", _NONE, _NONE),
    ),
    "change B to C": (LeaseRequest(LeaseAction.CHANGE, B, C), (_NONE, _ID, _ID, _NONE, _NONE)),
    "renew A": (
        LeaseRequest(LeaseAction.RENEW, A),
        (_ID, f"leased {A}", _UNRENEWABLE, _UNRENEWABLE, f"leased {A}"),
    ),
    "renew B": (LeaseRequest(LeaseAction.RENEW, B), (_ID, _ID, _ID, _ID, _ID)),
    "release A": (
        LeaseRequest(LeaseAction.RELEASE, A),
        (_ID, "available ", "available ", "available ", "available "),
    ),
    "release B": (LeaseRequest(LeaseAction.RELEASE, B), (_ID, _ID, _ID, _ID, _ID)),
}


def outcome(lease: Lease | None, request: LeaseRequest, now_ns: int = NOW) -> str:
    try:
        after = change(lease, request, now_ns)
    except StorageError as error:
        return error.code.code if error.code.status == 409 else f"{error.code.status}"
    return f"{state_of(after, now_ns)} {after.id if after else ''}"


@pytest.mark.parametrize("name", OUTCOMES)
def test_lease_operations_have_the_published_outcomes(name):
    request, expected = OUTCOMES[name]
    assert tuple(outcome(IN_STATE[state], request) for state in STATES) == expected


_MISMATCH = "LeaseIdMismatchWithBlobOperation"
_ABSENT = "LeaseNotPresentWithBlobOperation"
USES = {
    # (id given, needed): codes by state, "" where it succeeds.
    (A, True): (_ABSENT, "", "", "LeaseLost", "LeaseLost"),
    (B, True): (_ABSENT, _MISMATCH, _MISMATCH, _ABSENT, _ABSENT),
    (None, True): ("", "LeaseIdMissing", "LeaseIdMissing", "", ""),
    (A, False): (_ABSENT, "", "", "LeaseLost", "LeaseLost"),
    (B, False): (_ABSENT, _MISMATCH, _MISMATCH, _ABSENT, _ABSENT),
    (None, False): ("", "", "", "", ""),
}


@pytest.mark.parametrize(("given", "needed"), USES)
def test_uses_have_the_published_outcomes(given, needed):
    def use(lease: Lease | None) -> str:
        try:
            check_use(lease, NOW, given, BLOB_CODES, needed=needed)
        except StorageError as error:
            return error.code.code if error.code.status == 412 else f"{error.code.status}"
        return ""

    assert tuple(use(IN_STATE[state]) for state in STATES) == USES[given, needed]


def test_a_write_forgets_a_lease_that_had_ended():
    kept = {state: after_write(IN_STATE[state], NOW) for state in STATES}
    assert kept == {
        "available": None,
        "leased": IN_STATE["leased"],
        "breaking": IN_STATE["breaking"],
        "broken": None,
        "expired": None,
    }


@pytest.mark.parametrize(
    ("lease", "period", "remaining"),
    [
        (Lease(A, 30, NOW + 30 * NS), None, 30),
        (Lease(A, 30, NOW + 30 * NS), 60, 30),
        (Lease(A, 30, NOW + 30 * NS), 5, 5),
        (Lease(A, 30, NOW + 30 * NS), 0, 0),
        (Lease(A, INFINITE), None, 0),
        (Lease(A, INFINITE), 60, 60),
        (Lease(A, INFINITE, NOW + 20 * NS, is_broken=True), None, 20),
        (Lease(A, INFINITE, NOW + 20 * NS, is_broken=True), 60, 20),
        (Lease(A, INFINITE, NOW + 20 * NS, is_broken=True), 3, 3),
    ],
)
def test_how_long_a_break_takes(lease, period, remaining):
    """A break never lasts longer than the lease would have, and a second one can only shorten it."""
    broken = change(lease, LeaseRequest(LeaseAction.BREAK, break_period_s=period), NOW)
    assert remaining_s(broken, NOW) == remaining


@pytest.mark.parametrize("seconds", [-2, 0, 14, 61])
def test_durations_out_of_range(seconds):
    with pytest.raises(StorageError) as error:
        check_duration(seconds)
    assert error.value.code is StorageCode.INVALID_HEADER


@pytest.mark.parametrize("seconds", [-1, 61])
def test_break_periods_out_of_range(seconds):
    with pytest.raises(StorageError) as error:
        check_break_period(seconds)
    assert error.value.code is StorageCode.INVALID_HEADER


def test_what_listings_tell():
    told = [(facts.status, str(facts.state), facts.duration) for facts in map(_facts, STATES)]
    assert told == [
        ("unlocked", "available", ""),
        ("locked", "leased", "fixed"),
        ("locked", "breaking", ""),
        ("unlocked", "broken", ""),
        ("unlocked", "expired", ""),
    ]
    assert facts_of(Lease(A, INFINITE), NOW).duration == "infinite"


def _facts(state: str):
    return facts_of(IN_STATE[state], NOW)


IDS = st.sampled_from([A, B, C])
REQUESTS = st.builds(
    LeaseRequest,
    action=st.sampled_from(LeaseAction),
    lease_id=IDS,
    proposed_id=IDS,
    duration_s=st.sampled_from([INFINITE, 15, 60]),
    break_period_s=st.sampled_from([None, 0, 10, 60]),
)


@given(lease=st.sampled_from(list(IN_STATE.values())), request=REQUESTS)
def test_every_pair_has_an_outcome(lease, request):
    assert outcome(lease, request)


class LeaseMachine(RuleBasedStateMachine):
    """The stored facts against a model that does what the facts avoid: timers that end leases and breaks.

    Two clients: whoever a lease operation or write of one succeeds for must be the one the model says
    holds the lease.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.lease: Lease | None = None
        self.state = "available"
        self.holder = ""
        self.duration = 0
        self.left = 0

    def _do(self, request: LeaseRequest) -> bool:
        try:
            self.lease = change(self.lease, request, self.now)
        except StorageError:
            return False
        return True

    @rule(client=IDS, duration=st.sampled_from([INFINITE, 15, 37, 60]))
    def acquire(self, client, duration):
        free = self.state in ("available", "broken", "expired")
        allowed = free or (self.state == "leased" and self.holder == client)
        request = LeaseRequest(LeaseAction.ACQUIRE, proposed_id=client, duration_s=duration)
        assert self._do(request) is allowed
        if allowed:
            self.state, self.holder, self.duration, self.left = "leased", client, duration, duration

    @rule(client=IDS)
    def renew(self, client):
        allowed = self.state in ("leased", "expired") and self.holder == client
        assert self._do(LeaseRequest(LeaseAction.RENEW, client)) is allowed
        if allowed:
            self.state, self.left = "leased", self.duration

    @rule(client=IDS, new=IDS)
    def change(self, client, new):
        allowed = self.state == "leased" and self.holder in (client, new)
        assert self._do(LeaseRequest(LeaseAction.CHANGE, client, new)) is allowed
        if allowed:
            self.holder = new

    @rule(client=IDS)
    def release(self, client):
        allowed = self.state != "available" and self.holder == client
        assert self._do(LeaseRequest(LeaseAction.RELEASE, client)) is allowed
        if allowed:
            self.state, self.holder = "available", ""

    @rule(period=st.sampled_from([None, 0, 7, 60]))
    def break_lease(self, period):
        allowed = self.state != "available"
        assert self._do(LeaseRequest(LeaseAction.BREAK, break_period_s=period)) is allowed
        if not allowed:
            return
        if self.state in ("leased", "breaking"):
            endless = self.state == "leased" and self.duration == INFINITE
            most = 60 if endless else self.left
            self.left = (0 if endless else most) if period is None else min(period, most)
            self.state = "breaking"
        self._settle(broken=True)

    @rule(client=st.sampled_from([None, A, B, C]))
    def write(self, client):
        locked = self.state in ("leased", "breaking")
        allowed = client == self.holder if locked else client is None
        try:
            check_use(self.lease, self.now, client, BLOB_CODES, needed=True)
        except StorageError:
            assert not allowed
            return
        assert allowed
        self.lease = after_write(self.lease, self.now)
        if not locked:
            self.state, self.holder = "available", ""

    @rule(seconds=st.integers(1, 70))
    def time_passes(self, seconds):
        self.now += seconds * NS
        if self.state == "breaking" or (self.state == "leased" and self.duration != INFINITE):
            self.left = max(0, self.left - seconds)
            self._settle(broken=self.state == "breaking")

    def _settle(self, *, broken: bool) -> None:
        if self.state in ("leased", "breaking") and self.left == 0:
            self.state = "broken" if broken else "expired"
        elif self.state == "expired" and broken:
            self.state = "broken"

    @invariant()
    def the_facts_tell_the_same(self):
        assert state_of(self.lease, self.now) == LeaseState(self.state)
        assert (self.lease.id if self.lease else "") == self.holder
        if self.state == "breaking":
            assert remaining_s(self.lease, self.now) == self.left


TestLeaseMachine = LeaseMachine.TestCase
