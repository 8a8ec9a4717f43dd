"""Whoever holds a signed URL or sees a signed request may change any part of it, and gains nothing.

Each example changes a request that the service would carry out, sends it through the whole app, and looks
at what came back and what is on disk: no other item's content or name may show, nothing else may change.
"""

import asyncio
import base64
import hashlib
import hmac
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from azure.storage.blob import (
    UserDelegationKey,
    generate_account_sas,
    generate_blob_sas,
    generate_container_sas,
)
from azure.storage.fileshare import generate_file_sas, generate_share_sas
from hypothesis import given, settings
from hypothesis import strategies as st

from openbatchai.dataplane import FsyncPolicy, Storage
from openbatchai.dataplane.delegation import DelegationKey
from openbatchai.domain.ports import ItemRef, StorageService
from openbatchai.http.storage import blob, files

ACCOUNT, OTHER = "batchaidata", "somebodyelse"
KEYS = {name: base64.b64encode(hashlib.sha512(name.encode()).digest()).decode() for name in (ACCOUNT, OTHER)}
SECRET, TENANT, ME = b"secret of a home", "b1a2c3d4-0000-4000-8000-0000000000bb", "me"
NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)
EXPIRY = NOW + timedelta(hours=1)
GRANTED = "dir/granted"
# Every item but the granted one has a name and a content that no answer may show.
PINNED = "dir/pinned"
HIDDEN = ["hidden-1", "dir/granted-hidden-2", "hidden-3/granted"]
PLACES = [(service, name) for service in StorageService for name in ("open", "hidden-container")]


class Clock:
    def now(self):
        return NOW


class Ring:
    def keys(self, account):
        return (KEYS[account],) if account in KEYS else None


class World:
    """Two accounts with a container and a share each, and the apps over them."""

    def __init__(self, root):
        self.root = root
        self.storage = Storage(root, Ring(), Clock(), FsyncPolicy.NEVER)
        for account in KEYS:
            self.storage.create_account(account)
            for service, container in PLACES:
                self.storage.create_container(ItemRef(service, account, container))
        self.reset()
        self.loop = asyncio.new_event_loop()
        options = {"tenant": TENANT, "delegation_secret": SECRET}
        self.apps = {
            "blob": blob.create_app(self.storage, lambda token, audiences: None, **options),
            "file": files.create_app(self.storage, lambda token, audiences: None, **options),
        }
        self.snapshot = self.take_snapshot()
        self.before = self.tree()

    def take_snapshot(self):
        """The time of a snapshot that may be read, of a blob that may not."""
        home = self.root / ACCOUNT / "blob" / "open"
        (home / PINNED).write_bytes(b"granted content")
        _, answer = self.send(signed("PUT", f"/open/{PINNED}", ["comp=snapshot"], {}))
        [found] = re.findall(rb"x-ms-snapshot: (\S+)", answer)
        (home / PINNED).write_bytes(b"SECRET of the blob")
        self.send(signed("PUT", f"/open/{PINNED}", ["comp=metadata"], {"x-ms-meta-of": "SECRET"}))
        return found.decode()

    def reset(self):
        for account in KEYS:
            for service, container in PLACES:
                for path in (GRANTED, *(HIDDEN if container == "open" else ())):
                    mine = (account, container, path) == (ACCOUNT, "open", GRANTED)
                    file = self.root / account / service.value / container / path
                    file.parent.mkdir(exist_ok=True)
                    file.write_bytes(b"granted content" if mine else f"SECRET of {path}".encode())

    def tree(self):
        """Content of everything users have, and who may get at the containers."""
        found = {}
        for account in KEYS:
            for service in StorageService:
                home = self.root / account / service.value
                for directory, _, names in os.walk(home):
                    for name in names:
                        path = Path(directory, name)
                        found[account, service, str(path.relative_to(home))] = path.read_bytes()
                for container in home.iterdir():
                    ref = ItemRef(service, account, container.name)
                    found[account, service, container.name] = self.storage.containers.get(ref).settings
        return found

    def send(self, request):
        return self.loop.run_until_complete(self._send(request))

    async def _send(self, request):
        sent, status = bytearray(), 0

        async def receive():
            return {"type": "http.request", "body": request.body, "more_body": False}

        async def send(message):
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                for name, value in message["headers"]:
                    sent.extend(name + b": " + value + b"\n")
            sent.extend(message.get("body", b""))

        await self.apps[request.service](request.scope(), receive, send)
        return status, bytes(sent)

    def close(self):
        self.loop.close()
        self.storage.close()


@dataclass(frozen=True)
class Sent:
    """A request as it goes over the wire: path and query percent-encoded."""

    service: str
    method: str
    host: str
    path: str
    query: tuple[str, ...]
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def scope(self):
        headers = {"host": self.host, **self.headers}
        return {
            "type": "http",
            "method": self.method,
            "scheme": "https",
            "client": ("127.0.0.1", 1),
            "raw_path": self.path.encode("latin-1", "replace"),
            "path": unquote(self.path),
            "query_string": "&".join(self.query).encode("latin-1", "replace"),
            "headers": [(n.lower().encode(), v.encode("utf-8", "replace")) for n, v in headers.items()],
        }


def host(service, account=ACCOUNT):
    return f"{account}.{service}.core.windows.net"


def by_token(service, path, token, method="GET", **more):
    return Sent(service, method, host(service), path, tuple(token.split("&")), **more)


def signed(method, path, query, headers, scheme="SharedKey", service="blob"):
    """A request as the 2017 generation signs it."""
    headers = {"x-ms-date": format_datetime(NOW, usegmt=True), "x-ms-version": "2021-12-02", **headers}
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    if scheme == "SharedKey":
        names = "".join(f"\n{part.replace('=', ':', 1)}" for part in sorted(query))
        text = f"{method}\n" + "\n" * 11 + lines + f"/{ACCOUNT}{path}{names}"
    else:
        comp = "".join(f"?{part}" for part in query if part.startswith("comp="))
        text = f"{method}\n\n\n\n{lines}/{ACCOUNT}{path}{comp}"
    digest = hmac.new(base64.b64decode(KEYS[ACCOUNT]), text.encode(), hashlib.sha256).digest()
    given = base64.b64encode(digest).decode()
    headers["Authorization"] = f"{scheme} {ACCOUNT}:{given}"
    return Sent(service, method, host(service), path, tuple(query), headers)


def delegation_key():
    own = DelegationKey(ME, TENANT, "2026-11-20T08:00:00Z", "2026-11-21T08:00:00Z", "b", "2026-10-06")
    key = UserDelegationKey()
    key.signed_oid, key.signed_tid, key.signed_service = own.object_id, own.tenant_id, own.service
    key.signed_start, key.signed_expiry, key.signed_version = own.start, own.expiry, own.version
    key.value = own.value(SECRET, ACCOUNT)
    return key


ITEM_PATH = f"/open/{GRANTED}"
KEY = {"account_key": KEYS[ACCOUNT], "expiry": EXPIRY}
DELEGATED = {"user_delegation_key": delegation_key(), "expiry": EXPIRY}
PUT = {"method": "PUT", "headers": {"x-ms-blob-type": "BlockBlob"}, "body": b"new"}


def blob_token(permission="r", **more):
    return generate_blob_sas(ACCOUNT, "open", GRANTED, permission=permission, **{**KEY, **more})


# What each request grants: whether the granted item may be read, changed, and its container listed.
READS = {
    "blob": by_token("blob", ITEM_PATH, blob_token()),
    "blob, old": by_token(
        "blob",
        ITEM_PATH,
        # What the control plane hands out: sv=2016-05-31, where `sr` is not signed.
        "{token}",
    ),
    # May also write, but a snapshot is never written: its blob must stay as it is.
    "snapshot": by_token(
        "blob", f"/open/{PINNED}", "{snapshot}", headers={"x-ms-blob-type": "BlockBlob"}, body=b"new"
    ),
    "delegated blob": by_token(
        "blob",
        ITEM_PATH,
        generate_blob_sas(ACCOUNT, "open", GRANTED, permission="r", **DELEGATED, correlation_id="x"),
    ),
    "file": by_token(
        "file",
        ITEM_PATH,
        generate_file_sas(ACCOUNT, "open", GRANTED.split("/"), permission="r", **KEY),
    ),
    "shared key": signed("GET", ITEM_PATH, ["timeout=30"], {}),
    "shared key, file": signed("GET", ITEM_PATH, ["timeout=30"], {}, service="file"),
    "shared key lite": signed("GET", ITEM_PATH, [], {}, "SharedKeyLite"),
}
WRITES = {
    "blob": by_token("blob", ITEM_PATH, blob_token("cw"), **PUT),
    "delegated blob": by_token(
        "blob",
        ITEM_PATH,
        generate_blob_sas(ACCOUNT, "open", GRANTED, permission="cw", **DELEGATED),
        **PUT,
    ),
    "deletion": by_token("blob", ITEM_PATH, blob_token("d"), method="DELETE"),
    "shared key": replace(signed("PUT", ITEM_PATH, ["comp=metadata"], {"x-ms-meta-a": "b"})),
}
# These grant reading everything of one kind: what they must not do is write, list or leave the kind.
WIDE = {
    "container": by_token("blob", ITEM_PATH, generate_container_sas(ACCOUNT, "open", permission="r", **KEY)),
    "share": by_token("file", ITEM_PATH, generate_share_sas(ACCOUNT, "open", permission="r", **KEY)),
    "account": by_token(
        "blob",
        ITEM_PATH,
        generate_account_sas(ACCOUNT, KEYS[ACCOUNT], "o", "r", EXPIRY, services="b"),
    ),
}

NAMES = (
    *("sv", "sr", "sp", "st", "se", "sig", "si", "sip", "spr", "ses", "sdd", "ss", "srt", "snapshot", "rscd"),
    *("skoid", "sktid", "skt", "ske", "sks", "skv", "saoid", "suoid", "scid", "sduoid", "srh", "srq"),
    *("comp", "restype", "timeout", "prefix", "delimiter", "include", "versionid", "sharesnapshot", "where"),
)
VALUES = (
    *("", "a", "r", "rwdlacup", "b", "bs", "c", "d", "s", "f", "sco", "bf", "0", "1", "2", "99"),
    *("2012-02-12", "2015-04-05", "2018-03-28", "2020-02-10", "2026-10-06", "2099-01-01", "https,http"),
    *("list", "acl", "metadata", "properties", "block", "blocklist", "lease", "snapshot", "copy", "tags"),
    *("container", "share", "directory", "service", "account", "userdelegationkey", "dir%2F", "%0A", "%00"),
)
PATHS = (
    *(f"/open/{quote(path)}" for path in HIDDEN),
    *("/open", "/", "/hidden-container/dir/granted", "/open/dir", "/open/dir/", "//open/dir/granted"),
    *(
        "/open/dir/../hidden-1",
        "/open/dir/%2e%2e/hidden-1",
        "/open/dir%2F..%2Fhidden-1",
        "/open//dir/granted",
    ),
    *(
        "/open/dir/granted/",
        "/open/dir/granted%00",
        "/open/dir/granted/../granted-hidden-2",
        "/open/DIR/GRANTED",
    ),
    *(
        f"/{ACCOUNT}{ITEM_PATH}",
        f"/{OTHER}{ITEM_PATH}",
        "/open/dir/granted%0Ax",
        "/open/dir%2Fgranted-hidden-2",
    ),
)
HEADERS = (
    ("x-ms-copy-source", f"https://{host('blob')}/open/hidden-1"),
    ("x-ms-copy-source", f"https://{host('file')}/open/hidden-1"),
    ("x-ms-rename-source", f"https://{host('blob')}/open/hidden-1"),
    ("x-ms-file-rename-source", f"https://{host('file')}/open/hidden-1"),
    ("x-ms-version", "2012-02-12"),
    ("x-ms-version", "2019-12-12"),
    ("x-ms-blob-type", "AppendBlob"),
    ("x-ms-blob-type", "PageBlob"),
    ("x-ms-blob-public-access", "container"),
    ("x-ms-type", "file"),
    ("x-ms-content-length", "9"),
    ("x-ms-write", "update"),
    ("x-ms-range", "bytes=0-2"),
    ("x-ms-lease-action", "acquire"),
    ("x-ms-lease-duration", "-1"),
    ("x-ms-access-tier", "Cool"),
    ("x-ms-meta-a", "c"),
    ("x-ms-tags", "a=b"),
    ("x-ms-http-method", "DELETE"),
    ("x-http-method-override", "DELETE"),
    ("x-forwarded-host", host("blob", OTHER)),
    ("x-original-url", "/open/hidden-1"),
    ("Authorization", f"SharedKey {ACCOUNT}:"),
    ("Authorization", f"SharedKey {ACCOUNT}:{KEYS[OTHER]}"),
    ("Authorization", "Bearer x"),
    ("Authorization", "SharedKeyLite"),
    ("Origin", "https://page.example.org"),
)
HOSTS = (host("blob", OTHER), host("file"), host("blob"), f"{ACCOUNT}-secondary.blob.core.windows.net")
HOSTS += ("127.0.0.1:10000", "localhost", "", f"{ACCOUNT}.file.example.org")
METHODS = ("GET", "HEAD", "PUT", "DELETE", "POST", "PATCH", "OPTIONS", "MERGE")


KINDS = (
    *("value", "name", "drop", "add", "twice", "order", "encode", "path", "bend"),
    *("host", "header", "unheader", "method", "body", "service"),
)


@st.composite
def changes(draw):
    """One change to a request, as a function of it."""
    kind = draw(st.sampled_from(KINDS))
    index = draw(st.integers(0, 20))
    name, value = draw(st.sampled_from(NAMES)), draw(st.sampled_from(VALUES))
    place, char = draw(st.integers(0, 60)), draw(st.sampled_from("/?#&=%+. \\:aZ0é\n"))

    def change(request):
        query = list(request.query)
        at = index % len(query) if query else 0
        match kind:
            case "value" if query:
                given = query[at].partition("=")
                bent = value if place % 2 else given[2][:place] + quote(char) + given[2][place + 1 :]
                query[at] = f"{given[0]}={bent}"
            case "name" if query:
                given = query[at].partition("=")
                query[at] = f"{name if place % 2 else given[0].upper()}={given[2]}"
            case "drop" if query:
                del query[at]
            case "add":
                query.insert(at, f"{name}={value}")
            case "twice" if query:
                query.insert(at + place % 2, f"{query[at].partition('=')[0]}={value}")
            case "order":
                query.reverse()
            case "encode" if query:
                given = query[at].partition("=")
                query[at] = (
                    f"{given[0]}={''.join(f'%{ord(c):02x}' for c in unquote(given[2]) if ord(c) < 128)}"
                )
            case "path":
                return replace(request, path=PATHS[(index * 61 + place) % len(PATHS)])
            case "bend":
                cut = 1 + place % len(request.path)
                return replace(request, path=request.path[:cut] + quote(char) + request.path[cut:])
            case "host":
                return replace(request, host=HOSTS[index % len(HOSTS)])
            case "header":
                added, text = HEADERS[(index * 61 + place) % len(HEADERS)]
                return replace(request, headers={**request.headers, added: text})
            case "unheader":
                left = dict(list(request.headers.items())[1:])
                return replace(request, headers=left)
            case "method":
                return replace(request, method=METHODS[index % len(METHODS)])
            case "body":
                return replace(request, body=b"<BlockList><Latest>AAAA</Latest></BlockList>")
            case "service":
                other = "file" if request.service == "blob" else "blob"
                return replace(request, service=other)
        return replace(request, query=tuple(query))

    return change


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("tampered"))
    yield world
    world.close()


def filled(world, request):
    if request.query == ("{snapshot}",):
        token = generate_blob_sas(ACCOUNT, "open", PINNED, world.snapshot, permission="rtcw", **KEY)
        return replace(request, query=(f"snapshot={quote(world.snapshot)}", *token.split("&")))
    if request.query != ("{token}",):
        return request
    token = world.storage.read_sas(ItemRef(StorageService.BLOB, ACCOUNT, "open", GRANTED), EXPIRY)
    return replace(request, query=tuple(token.split("&")))


def tampered(world, request, steps):
    request = filled(world, request)
    for step in steps:
        request = step(request)
    return request


several = st.lists(changes(), min_size=1, max_size=4)


def check_reading(world, request, steps):
    request = tampered(world, request, steps)
    status, answer = world.send(request)
    assert status < 500, request
    assert b"SECRET" not in answer, (status, request)
    # A refusal may repeat what it was asked.
    assert status >= 400 or b"hidden-" not in answer, (status, request)
    assert world.tree() == world.before, request


def check_writing(world, request, steps):
    request = tampered(world, request, steps)
    status, answer = world.send(request)
    now = world.tree()
    if now != world.before:
        world.reset()
    assert status < 500, (status, request)
    assert b"SECRET" not in answer, request
    mine = (ACCOUNT, StorageService(request.service), f"open/{GRANTED}")
    assert b"SECRET" not in now.pop(mine, b"")
    assert now == {key: value for key, value in world.before.items() if key != mine}, request


def check_reading_much(world, request, steps):
    request = tampered(world, request, steps)
    status, answer = world.send(request)
    assert status < 500, (status, request)
    assert b"<EnumerationResults" not in answer
    assert b"<SignedIdentifiers" not in answer
    assert world.tree() == world.before, request


CASES = [
    *((check_reading, request) for request in READS.values()),
    *((check_writing, request) for request in WRITES.values()),
    *((check_reading_much, request) for request in WIDE.values()),
]
CASE_NAMES = [
    *(f"reading by {name}" for name in READS),
    *(f"writing by {name}" for name in WRITES),
    *(f"reading much by {name}" for name in WIDE),
]
in_every_run = settings(max_examples=40, deadline=None)
in_a_campaign = settings(max_examples=1000, deadline=None)


@pytest.mark.parametrize("request_", [*READS.values(), *WRITES.values(), *WIDE.values()])
def test_untouched_they_are_carried_out(world, request_):
    status, answer = world.send(filled(world, request_))
    world.reset()
    assert status in (200, 201, 202)
    assert request_.method != "GET" or b"granted content" in answer


@pytest.mark.parametrize(("check", "request_"), CASES, ids=CASE_NAMES)
@in_every_run
@given(steps=several)
def test_nothing_is_gained(world, check, request_, steps):
    check(world, request_, steps)


OF_CONTAINERS = (
    *("list", "acl", "metadata", "properties", "lease", "snapshot", "stats", "blobs", "batch", "undelete"),
    *("rename", "filepermission"),
)
COMPS = (
    *OF_CONTAINERS,
    *(
        "tags",
        "block",
        "blocklist",
        "appendblock",
        "page",
        "pagelist",
        "incrementalcopy",
        "copy",
        "tier",
        "seal",
    ),
    *("incrementalcopy", "expiry", "query", "immutabilityPolicies", "legalhold", "range", "rangelist"),
    *("listhandles", "forceclosehandles", "userdelegationkey"),
)
CALLS = [
    ("", ""),
    *((comp, "") for comp in COMPS),
    *((comp, restype) for comp in OF_CONTAINERS for restype in ("container", "share", "directory")),
    *(("", restype) for restype in ("container", "share", "directory", "service", "account")),
    *(("properties", restype) for restype in ("service", "account")),
]


@pytest.mark.parametrize(("check", "request_"), CASES, ids=CASE_NAMES)
def test_no_other_call_is_open(world, check, request_):
    """Each call of the services, asked for with what was granted for one."""
    for comp, restype in CALLS:
        for method in ("GET", "PUT"):
            check(world, request_, [asking(method, comp, restype)])


def asking(method, comp, restype):
    def change(request):
        more = [f"{name}={value}" for name, value in (("comp", comp), ("restype", restype)) if value]
        # Tokens are in the query; a signed request is replayed with the parameters it has.
        return replace(request, method=method, query=(*more, *request.query))

    return change


@pytest.mark.slow
@pytest.mark.parametrize(("check", "request_"), CASES, ids=CASE_NAMES)
@in_a_campaign
@given(steps=several)
def test_nothing_is_gained_in_many_tries(world, check, request_, steps):
    check(world, request_, steps)
