"""The unit of work: typed access to the rows, inside one transaction.

One writer thread executes the write transactions one after another; readers take connections of a pool.
After a commit that changed anything, the `after_commit` callbacks are told, never before.
"""

import copy
import dataclasses
import logging
import queue
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast

from sqlalchemy import (
    Connection,
    Engine,
    Select,
    Table,
    Update,
    bindparam,
    create_engine,
    delete,
    event,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.engine.interfaces import DBAPIConnection

from openbatchai.domain import model
from openbatchai.domain.view import Change

from . import tables
from .changes import REMOVED, WRITTEN
from .secrets import SecretBox

T = TypeVar("T")
R = TypeVar("R")

log = logging.getLogger(__name__)


class Rows(Generic[T]):
    """Rows of one table as records of one dataclass whose fields are the columns."""

    def __init__(
        self, connection: Connection, table: Table, record: type[T], box: SecretBox, changes: list[Change]
    ) -> None:
        self._connection = connection
        self._changes = changes
        self._written = WRITTEN.get(table.name)
        self._removed = REMOVED.get(table.name)
        self.table = table
        self._record = record
        self._box = box
        self._names = _names(cast("Hashable", record))
        self._sealed = self._names.index("secrets") if "secrets" in self._names else None

    def get(self, **where: Any) -> T | None:
        """The row, or None. Raises if several match: `where` must name a key."""
        statement = _by_equality(self.table, self._names, tuple(where))
        row = self._connection.execute(statement, where).one_or_none()
        return None if row is None else self._read(row)

    def list(self, *criteria: Any, order: Any = None, limit: Any = None, **where: Any) -> list[T]:
        """Rows by equality (`state="idle"`), membership (`state=[...]`) and further SQL criteria."""
        statement = self._select(where).where(*criteria)
        statement = statement.order_by(order) if order is not None else statement
        return [self._read(row) for row in self._connection.execute(statement.limit(limit)).all()]

    def count(self, **where: Any) -> int:
        statement = select(func.count()).select_from(self.table).where(*self._criteria(where))
        return self._connection.execute(statement).scalar_one()

    def add(self, record: T) -> T:
        """Insert. A record whose integer `id` is 0 gets the next one."""
        values = self._values(record)
        if values.get("id") == 0:
            del values["id"]
        # As parameters: written into the statement they would be part of it, and it be made anew each time.
        result = self._connection.execute(insert(self.table), values)
        if "id" in self.table.c and "id" not in values:
            record.id = result.inserted_primary_key[0]  # type: ignore[attr-defined, index]
        self._note(record)
        return record

    def save(self, record: T) -> None:
        """Write all columns of an existing row."""
        values = self._values(record)
        keys = {_KEY + column.name: values.pop(column.name) for column in self.table.primary_key}
        self._connection.execute(_whole_row(self.table), values | keys)
        self._note(record)

    def remove(self, *criteria: Any, **where: Any) -> None:
        if not where and not criteria:
            raise ValueError("refusing to delete a whole table")
        if self._removed is not None:
            if criteria or set(where) != {"id"}:
                raise ValueError(f"rows of {self.table.name} are removed by their id")
            self._changes.append(self._removed(where["id"]))
        self._connection.execute(delete(self.table).where(*criteria, *self._criteria(where)))

    def _note(self, record: T) -> None:
        if self._written is not None and (change := self._written(record)) is not None:
            self._changes.append(change)

    def _select(self, where: dict[str, Any]) -> Any:
        return _columns(self.table, self._names).where(*self._criteria(where))

    def _criteria(self, where: dict[str, Any]) -> Iterator[Any]:
        for name, value in where.items():
            column = self.table.c[name]
            yield column.in_(value) if isinstance(value, (list, tuple, set, frozenset)) else column == value

    def _values(self, record: T) -> dict[str, Any]:
        values = {name: getattr(record, name) for name in self._names}
        if self._sealed is not None:
            values["secrets"] = self._box.seal(values["secrets"])
        return values

    def _read(self, row: Any) -> T:
        if self._sealed is None:
            return self._record(*row)
        values = list(row)
        values[self._sealed] = self._box.open(values[self._sealed])
        return self._record(*values)


@cache
def _names(record: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(record))


# To build a statement costs more than SQLite takes to run it.
@cache
def _columns(table: Table, names: tuple[str, ...]) -> Select[Any]:
    return select(*(table.c[name] for name in names))


@cache
def _by_equality(table: Table, names: tuple[str, ...], keys: tuple[str, ...]) -> Select[Any]:
    """Rows of which the columns `keys` have the values of the parameters of the same names."""
    return _columns(table, names).where(*(table.c[key] == bindparam(key) for key in keys))


_KEY = "key_"


@cache
def _whole_row(table: Table) -> Update:
    """Writes all columns but those of the key; parameters have the columns' names, with `key_` for the key's.
    Made once: to build a statement costs more than SQLite takes to run it."""
    keys = [column for column in table.c if column.primary_key]
    others: dict[str, Any] = {
        column.name: bindparam(column.name) for column in table.c if not column.primary_key
    }
    return update(table).where(*(key == bindparam(_KEY + key.name) for key in keys)).values(others)


class Feed(Protocol):
    """Keeps something up to date by what transactions change; called on the writer's thread, in their
    order."""

    def committed(self, changes: Sequence[Change]) -> None:
        """The changes of a transaction, but for those that were taken from it before its end."""
        ...

    def lost(self) -> None:
        """A transaction from which changes had been taken was rolled back."""
        ...


class _Access(Generic[T]):
    """An attribute of a unit: the rows of one table, made when they are first asked for. A transaction
    touches a few of the tables, and there are a dozen of transactions to each job."""

    def __init__(self, table: Table, record: type[T]) -> None:
        self._table = table
        self._record = record

    def __set_name__(self, owner: type[object], name: str) -> None:
        self._name = name

    def __get__(self, unit: "Unit", owner: type[object]) -> Rows[T]:
        rows = unit.rows(self._table, self._record)
        # From now on found before this one, which does not define how it is set.
        unit.__dict__[self._name] = rows
        return rows


class Unit:
    """One transaction. `changed` says whether loops should be woken after the commit."""

    groups = _Access(tables.resource_groups, model.ResourceGroup)
    accounts = _Access(tables.storage_accounts, model.StorageAccount)
    workspaces = _Access(tables.workspaces, model.Workspace)
    experiments = _Access(tables.experiments, model.Experiment)
    clusters = _Access(tables.clusters, model.Cluster)
    file_servers = _Access(tables.file_servers, model.FileServer)
    nodes = _Access(tables.nodes, model.Node)
    jobs = _Access(tables.jobs, model.Job)
    runs = _Access(tables.runs, model.Run)
    tasks = _Access(tables.tasks, model.Task)
    operations = _Access(tables.operations, model.Operation)
    events = _Access(tables.events, model.Event)
    vault_secrets = _Access(tables.vault_secrets, model.VaultSecret)
    outbox = _Access(tables.outbox, model.Effect)
    principals = _Access(tables.principals, model.Principal)
    registrations = _Access(tables.registrations, model.Registration)

    def __init__(self, connection: Connection, box: SecretBox) -> None:
        self.connection = connection
        self.changed = False
        self.changes_taken = False
        self._box = box
        self._changes: list[Change] = []

    def rows(self, table: Table, record: type[T]) -> Rows[T]:
        return Rows(self.connection, table, record, self._box, self._changes)

    @contextmanager
    def isolated(self, what: str, told: set[str] | None = None) -> Iterator[None]:
        """Work on one object: if it fails, it alone is undone, and the rest of the transaction goes on.

        With `told`, which remembers what has failed, that is logged once.
        """
        before, changed = len(self._changes), self.changed
        try:
            with self.connection.begin_nested():
                yield
        except Exception:
            if told is None or what not in told:
                log.exception("%s could not be worked on", what)
            if told is not None:
                told.add(what)
            del self._changes[before:]
            # Else the loops would be woken by what was undone, try it again and be woken by that.
            self.changed = changed

    def take_changes(self) -> list[Change]:
        """What this transaction changed and nobody took yet, before it is known that it commits."""
        taken = self._changes[:]
        self._changes.clear()
        self.changes_taken = True
        return taken

    def setting(self, name: str) -> str | None:
        statement = select(tables.settings.c.value).where(tables.settings.c.name == name)
        return self.connection.execute(statement).scalar_one_or_none()

    def put_setting(self, name: str, value: str) -> None:
        self.connection.execute(delete(tables.settings).where(tables.settings.c.name == name))
        self.connection.execute(insert(tables.settings).values(name=name, value=value))


class Store:
    """The control store of one home."""

    def __init__(self, engine: Engine, box: SecretBox) -> None:
        self._engine = engine
        self._box = box
        self._checks: tuple[Callable[[Unit], None], ...] = ()
        self._after_commit: list[Callable[[], None]] = []
        self._feed: Feed | None = None
        self._work: queue.SimpleQueue[tuple[Callable[[Unit], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_loop, name="store-writer", daemon=True)
        self._writer.start()

    def guarded(self, check: Callable[[Unit], None]) -> "Store":
        """The same store, whose writes first run `check` in their transaction: what it raises undoes them."""
        same = copy.copy(self)
        same._checks = (*self._checks, check)
        return same

    def after_commit(self, notify: Callable[[], None]) -> None:
        self._after_commit.append(notify)

    def follow(self, feed: Feed) -> None:
        """From the next transaction on. There is one feed; another takes its place."""
        self._feed = feed

    def write(self, work: Callable[[Unit], R]) -> R:
        """Run `work` in a write transaction on the writer thread and return what it returns, committed."""
        return self.submit(work).result()

    def submit(self, work: Callable[[Unit], R]) -> "Future[R]":
        checks, future = self._checks, Future[R]()

        def checked(unit: Unit) -> R:
            for check in checks:
                check(unit)
            return work(unit)

        self._work.put((checked, future))
        return future

    @contextmanager
    def read(self) -> Iterator[Unit]:
        """A consistent snapshot on a pooled connection."""
        with self._engine.connect() as connection:
            yield Unit(connection, self._box)

    def fingerprint(self, value: Any) -> str:
        """A keyed digest of a JSON value, to tell whether two requests are the same without keeping them."""
        return self._box.digest(value)

    def close(self) -> None:
        self._work.put(None)
        self._writer.join()
        self._engine.dispose()

    def _write_loop(self) -> None:
        with self._engine.connect() as connection:
            while (item := self._work.get()) is not None:
                self._transact(connection, *item)

    def _transact(self, connection: Connection, work: Callable[[Unit], Any], future: "Future[Any]") -> None:
        unit = Unit(connection, self._box)
        try:
            with connection.begin():
                result = work(unit)
        except BaseException as error:
            if unit.changes_taken and self._feed is not None:
                self._feed.lost()
            future.set_exception(error)
            return
        if self._feed is not None and (changes := unit.take_changes()):
            self._feed.committed(changes)
        future.set_result(result)
        if unit.changed:
            for notify in self._after_commit:
                notify()


def open_engine(path: Path) -> Engine:
    """SQLite in WAL mode, each commit on disk before it is acknowledged (`synchronous=FULL`)."""
    engine = create_engine(f"sqlite:///{path}", pool_size=16, max_overflow=16)

    @event.listens_for(engine, "connect")
    def configure(connection: DBAPIConnection, _record: object) -> None:
        # sqlite3 would begin a transaction only at the first write, and read each table at another time.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def events_of(unit: Unit, kind: str, object_id: str, limit: int = 50) -> Sequence[model.Event]:
    """The story of one object, oldest first."""
    newest = unit.events.list(kind=kind, object_id=object_id, order=tables.events.c.id.desc(), limit=limit)
    return newest[::-1]
