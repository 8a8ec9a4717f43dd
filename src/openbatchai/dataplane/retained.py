"""Containers and shares that were deleted and can be brought back, until their time is over.

The tree goes out of sight by one rename, to a directory of its own, and then its rows by one transaction, to
a service of their own, which no query for a service's rows finds. Coming back is the same the other way.
A row of `retained` says first what is about to be done, so that a start can finish what a killed service
began: the tree itself tells how far that was.
"""

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.names import check_container_name
from openbatchai.dataplane.places import Places, missing_container
from openbatchai.dataplane.sidestore import ROWS_OF_CONTAINERS
from openbatchai.domain.ports import Clock, ItemRef, StorageService

_GOING, _KEPT, _COMING = "going", "kept", "coming"
_DAY_NS = 24 * 3600 * 1_000_000_000
_SWEEP_NS = 3600 * 1_000_000_000
_COLUMNS = "service, name, version, state, target, deleted_ns, expires_ns, document"
_WHERE = "service = ? AND name = ? AND version = ?"
_FILETIME_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Retained:
    """One deleted container or share. `version` tells it from others of its name; `document` is what
    Containers wrote of it; `target` is the name under which it is just coming back."""

    service: StorageService
    name: str
    version: str
    state: str
    target: str
    deleted_ns: int
    expires_ns: int
    document: str

    def days_left(self, now_ns: int) -> int:
        return max(0, self.expires_ns - now_ns) // _DAY_NS

    @property
    def key(self) -> tuple[str, str, str]:
        return self.service.value, self.name, self.version

    @property
    def service_of_rows(self) -> str:
        return f"{self.service.value}~{self.version}"


class RetainedContainers:
    """Those that change something are called with all locks held, recover() before anybody else."""

    def __init__(self, places: Places, clock: Clock) -> None:
        self._places = places
        self._clock = clock
        self._next_sweep_ns: dict[str, int] = {}

    def listed(self, account: str, service: StorageService, prefix: str = "") -> list[Retained]:
        """By name, the one that was deleted first before the others of its name."""
        where = "service = ? AND state = ? AND expires_ns > ? ORDER BY name, version"
        found = self._rows(account, where, service.value, _KEPT, self._now_ns())
        return [row for row in found if row.name.startswith(prefix)]

    def keep(self, ref: ItemRef, document: str, days: int) -> None:
        """Delete the container so that it can come back for `days`."""
        now_ns = self._now_ns()
        row = Retained(
            ref.service,
            ref.container,
            self._new_version(ref),
            _GOING,
            "",
            now_ns,
            now_ns + days * _DAY_NS,
            document,
        )
        home = self._home(ref.account, row)
        home.mkdir(parents=True)
        self._places.sync_path(home.parent)
        values = (*row.key, row.state, row.target, row.deleted_ns, row.expires_ns, row.document)
        self._change(
            ref.account, [(f"INSERT INTO retained ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)]
        )
        path = self._places.container_path(ref.account, ref.service, ref.container)
        try:
            path.rename(home / "tree")
        except FileNotFoundError:
            self._forget(ref.account, row)
            raise missing_container(ref.service) from None
        self._places.sync_path(path.parent)
        self._places.sync_path(home)
        self._gone(ref.account, row)
        self._sweep(ref.account)

    def give_back(self, ref: ItemRef, version: str, target: str) -> None:
        """The container of that name and version comes back as `target`, without the lease it had.

        Raises 404 when it is not kept, 409 when there is one by the name of the target.
        """
        check_container_name(target)
        where = f"{_WHERE} AND state = ? AND expires_ns > ?"
        key = (ref.service.value, ref.container, version.upper())
        found = self._rows(ref.account, where, *key, _KEPT, self._now_ns())
        if not found:
            raise missing_container(ref.service)
        if os.path.lexists(self._places.container_path(ref.account, ref.service, target)):
            is_file = ref.service is StorageService.FILE
            raise StorageError(StorageCode.SHARE_EXISTS if is_file else StorageCode.CONTAINER_EXISTS)
        # What a killed service left of a container by that name.
        self._places.store(ref.account).drop_container(ref.service, target)
        self._places.remove_leftovers(ref.account, ref.service, target)
        statement = f"UPDATE retained SET state = ?, target = ? WHERE {_WHERE}"
        self._change(ref.account, [(statement, (_COMING, target, *found[0].key))])
        try:
            self._come(ref.account, found[0], target)
        except BaseException:
            # Nobody could ask for it again before the next start.
            if (self._home(ref.account, found[0]) / "tree").exists():
                self._stay(ref.account, replace(found[0], state=_COMING, target=target))
            raise

    def recover(self, account: str) -> None:
        """Finish what a killed service had begun. A tree without a row stays: the side store may be lost."""
        for row in self._rows(account):
            is_here = (self._home(account, row) / "tree").exists()
            if row.state == _KEPT and is_here:
                continue
            if is_here and row.state == _GOING:
                self._gone(account, row)
            elif is_here and os.path.lexists(self._places.container_path(account, row.service, row.target)):
                self._stay(account, row)
            elif is_here:
                self._come(account, row, row.target)
            else:
                self._forget(account, row)
        for home in self._places.retained_home(account).glob("*/*/*"):
            with suppress(OSError):
                # Made for a tree that never came.
                home.rmdir()

    def remove_expired(self, account: str) -> None:
        """Let go of what need not be kept any longer."""
        for row in self._rows(account, "state = ? AND expires_ns <= ?", _KEPT, self._now_ns()):
            with self._places.locked_all():
                if row in self._rows(account, _WHERE, *row.key):
                    self._places.discard(account, self._home(account, row))
                    self._forget(account, row)

    # --- steps

    def _gone(self, account: str, row: Retained) -> None:
        """The tree is out of sight: what else there is of it follows."""
        self._take_snapshots(account, row, row.name)
        self._change(
            account,
            [
                *_moved((row.service.value, row.name), (row.service_of_rows, row.name)),
                (
                    "UPDATE container SET document = json_set(document, '$.lease', NULL)"
                    " WHERE service = ? AND name = ?",
                    (row.service_of_rows, row.name),
                ),
                (f"UPDATE retained SET state = ? WHERE {_WHERE}", (_KEPT, *row.key)),
            ],
        )
        self._places.remove_leftovers(account, row.service, row.name)

    def _come(self, account: str, row: Retained, target: str) -> None:
        """The rows first: whoever sees the tree sees it as it was."""
        home = self._home(account, row)
        self._change(account, _moved((row.service_of_rows, row.name), (row.service.value, target)))
        if (home / "snapshots").exists():
            snapshots = self._places.snapshots_home(account, row.service, target)
            self._places.make_parent(snapshots)
            (home / "snapshots").rename(snapshots)
            self._places.sync_path(snapshots.parent)
        path = self._places.container_path(account, row.service, target)
        (home / "tree").rename(path)
        self._places.sync_path(path.parent)
        self._forget(account, row)

    def _stay(self, account: str, row: Retained) -> None:
        """It was coming back and could not: somebody has made a directory of the target's name, or the disk
        refused."""
        self._take_snapshots(account, row, row.target)
        self._change(
            account,
            [
                *_moved((row.service.value, row.target), (row.service_of_rows, row.name)),
                (f"UPDATE retained SET state = ?, target = '' WHERE {_WHERE}", (_KEPT, *row.key)),
            ],
        )

    def _take_snapshots(self, account: str, row: Retained, name: str) -> None:
        snapshots = self._places.snapshots_home(account, row.service, name)
        with suppress(FileNotFoundError):
            snapshots.rename(self._home(account, row) / "snapshots")
            self._places.sync_path(snapshots.parent)

    def _forget(self, account: str, row: Retained) -> None:
        """The tree is elsewhere by now, or gone for good, and then its rows go, too."""
        of_tree = (row.service_of_rows, row.name)
        tables = [
            (f"DELETE FROM {table} WHERE service = ? AND {column} = ?", of_tree)
            for table, column in ROWS_OF_CONTAINERS
        ]
        self._change(account, [*tables, (f"DELETE FROM retained WHERE {_WHERE}", row.key)])
        home = self._home(account, row)
        for directory in (home, home.parent):
            with suppress(OSError):
                directory.rmdir()

    # --- parts

    def _rows(self, account: str, where: str = "true", *values: object) -> list[Retained]:
        store = self._places.existing_store(account)
        statement = f"SELECT {_COLUMNS} FROM retained WHERE {where}"
        rows = store.database.read(statement, values) if store else []
        return [_retained(row) for row in rows]

    def _change(self, account: str, statements: list[tuple[str, tuple[object, ...]]]) -> None:
        # All of these are steps of a deletion, which may be what makes room on a full disk.
        self._places.store(account).database.remove(statements)

    def _home(self, account: str, row: Retained) -> Path:
        return self._places.retained_home(account) / row.service.value / row.name / row.version

    def _new_version(self, ref: ItemRef) -> str:
        """The time of the deletion in the form of the real service: ticks of 100 ns since 1601, in hex."""
        ticks = (self._clock.now() - _FILETIME_EPOCH) // timedelta(microseconds=1) * 10
        where = "service = ? AND name = ?"
        taken = {row.version for row in self._rows(ref.account, where, ref.service.value, ref.container)}
        while f"{ticks:016X}" in taken:
            ticks += 1
        return f"{ticks:016X}"

    def _sweep(self, account: str) -> None:
        """Whoever deletes something sees to it, now and then, that nothing is kept too long."""
        now_ns = self._now_ns()
        if now_ns >= self._next_sweep_ns.get(account, 0):
            self._next_sweep_ns[account] = now_ns + _SWEEP_NS
            self._places.in_background(lambda: self.remove_expired(account))

    def _now_ns(self) -> int:
        return int(self._clock.now().timestamp() * 1_000_000) * 1_000


def recover_retained(places: Places, retained: RetainedContainers) -> None:
    """At a start, before anybody looks at containers."""
    accounts = places.accounts()
    for account in accounts:
        retained.recover(account)

    def expire() -> None:
        for account in accounts:
            retained.remove_expired(account)

    places.in_background(expire)


def _moved(source: tuple[str, str], target: tuple[str, str]) -> list[tuple[str, tuple[object, ...]]]:
    """Statements that give all rows of a container another service and name."""
    return [
        (
            f"UPDATE {table} SET service = ?, {column} = ? WHERE service = ? AND {column} = ?",
            (*target, *source),
        )
        for table, column in ROWS_OF_CONTAINERS
    ]


def _retained(row: tuple[object, ...]) -> Retained:
    service, name, version, state, target, deleted_ns, expires_ns, document = row
    if not isinstance(deleted_ns, int) or not isinstance(expires_ns, int):
        raise TypeError(f"the side store holds {row!r} where times belong")
    return Retained(
        StorageService(str(service)),
        str(name),
        str(version),
        str(state),
        str(target),
        deleted_ns,
        expires_ns,
        str(document),
    )
