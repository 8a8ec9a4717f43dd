"""Blobs and files against a plain model, whatever clients and jobs do to them in whatever order.

Clients come through the services, jobs through the file system. After every step all that can be asked must
be as the model says: listings, contents, headers, metadata.
"""

import base64
import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from xml.etree import ElementTree

from harness.asgi import ACCOUNT, Direct
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

NAMES = ("a", "b.txt", "d/a", "d/b", "e/f/g")
names = st.sampled_from(NAMES)
bodies = st.binary(max_size=40)
metadata = st.dictionaries(st.sampled_from(("k", "l")), st.sampled_from("xyz"), max_size=2)
TYPES = {"b.txt": "text/plain; charset=utf-8"}


@dataclass(frozen=True)
class Item:
    body: bytes
    kind: str = "BlockBlob"
    # Whether the record describes these very bytes; a job's do not.
    known: bool = True


@dataclass
class Model:
    """`records` outlive a file that a job removes, until a client deletes it or the service starts anew."""

    items: dict[str, Item] = field(default_factory=dict)
    records: dict[str, dict[str, str]] = field(default_factory=dict)

    def put(self, name: str, item: Item, wanted: dict[str, str]) -> None:
        self.items[name], self.records[name] = item, wanted

    def delete(self, name: str) -> None:
        del self.items[name]
        self.records.pop(name, None)

    def written_by_job(self, name: str, body: bytes, *, grown: bool = False) -> None:
        former = self.items.get(name)
        keeps_kind = former is not None and grown
        self.items[name] = Item(body, former.kind if former and keeps_kind else "BlockBlob", known=False)

    def restarted(self) -> None:
        self.records = {name: record for name, record in self.records.items() if name in self.items}


class Plane(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.data = Direct(self.root)
        self.blobs = Model()
        self.files = Model()

    @initialize()
    def make(self):
        self.must("blob", "PUT", "data", {"restype": "container"})
        self.must("file", "PUT", "share", {"restype": "share"})
        for name in ("d", "e", "e/f"):
            self.must("file", "PUT", f"share/{name}", {"restype": "directory"})

    def teardown(self):
        self.data.close()
        shutil.rmtree(self.root)

    def must(self, service, method, path, query=None, headers=None, body=b""):
        answer = self.data.ask(service, method, path, query, headers, body)
        assert answer.status < 300, (method, path, query, answer.status, answer.body)
        return answer

    # --- clients and blobs

    @rule(name=names, body=bodies, meta=metadata, kind=st.sampled_from(("BlockBlob", "AppendBlob")))
    def put_blob(self, name, body, meta, kind):
        body = b"" if kind == "AppendBlob" else body
        headers = {"x-ms-blob-type": kind, **_meta(meta)}
        self.must("blob", "PUT", f"data/{name}", None, headers, body)
        self.blobs.put(name, Item(body, kind), meta)

    @rule(name=names, parts=st.lists(bodies.filter(bool), min_size=1, max_size=3), meta=metadata)
    def put_blocks(self, name, parts, meta):
        entries = ""
        present = self.blobs.items.get(name)
        for number, part in enumerate(parts):
            identifier = base64.b64encode(b"%02d" % number).decode()
            if present is not None and present.kind != "BlockBlob":
                query = {"comp": "block", "blockid": identifier}
                answer = self.data.ask("blob", "PUT", f"data/{name}", query, None, part)
                assert answer.code == "InvalidBlobType"
                return
            entries += f"<Latest>{identifier}</Latest>"
            query = {"comp": "block", "blockid": identifier}
            self.must("blob", "PUT", f"data/{name}", query, None, part)
        document = f"<BlockList>{entries}</BlockList>".encode()
        self.must("blob", "PUT", f"data/{name}", {"comp": "blocklist"}, _meta(meta), document)
        # A block list has no MD5, like a content that a job wrote.
        self.blobs.put(name, Item(b"".join(parts), known=False), meta)

    @rule(name=names, body=bodies.filter(bool))
    def append(self, name, body):
        item = self.blobs.items.get(name)
        answer = self.data.ask("blob", "PUT", f"data/{name}", {"comp": "appendblock"}, None, body)
        if item is None or item.kind != "AppendBlob":
            assert answer.code == ("BlobNotFound" if item is None else "InvalidBlobType")
            return
        assert answer.status == 201
        assert answer.headers["x-ms-blob-append-offset"] == str(len(item.body))
        self.blobs.items[name] = replace(item, body=item.body + body)

    @rule(name=names, meta=metadata)
    def set_metadata(self, name, meta):
        answer = self.data.ask("blob", "PUT", f"data/{name}", {"comp": "metadata"}, _meta(meta))
        if name not in self.blobs.items:
            assert answer.code == "BlobNotFound"
            return
        assert answer.status == 200
        item = self.blobs.items[name]
        self.blobs.records[name] = meta
        self.blobs.items[name] = item

    @rule(name=names)
    def delete_blob(self, name):
        answer = self.data.ask("blob", "DELETE", f"data/{name}")
        if name not in self.blobs.items:
            assert answer.code == "BlobNotFound"
            return
        assert answer.status == 202
        self.blobs.delete(name)

    @rule(source=names, goal=names)
    def copy_blob(self, source, goal):
        url = f"https://{ACCOUNT}.blob.core.windows.net/data/{source}"
        answer = self.data.ask("blob", "PUT", f"data/{goal}", None, {"x-ms-copy-source": url})
        if source not in self.blobs.items:
            assert answer.status == 404
            return
        item, present = self.blobs.items[source], self.blobs.items.get(goal)
        if present is not None and present.kind != item.kind:
            assert answer.code == "InvalidBlobType"
            return
        assert answer.status == 202, answer.body
        self.blobs.put(goal, item, self.blobs.records.get(source, {}))

    # --- clients and files

    @rule(name=names, size=st.integers(0, 40), meta=metadata)
    def create_file(self, name, size, meta):
        headers = {"x-ms-type": "file", "x-ms-content-length": str(size), **_meta(meta)}
        self.must("file", "PUT", f"share/{name}", None, headers)
        self.files.put(name, Item(bytes(size), "File"), meta)

    @rule(name=names, start=st.integers(0, 40), body=bodies.filter(bool))
    def write_range(self, name, start, body):
        headers = {"x-ms-write": "update", "x-ms-range": f"bytes={start}-{start + len(body) - 1}"}
        answer = self.data.ask("file", "PUT", f"share/{name}", {"comp": "range"}, headers, body)
        item = self.files.items.get(name)
        if item is None or start + len(body) > len(item.body):
            assert answer.code == ("ResourceNotFound" if item is None else "InvalidRange")
            return
        assert answer.status == 201
        content = item.body[:start] + body + item.body[start + len(body) :]
        self.files.items[name] = replace(item, body=content)

    @rule(name=names)
    def delete_file(self, name):
        answer = self.data.ask("file", "DELETE", f"share/{name}")
        if name not in self.files.items:
            assert answer.code == "ResourceNotFound"
            return
        assert answer.status == 202
        self.files.delete(name)

    # --- jobs

    def places(self):
        return (
            (self.blobs, self.root / ACCOUNT / "blob" / "data"),
            (self.files, self.root / ACCOUNT / "file" / "share"),
        )

    @rule(name=names, body=bodies, which=st.integers(0, 1))
    def job_writes(self, name, body, which):
        model, home = self.places()[which]
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        other = self.root / "other"
        other.write_bytes(body)
        other.rename(home / name)
        model.written_by_job(name, body)

    @rule(name=names, body=bodies.filter(bool), which=st.integers(0, 1))
    def job_appends(self, name, body, which):
        model, home = self.places()[which]
        if name in model.items:
            with (home / name).open("ab") as file:
                file.write(body)
            model.written_by_job(name, model.items[name].body + body, grown=True)

    @rule(name=names, which=st.integers(0, 1))
    def job_deletes(self, name, which):
        model, home = self.places()[which]
        if name in model.items:
            (home / name).unlink()
            del model.items[name]

    @rule(name=names, goal=names, which=st.integers(0, 1))
    def job_renames(self, name, goal, which):
        model, home = self.places()[which]
        if name in model.items and name != goal:
            (home / goal).parent.mkdir(parents=True, exist_ok=True)
            (home / name).rename(home / goal)
            model.written_by_job(goal, model.items.pop(name).body)

    @precondition(lambda self: self.blobs.items or self.files.items)
    @rule()
    def service_starts_anew(self):
        self.data.close()
        self.data = Direct(self.root)
        self.data.storage.recovered.result()
        self.blobs.restarted()
        self.files.restarted()

    # --- what must hold

    @invariant()
    def blobs_are_as_the_model_says(self):
        query = {"restype": "container", "comp": "list", "include": "metadata"}
        listing = self.data.ask("blob", "GET", "data", query)
        if listing.status == 404:
            return
        listed = {
            str(entry.findtext("Name")): entry for entry in ElementTree.fromstring(listing.body).iter("Blob")
        }
        assert list(listed) == sorted(self.blobs.items)
        for name, item in self.blobs.items.items():
            wanted = self.blobs.records.get(name, {})
            answer = self.must("blob", "GET", f"data/{name}")
            assert answer.body == item.body
            assert _meta_of(answer.headers) == wanted
            assert answer.headers["x-ms-blob-type"] == item.kind
            if name not in self.blobs.records:
                expected = TYPES.get(name, "application/octet-stream")
                assert answer.headers["content-type"] == expected
            if item.known and item.kind == "BlockBlob":
                assert answer.headers["content-md5"] == _md5(item.body)
            else:
                assert "content-md5" not in answer.headers
            entry = listed[name]
            assert entry.findtext("Properties/Content-Length") == str(len(item.body))
            assert entry.findtext("Properties/Etag") == answer.headers["etag"].strip('"')
            assert {child.tag: child.text for child in entry.find("Metadata") or ()} == wanted
            head = self.data.ask("blob", "HEAD", f"data/{name}")
            assert head.headers["content-length"] == str(len(item.body))
            assert head.headers["etag"] == answer.headers["etag"]
            if item.body:
                tail = self.data.ask(
                    "blob", "GET", f"data/{name}", None, {"x-ms-range": f"bytes={len(item.body) - 1}-"}
                )
                assert (tail.status, tail.body) == (206, item.body[-1:])
            past = self.data.ask(
                "blob", "GET", f"data/{name}", None, {"x-ms-range": f"bytes={len(item.body)}-"}
            )
            assert past.status == 416

    @invariant()
    def files_are_as_the_model_says(self):
        found = {}
        for directory in ("", "d", "e/f"):
            query = {"restype": "directory", "comp": "list"}
            listing = self.data.ask("file", "GET", f"share/{directory}".rstrip("/"), query)
            if listing.status != 200:
                return
            for entry in ElementTree.fromstring(listing.body).iter("File"):
                name = f"{directory}/{entry.findtext('Name')}".lstrip("/")
                found[name] = entry.findtext("Properties/Content-Length")
        assert found == {name: str(len(item.body)) for name, item in self.files.items.items()}
        for name, item in self.files.items.items():
            answer = self.must("file", "GET", f"share/{name}")
            assert answer.body == item.body
            assert _meta_of(answer.headers) == self.files.records.get(name, {})
            head = self.data.ask("file", "HEAD", f"share/{name}")
            assert head.headers["content-length"] == str(len(item.body))


def _meta(values):
    return {f"x-ms-meta-{name}": value for name, value in values.items()}


def _meta_of(headers):
    prefix = "x-ms-meta-"
    return {name.removeprefix(prefix): value for name, value in headers.items() if name.startswith(prefix)}


def _md5(body):
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


Plane.TestCase.settings = settings(
    max_examples=int(os.environ.get("MODEL_EXAMPLES", "20")),
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestModel = Plane.TestCase
