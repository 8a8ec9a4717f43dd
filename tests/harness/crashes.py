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
import shutil
import signal
import sqlite3
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).parents[1]))

from harness.asgi import ACCOUNT, Direct
from harness.crash_cases import CASES, Call, Case, RefusedError, View, must

from openbatchai.dataplane import FsyncPolicy, beneath, blobplaces

# Functions of the operating system that change what is on disk or make it durable.
STEPS = {
    *("chmod", "copy_file_range", "fchmod", "fdatasync", "fsync", "ftruncate", "link", "mkdir", "open"),
    *("posix_fallocate", "pwrite", "pwritev", "remove", "removexattr", "rename", "replace", "rmdir"),
    *("sendfile", "setxattr", "symlink", "truncate", "unlink", "utime", "write"),
}


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
    for service in ("blob", "file"):
        listing = data.ask(service, "GET", "", {"comp": "list", "include": "deleted,metadata"})
        found[f"{service} deleted"] = [
            [entry.findtext("Name"), entry.findtext("Metadata/k"), entry.findtext("Properties/Quota")]
            for entry in ElementTree.fromstring(listing.body).iter()
            if entry.find("Deleted") is not None
        ]
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
            if not _is_there(_tree(home, service, container), service, path):
                found.append(f"row of {service} {container} {path!r}")
        for service, name in side.execute("SELECT service, name FROM container").fetchall():
            if not _tree(home, service, name).is_dir():
                found.append(f"row of {service} container {name}")
        rows = side.execute("SELECT service || '/' || name || '/' || version, state FROM retained").fetchall()
        found += [f"{state} {name}" for name, state in rows if state != "kept"]
        there = {"/".join(place.parts[-3:]) for place in (home / ".retained").glob("*/*/*")}
        found += [f"retained {name}" for name in there ^ {name for name, _ in rows}]
        files = {str(row[0]) for row in side.execute("SELECT file FROM kept WHERE ready = 1").fetchall()}
        found += [f"unready {row}" for row in side.execute("SELECT * FROM kept WHERE ready = 0").fetchall()]
        kept = {path.name for path in (home / ".snapshots" / "blob").glob("*/*")}
        kept |= {path.name for path in (home / ".retained" / "blob").glob("*/*/snapshots/*")}
        found += [f"kept {name}" for name in files ^ kept]
        for table, column in (("share_snapshot", "name"), ("share_snapshot_item", "container")):
            taken = side.execute(f"SELECT DISTINCT {column}, snapshot FROM {table}").fetchall()
            there = {tuple(place.parts[-2:]) for place in (home / ".snapshots" / "file").glob("*/*")}
            retained = (home / ".retained" / "file").glob("*/*/snapshots/*")
            there |= {(place.parts[-4], place.name) for place in retained}
            found += [f"{table} of {snapshot}" for snapshot in set(taken) ^ there]
        found += [f"move {row}" for row in side.execute("SELECT * FROM move").fetchall()]
    side.close()
    return found


def _tree(home: Path, service: str, container: str) -> Path:
    """Where the files of a container are, by the service in its rows."""
    name, _, version = service.partition("~")
    return home / ".retained" / name / container / version / "tree" if version else home / name / container


def _is_there(container: Path, service: str, path: str) -> bool:
    if service.startswith("file") or not container.is_dir():
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
        if found.get(key) != old.get(key) or old.get(key) != new.get(key)
    }


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
