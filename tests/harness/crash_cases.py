"""The calls that crashes.py kills: the state before each, and what may be found between old and new."""

import resource
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from openbatchai.domain.ports import StorageService

from .asgi import ACCOUNT, Direct

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


# --- states and cases


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


def retaining(data: Direct) -> None:
    """Deleted containers and shares can come back; only ARM says so."""
    policy = {"Enabled": "true", "Days": "7"}
    settings = data.storage.settings
    settings.change(ACCOUNT, StorageService.BLOB, {"ContainerDeleteRetentionPolicy": policy})
    settings.change(ACCOUNT, StorageService.FILE, {"ShareDeleteRetentionPolicy": policy})


def restore(service: str, name: str, target: str) -> Call:
    noun = "share" if service == "file" else "container"

    def carry_out(data: Direct) -> None:
        listing = must(data.ask(service, "GET", "", {"comp": "list", "include": "deleted"}))
        [version] = [str(found.text) for found in ElementTree.fromstring(listing.body).iter("Version")]
        headers = {f"x-ms-deleted-{noun}-name": name, f"x-ms-deleted-{noun}-version": version}
        must(data.ask(service, "PUT", target, {"restype": noun, "comp": "undelete"}, headers))

    return carry_out


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


SHARE_DELETE = call("file", "DELETE", "share", "restype=share", x_ms_delete_snapshots="include")
CONTAINER_DELETE = call("blob", "DELETE", "data", "restype=container")
FULL_CONTAINER = both(
    retaining,
    KEEPING,
    BASE,
    SNAPSHOT,
    put("b/c", Y),
    call("blob", "DELETE", "data/b/c"),
    call("blob", "PUT", "data", "restype=container&comp=metadata", x_ms_meta_k="v"),
)

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
    Case("share-retain", both(retaining, TREE, SHARE_SNAPSHOT), SHARE_DELETE),
    Case(
        "share-restore",
        both(retaining, TREE, SHARE_SNAPSHOT, SHARE_DELETE),
        restore("file", "share", "share"),
    ),
    Case("container-retain", FULL_CONTAINER, CONTAINER_DELETE),
    Case("container-restore", both(FULL_CONTAINER, CONTAINER_DELETE), restore("blob", "data", "data")),
    Case("container-restore-as", both(FULL_CONTAINER, CONTAINER_DELETE), restore("blob", "data", "fresh")),
    Case("share-delete", FILE, call("file", "DELETE", "share", "restype=share")),
    Case(
        # Last of those that --once carries out: the limit is the process's own.
        "append-in-two",
        LOG,
        # The side store's own files are below this.
        cut_short(400_300, call("blob", "PUT", "data/a", "comp=appendblock", b"z" * 400_000)),
    ),
]
