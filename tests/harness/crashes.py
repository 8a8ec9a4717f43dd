"""Kill the data plane before each step of a call, and look at what the next start finds.

A step is a call into the kernel or the side store that changes something: the interpreter's own profiler
reports each call of a C function, and the child that carries out the call kills itself at the n-th of them.
So nothing of ours is replaced. Run as a program, in a process without threads, because it forks:

    python -m harness.crashes DIRECTORY STRIDE [CASE …]

kills before each STRIDE-th step and prints one JSON line per case: its name, how many steps it has, and what
was wrong. With `--once POLICY DIRECTORY` nothing is killed.
"""

import contextlib
import json
import os
import resource
import shutil
import signal
import sqlite3
import sys
import traceback
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).parents[1]))

from harness.asgi import ACCOUNT, Direct

from openbatchai.dataplane import FsyncPolicy, beneath, blobplaces

# Functions of the operating system that change what is on disk or make it durable.
STEPS = {
    *("chmod", "copy_file_range", "fchmod", "fdatasync", "fsync", "ftruncate", "link", "mkdir", "open"),
    *("posix_fallocate", "pwrite", "pwritev", "remove", "removexattr", "rename", "replace", "rmdir"),
    *("sendfile", "setxattr", "symlink", "truncate", "unlink", "utime", "write"),
}
View = dict[str, Any]
Call = Callable[[Direct], None]


@dataclass(frozen=True)
class Case:
    """`prepare` makes the state before, `act` is the call that is killed.

    `between` says of a state that is neither the old nor the new one whether it is one the documentation
    allows (docs/storage.md, "Durability"), given the old and the new.
    """

    name: str
    prepare: Call
    act: Call
    between: Callable[[View, View, View], bool] = lambda old, new, found: False


# --- calls


class RefusedError(AssertionError):
    """A call was not answered with success."""


def must(answer: Any) -> Any:
    if answer.status not in (200, 201, 202, 204):
        raise RefusedError(answer.status, answer.code, answer.body[:300])
    return answer


def put(path: str, body: bytes, kind: str = "BlockBlob", **headers: str) -> Call:
    every = {"x-ms-blob-type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return lambda data: must(data.ask("blob", "PUT", f"data/{path}", headers=every, body=body))


def source(service: str, path: str) -> str:
    return f"https://{ACCOUNT}.{service}.core.windows.net/{path}"


def call(
    service: str,
    method: str,
    path: str,
    query: str = "",
    body: bytes = b"",
    **headers: str,
) -> Call:
    """`query` as `name=value&name`; a header's underscores stand for hyphens."""
    parameters = dict(part.partition("=")[::2] for part in query.split("&") if part)
    every = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda data: must(data.ask(service, method, path, parameters, every, body))


def both(*calls: Call) -> Call:
    def carry_out(data: Direct) -> None:
        for each in calls:
            each(data)

    return carry_out


def block_id(number: int) -> str:
    return b64encode(b"%06d" % number).decode()


def block(path: str, number: int, body: bytes) -> Call:
    identifier = block_id(number)
    return lambda data: must(
        data.ask("blob", "PUT", f"data/{path}", {"comp": "block", "blockid": identifier}, body=body)
    )


def commit(path: str, *sources: tuple[str, int], **headers: str) -> Call:
    entries = "".join(f"<{source}>{block_id(number)}</{source}>" for source, number in sources)
    body = f"<?xml version='1.0' encoding='utf-8'?><BlockList>{entries}</BlockList>".encode()
    return call("blob", "PUT", f"data/{path}", "comp=blocklist", body, **headers)


def create_file(path: str, size: int, **headers: str) -> Call:
    return call("file", "PUT", f"share/{path}", x_ms_type="file", x_ms_content_length=str(size), **headers)


def page_blob(path: str, size: int, **headers: str) -> Call:
    return put(path, b"", "PageBlob", x_ms_blob_content_length=str(size), **headers)


def put_pages(path: str, start: int, body: bytes) -> Call:
    span = f"bytes={start}-{start + len(body) - 1}"
    return call("blob", "PUT", f"data/{path}", "comp=page", body, x_ms_page_write="update", x_ms_range=span)


def put_range(path: str, start: int, body: bytes) -> Call:
    span = f"bytes={start}-{start + len(body) - 1}"
    return call("file", "PUT", f"share/{path}", "comp=range", body, x_ms_write="update", x_ms_range=span)


def clear_range(path: str, start: int, end: int) -> Call:
    span = f"bytes={start}-{end - 1}"
    return call("file", "PUT", f"share/{path}", "comp=range", x_ms_write="clear", x_ms_range=span)


def cut_short(limit: int, then: Call) -> Call:
    """The kernel writes no file beyond `limit` bytes: a write stops in the middle, as on a full disk."""

    def act(data: Direct) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            then(data)
        except RefusedError:
            return
        raise AssertionError("there was space enough")

    return act


# --- what a client sees


def _kept(name: str) -> bool:
    if name in ("x-ms-copy-id", "x-ms-copy-completion-time"):
        return False
    return name.startswith(
        ("x-ms-meta-", "content-", "x-ms-blob-", "x-ms-copy-", "x-ms-tag", "x-ms-lease-")
    ) or (name in ("x-ms-type", "x-ms-access-tier", "x-ms-share-quota", "x-ms-content-length"))


def _item(data: Direct, service: str, path: str, **query: str) -> Any:
    answer = data.ask(service, "GET", path, query)
    if answer.status != 200:
        return answer.code
    kept = {name: value for name, value in answer.headers.items() if _kept(name)}
    if service == "blob":
        tags = data.ask("blob", "GET", path, {"comp": "tags"})
        kept["tags"] = tags.body.decode() if tags.status == 200 else tags.code
        blocks = data.ask("blob", "GET", path, {"comp": "blocklist", "blocklisttype": "all"})
        kept["blocks"] = blocks.body.decode() if blocks.status == 200 else blocks.code
    return kept | {"body": answer.body.hex()}


def _names(document: bytes, tag: str) -> list[str]:
    return [str(found.findtext("Name")) for found in ElementTree.fromstring(document).iter(tag)]


def view(data: Direct) -> View:
    """All that a client can ask about `data` and `share`, less what is different in each run."""
    found: View = {}
    for path, query in (("data", {"restype": "container"}), ("fresh", {"restype": "container"})):
        answer = data.ask("blob", "GET", path, query)
        found[f"container {path}"] = answer.code or {
            name: value for name, value in answer.headers.items() if _kept(name)
        }
    listing = data.ask("blob", "GET", "data", {"restype": "container", "comp": "list", "include": "metadata"})
    names = _names(listing.body, "Blob") if listing.status == 200 else []
    # Also what is only staged, and what the call makes.
    for name in sorted({*names, "a", "b", "new", "deep/er/new"}):
        found[f"blob {name}"] = _item(data, "blob", f"data/{name}")
    if listing.status == 200:
        found["listed"] = names
    found["kept"] = _kept_states(data)
    found |= _directory(data, "")
    listing = data.ask("file", "GET", "", {"comp": "list", "include": "snapshots"})
    times = [str(time.text) for time in ElementTree.fromstring(listing.body).iter("Snapshot")]
    found["share snapshots"] = [_directory(data, "", sharesnapshot=time) for time in times]
    return found


def _kept_states(data: Direct) -> list[list[str]]:
    """Snapshots and what was softly deleted, without the times: name, what it is, and its content."""
    query = {"restype": "container", "comp": "list", "include": "snapshots,deleted"}
    answer = data.ask("blob", "GET", "data", query)
    states = []
    for entry in ElementTree.fromstring(answer.body).iter("Blob") if answer.status == 200 else ():
        name, time = str(entry.findtext("Name")), entry.findtext("Snapshot")
        if time is None and entry.find("Deleted") is None:
            continue
        content = data.ask("blob", "GET", f"data/{name}", {"snapshot": time}).body.hex() if time else ""
        if entry.find("Deleted") is not None:
            content = ""
        length = str(entry.findtext("Properties/Content-Length"))
        what = ("snapshot" if time else "blob") + (" deleted" if entry.find("Deleted") is not None else "")
        states.append([name, what, length, content])
    return states


def _directory(data: Direct, path: str, **snapshot: str) -> View:
    found: View = {}
    query = {"restype": "directory", "comp": "list", **snapshot}
    answer = data.ask("file", "GET", f"share/{path}".rstrip("/"), query)
    if answer.status != 200:
        return {f"directory {path}": answer.code}
    for name in _names(answer.body, "File"):
        found[f"file {path}{name}"] = _item(data, "file", f"share/{path}{name}", **snapshot)
    for name in _names(answer.body, "Directory"):
        head = data.ask("file", "GET", f"share/{path}{name}", {"restype": "directory", **snapshot})
        found[f"directory {path}{name}"] = {
            n: v for n, v in head.headers.items() if n.startswith("x-ms-meta-")
        }
        found |= _directory(data, f"{path}{name}/", **snapshot)
    return found


def litter(root: Path) -> list[str]:
    """What a start leaves behind that belongs to nothing."""
    home = root / ACCOUNT
    staged = [*(home / ".staging").glob("*/*")]
    found = [str(path.relative_to(home)) for path in staged if path.parent.name != "blocks"]
    with sqlite3.connect(home / ".meta" / "side.db") as side:
        rows = side.execute("SELECT service, container, path FROM item").fetchall()
        for service, container, path in rows:
            if not _is_there(home / service / container, service, path):
                found.append(f"row of {service} {container} {path!r}")
        for service, name in side.execute("SELECT service, name FROM container").fetchall():
            if not (home / service / name).is_dir():
                found.append(f"row of {service} container {name}")
        files = {str(row[0]) for row in side.execute("SELECT file FROM kept WHERE ready = 1").fetchall()}
        found += [f"unready {row}" for row in side.execute("SELECT * FROM kept WHERE ready = 0").fetchall()]
        kept = {path.name for path in (home / ".snapshots" / "blob").glob("*/*")}
        found += [f"kept {name}" for name in files ^ kept]
        for table, column in (("share_snapshot", "name"), ("share_snapshot_item", "container")):
            taken = side.execute(f"SELECT DISTINCT {column}, snapshot FROM {table}").fetchall()
            there = {tuple(place.parts[-2:]) for place in (home / ".snapshots" / "file").glob("*/*")}
            found += [f"{table} of {snapshot}" for snapshot in set(taken) ^ there]
        found += [f"move {row}" for row in side.execute("SELECT * FROM move").fetchall()]
    side.close()
    return found


def _is_there(container: Path, service: str, path: str) -> bool:
    if service == "file" or not container.is_dir():
        return os.path.lexists(container / path)
    with beneath.open_directory_fd(container) as directory:
        return blobplaces.find(directory, path) is not None


# --- the campaign


def _profile(last: int) -> tuple[Callable[..., None], list[int]]:
    count = [0]

    def watch(frame: Any, event: str, function: Any) -> None:
        if event != "c_call":
            return
        name = getattr(function, "__name__", "")
        changes = (
            name in STEPS
            if getattr(function, "__module__", "") == "posix"
            else isinstance(getattr(function, "__self__", None), sqlite3.Connection)
            and name.startswith("exec")
        )
        if changes:
            if count[0] == last:
                os.kill(os.getpid(), signal.SIGKILL)
            count[0] += 1

    return watch, count


def killed_at(root: Path, act: Call, step: int) -> bool:
    """Carry out the call in a child that dies before that step; False when it came to its end instead."""
    child = os.fork()
    if not child:
        try:
            data = Direct(root)
            # The side store is opened by the first call.
            data.ask("blob", "GET", "data", {"restype": "container"})
            watch, _ = _profile(step)
            sys.setprofile(watch)
            try:
                act(data)
            finally:
                sys.setprofile(None)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), f"the call failed: {status}"
    return status != 0


def prepare(root: Path, case: Case) -> None:
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    data = Direct(root)
    must(data.ask("blob", "PUT", "data", {"restype": "container"}))
    must(data.ask("file", "PUT", "share", {"restype": "share"}))
    case.prepare(data)
    data.close()


def started(root: Path) -> View:
    """What a client sees right after a start, and then, when that has cleaned up, still."""
    data = Direct(root)
    first = view(data)
    data.storage.recovered.result()
    second = view(data)
    data.close()
    return first if first == second else {"changed by the cleaning": [first, second]}


def campaign(directory: Path, case: Case, stride: int) -> dict[str, Any]:
    root = directory / case.name
    prepare(root, case)
    old = started(root)
    assert not killed_at(root, case.act, -1)
    new = started(root)
    wrong: list[Any] = [f"the whole call leaves {left}" for left in litter(root)]
    step = len(case.name) % stride
    while True:
        prepare(root, case)
        died = killed_at(root, case.act, step)
        found = started(root)
        if not died:
            break
        if found not in (old, new) and not case.between(old, new, found):
            wrong.append({"step": step, "found": _difference(found, old, new)})
        wrong += [f"step {step} leaves {left}" for left in litter(root)]
        # What was interrupted can be asked again, and then is as if nothing had been.
        step += stride
    shutil.rmtree(root)
    return {"case": case.name, "steps": step, "wrong": wrong}


def _difference(found: View, old: View, new: View) -> dict[str, Any]:
    keys = {*found, *old, *new}
    return {
        key: {"found": found.get(key), "old": old.get(key), "new": new.get(key)}
        for key in sorted(keys)
        if found.get(key) not in (old.get(key),) or old.get(key) != new.get(key)
    }


TAGS = b"<Tags><TagSet><Tag><Key>t</Key><Value>v</Value></Tag></TagSet></Tags>"
LEASE = {
    "x_ms_lease_action": "acquire",
    "x_ms_lease_duration": "-1",
    "x_ms_proposed_lease_id": "0b2ce90d-8c45-4d05-9b4a-8e30ab6b7a4b",
}


def rename(old: str, new: str, query: str = "", **headers: str) -> Call:
    headers |= {"x_ms_file_rename_source": source("file", f"share/{old}")}
    return call("file", "PUT", f"share/{new}", f"{query}&comp=rename", **headers)


SHARE_SNAPSHOT = call("file", "PUT", "share", "restype=share&comp=snapshot")


def for_share_snapshots(method: str, query: str) -> Call:
    def carry_out(data: Direct) -> None:
        listing = data.ask("file", "GET", "", {"comp": "list", "include": "snapshots"})
        for time in [found.text for found in ElementTree.fromstring(listing.body).iter("Snapshot")]:
            call("file", method, "share", f"{query}&sharesnapshot={time}")(data)

    return carry_out


def for_each_snapshot(method: str, **headers: str) -> Call:
    """The call on every snapshot of `a`."""

    def carry_out(data: Direct) -> None:
        query = {"restype": "container", "comp": "list", "include": "snapshots"}
        listing = ElementTree.fromstring(data.ask("blob", "GET", "data", query).body)
        for time in [found.text for found in listing.iter("Snapshot")]:
            call("blob", method, "data/a", f"snapshot={time}", **headers)(data)

    return carry_out


def not_yet_aside(old: View, new: View, found: View) -> bool:
    """A new blob hides a deleted one of its name, which becomes a snapshot of it with the next call on it."""
    return found | {"kept": []} == new | {"kept": []} and found["kept"] == []


def some_snapshots_gone(old: View, new: View, found: View) -> bool:
    """Of a blob that is deleted with its snapshots, these may be gone first."""
    same = {key: value for key, value in old.items() if key != "kept"}
    return {key: value for key, value in found.items() if key != "kept"} == same


def nothing(data: Direct) -> None:
    """The state before a case that begins with nothing."""


X, Y = b"x" * 700, b"y" * 900
BASE = put("a", X, x_ms_meta_k="old", content_type="text/old")
BLOCKS = both(block("a", 1, X), block("a", 2, Y), commit("a", ("Latest", 1), ("Latest", 2)))
LOG = both(put("a", b"", "AppendBlob", x_ms_meta_k="v"), call("blob", "PUT", "data/a", "comp=appendblock", X))
SNAPSHOT = call("blob", "PUT", "data/a", "comp=snapshot")
KEEPING = call(
    "blob",
    "PUT",
    "",
    "restype=service&comp=properties",
    b"<StorageServiceProperties><DeleteRetentionPolicy><Enabled>true</Enabled><Days>7</Days>"
    b"</DeleteRetentionPolicy></StorageServiceProperties>",
)
FILE = both(create_file("f", 700, x_ms_meta_k="old"), put_range("f", 0, X))

DISK = both(page_blob("a", 2048, x_ms_meta_k="v"), put_pages("a", 0, Y[:512] + X[:512]))
CLEAR_PAGES = {"x_ms_page_write": "clear", "x_ms_range": "bytes=0-1023"}
RESIZE_PAGES = {"x_ms_blob_content_length": "512"}
TREE = both(
    call("file", "PUT", "share/d", "restype=directory", x_ms_meta_k="v"),
    call("file", "PUT", "share/d/e", "restype=directory", x_ms_meta_k="w"),
    create_file("d/e/f", 7, x_ms_meta_k="x", x_ms_content_type="a/b"),
    create_file("d/g", 9, x_ms_meta_k="y"),
)


def emptied(old: View, new: View, found: View) -> bool:
    """Files are written in place: Create File on an existing one empties it, then makes it its length."""
    rest = {key for key in {*old, *new} if old.get(key) != new.get(key)}
    body = bytes.fromhex(found["file f"]["body"])
    return rest == {"file f"} and not body.strip(b"\0") and len(body) in (0, len(new["file f"]["body"]) // 2)


def in_place(old: View, new: View, found: View, item: str = "file f") -> bool:
    """A range in place: each byte is the old or the new one."""
    bodies = [bytes.fromhex(state[item]["body"]) for state in (old, new, found)]
    return len({*map(len, bodies)}) == 1 and all(c in (a, b) for a, b, c in zip(*bodies, strict=True))


def pages_in_place(old: View, new: View, found: View) -> bool:
    return in_place(old, new, found, "blob a")


CASES = [
    Case("put", nothing, put("new", X, x_ms_meta_k="v")),
    Case("put-over", BASE, put("a", Y, x_ms_meta_k="new", content_type="text/new")),
    Case("put-deep", nothing, put("deep/er/new", X, x_ms_meta_k="v")),
    Case(
        "put-over-directories",
        both(put("new/er/x", X), call("blob", "DELETE", "data/new/er/x")),
        put("new", X, x_ms_meta_k="v"),
    ),
    Case("put-append-over", BASE, put("a", b"", "AppendBlob")),
    Case("block", nothing, block("new", 1, X)),
    Case("block-again", block("new", 1, X), block("new", 1, Y)),
    Case(
        "commit",
        both(block("new", 1, X), block("new", 2, Y)),
        commit("new", ("Latest", 1), ("Latest", 2), x_ms_meta_k="v"),
        # The blob is there, and its blocks may be committed once more.
        lambda old, new, found: {**found["blob new"], "blocks": ""} == {**new["blob new"], "blocks": ""},
    ),
    Case(
        "commit-over",
        both(BLOCKS, block("a", 3, Y)),
        commit("a", ("Committed", 2), ("Latest", 3), ("Latest", 1)),
        lambda old, new, found: {**found["blob a"], "blocks": ""} == {**new["blob a"], "blocks": ""},
    ),
    Case("append", LOG, call("blob", "PUT", "data/a", "comp=appendblock", Y)),
    Case("metadata", BASE, call("blob", "PUT", "data/a", "comp=metadata", x_ms_meta_k="new")),
    Case("properties", BASE, call("blob", "PUT", "data/a", "comp=properties", x_ms_blob_content_type="a/b")),
    Case("delete", both(BASE, block("a", 1, X)), call("blob", "DELETE", "data/a")),
    Case("snapshot", BASE, call("blob", "PUT", "data/a", "comp=snapshot")),
    Case("snapshot-log", LOG, call("blob", "PUT", "data/a", "comp=snapshot", x_ms_meta_own="1")),
    Case("snapshot-delete", both(BASE, SNAPSHOT), for_each_snapshot("DELETE")),
    Case(
        "snapshots-delete-all",
        both(BASE, SNAPSHOT, SNAPSHOT),
        call("blob", "DELETE", "data/a", x_ms_delete_snapshots="include"),
        some_snapshots_gone,
    ),
    Case("soft-delete", both(KEEPING, BASE), call("blob", "DELETE", "data/a")),
    Case("soft-snapshot-delete", both(KEEPING, BASE, SNAPSHOT), for_each_snapshot("DELETE")),
    Case("soft-put-over", both(KEEPING, BASE), put("a", Y, x_ms_meta_k="new")),
    Case("soft-put-again", both(KEEPING, BASE, call("blob", "DELETE", "data/a")), put("a", Y), not_yet_aside),
    Case(
        "undelete",
        both(KEEPING, BASE, call("blob", "DELETE", "data/a")),
        call("blob", "PUT", "data/a", "comp=undelete"),
    ),
    Case("container", nothing, call("blob", "PUT", "fresh", "restype=container", x_ms_meta_k="v")),
    Case(
        "container-delete",
        both(KEEPING, BASE, SNAPSHOT, put("b/c", Y), call("blob", "DELETE", "data/b/c"), block("new", 1, X)),
        call("blob", "DELETE", "data", "restype=container"),
    ),
    Case(
        "container-metadata",
        nothing,
        call("blob", "PUT", "data", "restype=container&comp=metadata", x_ms_meta_k="v"),
    ),
    Case("copy", BASE, call("blob", "PUT", "data/new", x_ms_copy_source=source("blob", "data/a"))),
    Case(
        "copy-over",
        both(BASE, put("b", Y, x_ms_meta_k="b")),
        call("blob", "PUT", "data/b", x_ms_copy_source=source("blob", "data/a"), x_ms_meta_k="copy"),
    ),
    Case("pages", nothing, page_blob("new", 2048, x_ms_meta_k="v")),
    Case("pages-written", DISK, put_pages("a", 512, Y[:512] + X[:512]), pages_in_place),
    Case("pages-cleared", DISK, call("blob", "PUT", "data/a", "comp=page", **CLEAR_PAGES), pages_in_place),
    Case("pages-resized", DISK, call("blob", "PUT", "data/a", "comp=properties", **RESIZE_PAGES)),
    Case("tags", BASE, call("blob", "PUT", "data/a", "comp=tags", TAGS)),
    Case("tier", BASE, call("blob", "PUT", "data/a", "comp=tier", x_ms_access_tier="Cool")),
    Case("lease", BASE, call("blob", "PUT", "data/a", "comp=lease", **LEASE)),
    Case("lease-container", nothing, call("blob", "PUT", "data", "restype=container&comp=lease", **LEASE)),
    Case("name-of-a-directory", both(put("new/x", X)), put("new", Y, x_ms_meta_k="v")),
    Case("name-below-a-blob", put("new", X), put("new/x", Y, x_ms_meta_k="v")),
    Case("delete-escaped", both(put("new", X), put("new/x", Y)), call("blob", "DELETE", "data/new/x")),
    Case("directory", nothing, call("file", "PUT", "share/d", "restype=directory", x_ms_meta_k="v")),
    Case(
        "directory-delete",
        call("file", "PUT", "share/d", "restype=directory", x_ms_meta_k="v"),
        call("file", "DELETE", "share/d", "restype=directory"),
    ),
    Case("file", nothing, create_file("f", 5000, x_ms_meta_k="v", x_ms_content_type="text/new")),
    Case("file-over", FILE, create_file("f", 900, x_ms_meta_k="new", x_ms_content_type="text/new"), emptied),
    Case("range", FILE, put_range("f", 100, Y[:300]), in_place),
    Case("range-last", FILE, put_range("f", 400, Y[:300]), in_place),
    Case("range-clear", FILE, clear_range("f", 0, 512), in_place),
    Case(
        "file-resize",
        FILE,
        call("file", "PUT", "share/f", "comp=properties", x_ms_content_length="300", x_ms_content_type="a/b"),
        # Two things in one call: its length may have changed alone.
        lambda old, new, found: (
            found["file f"] | {"content-type": ""} == new["file f"] | {"content-type": ""}
        ),
    ),
    Case("file-metadata", FILE, call("file", "PUT", "share/f", "comp=metadata", x_ms_meta_k="new")),
    Case("file-delete", FILE, call("file", "DELETE", "share/f")),
    Case("file-lease", FILE, call("file", "PUT", "share/f", "comp=lease", **(LEASE))),
    Case("file-rename", FILE, rename("f", "g")),
    Case(
        "file-rename-over",
        both(FILE, create_file("g", 5, x_ms_meta_k="g")),
        rename("f", "g", x_ms_file_rename_replace_if_exists="true"),
    ),
    Case("directory-rename", TREE, rename("d", "moved", "restype=directory")),
    Case(
        "directory-rename-over-file",
        both(TREE, create_file("g", 5, x_ms_meta_k="g")),
        rename("d", "g", "restype=directory", x_ms_file_rename_replace_if_exists="true"),
    ),
    Case("file-copy", FILE, call("file", "PUT", "share/g", x_ms_copy_source=source("file", "share/f"))),
    Case(
        "file-copy-over",
        both(FILE, create_file("g", 5, x_ms_meta_k="g")),
        call("file", "PUT", "share/g", x_ms_copy_source=source("file", "share/f"), x_ms_meta_k="copy"),
    ),
    Case("share-snapshot", TREE, SHARE_SNAPSHOT),
    Case("share-snapshot-delete", both(TREE, SHARE_SNAPSHOT), for_share_snapshots("DELETE", "restype=share")),
    Case(
        "share-delete-with-snapshots",
        both(TREE, SHARE_SNAPSHOT),
        call("file", "DELETE", "share", "restype=share", x_ms_delete_snapshots="include"),
    ),
    Case("share-delete", FILE, call("file", "DELETE", "share", "restype=share")),
    Case(
        # Last of those that --once carries out: the limit is the process's own.
        "append-in-two",
        LOG,
        # The side store's own files are below this.
        cut_short(400_300, call("blob", "PUT", "data/a", "comp=appendblock", b"z" * 400_000)),
    ),
]


def once(policy: str, directory: Path) -> None:
    """Carry out each call to its end, with a mark for a trace of system calls before it and after it."""
    for case in CASES:
        root = directory / case.name
        root.parent.mkdir(exist_ok=True)
        prepare(root, case)
        data = Direct(root, FsyncPolicy(policy))
        view(data)
        data.storage.recovered.result()
        os.access(f"/begin:{case.name}", os.F_OK)
        with contextlib.suppress(RefusedError):
            case.act(data)
        os.access(f"/end:{case.name}", os.F_OK)
        data.close()


def main() -> None:
    if sys.argv[1] == "--once":
        return once(sys.argv[2], Path(sys.argv[3]))
    directory, stride, *names = sys.argv[1:]
    for case in CASES:
        if not names or case.name in names:
            print(json.dumps(campaign(Path(directory), case, int(stride))), flush=True)
    return None


if __name__ == "__main__":
    main()
