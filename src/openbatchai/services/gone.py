"""Deleted objects by their names: their stories are kept as long as events are.

When an object is removed, an event of the kind `gone` is written whose object is the name, and whose reason
says in JSON what had it. The name stands first, so that it is found with its place and without.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from openbatchai.domain import ids
from openbatchai.domain.model import Event
from openbatchai.store import tables
from openbatchai.store.unit import Unit

from .context import Context, record

_KIND = "gone"
# So many runs and tasks of a job are remembered.
_MOST_PARTS = 1000
_MOST_NAMES = 100

# Kind and id.
Part = tuple[str, str]


@dataclass(frozen=True)
class Gone:
    """`names` lead to it: group, workspace, …, its own. `parts` are a job's runs and tasks; `removed` is the
    id of the event by which it went."""

    kind: str
    id: str
    names: tuple[str, ...]
    parts: tuple[Part, ...]
    removed: int


def remember(
    context: Context, unit: Unit, kind: str, object_id: str, names: Sequence[str], parts: Iterable[Part] = ()
) -> None:
    """The object is removed in this transaction."""
    now = context.clock.now()
    record(unit, now, kind, object_id, "deleting", "", "removed")
    what = {"kind": kind, "id": object_id, "names": names, "parts": list(parts)[:_MOST_PARTS]}
    record(unit, now, _KIND, _key(kind, names), "", "", "removed", json.dumps(what))


def at(unit: Unit, kind: str, names: Sequence[str]) -> Gone | None:
    """The last one that was there."""
    rows = unit.events.list(object_id=_key(kind, names), kind=_KIND, order=tables.events.c.id.desc(), limit=1)
    return _read(rows[0]) if rows else None


def named(unit: Unit, name: str, kinds: Iterable[str]) -> list[Gone]:
    """Those of this name, of each place the last."""
    e = tables.events.c
    first, after_last = f"{ids.fold(name)}/", f"{ids.fold(name)}0"
    rows = unit.events.list(
        e.object_id >= first, e.object_id < after_last, kind=_KIND, order=e.id.desc(), limit=_MOST_NAMES
    )
    newest: dict[str, Gone] = {}
    for row in rows:
        newest.setdefault(row.object_id, _read(row))
    wanted = set(kinds)
    return [gone for gone in newest.values() if gone.kind in wanted]


def _key(kind: str, names: Sequence[str]) -> str:
    """The column of objects has no room for four names."""
    place = "/".join((kind, *map(ids.fold, names)))
    return f"{ids.fold(names[-1])}/{hashlib.sha256(place.encode()).hexdigest()[:32]}"


def _read(row: Event) -> Gone:
    what = json.loads(row.reason)
    parts = tuple((kind, object_id) for kind, object_id in what["parts"])
    return Gone(what["kind"], what["id"], tuple(what["names"]), parts, row.id)
