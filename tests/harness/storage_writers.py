"""Clients that write to a service which may die at any byte, and what they know of it afterwards.

Each writer has names of its own. Of every name it knows the last state that the service acknowledged, and
while a request is under way also the state that it asks for. When the service dies, one of the two must be
found: all of the old or all of the new.
"""

import base64
import hashlib
import http.client
import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode, urlsplit
from xml.etree import ElementTree

from azure.storage.blob import AccountSasPermissions, ResourceTypes, Services, generate_account_sas

from .service import Service

CONTAINER = SHARE = "kills"
VERSION = "2026-10-06"
SIZES = (0, 1, 700, 4096, 70_000, 300_000, 1_500_000, 3_000_000)
_PIECE = 1 << 16
_LEASE = "0b2ce90d-8c45-4d05-9b4a-8e30ab6b7a4b"
PAGE = 512


class KilledError(Exception):
    """The service died before its answer was read."""


class FullError(Exception):
    """The service answered that its disk is full."""


@dataclass(frozen=True)
class State:
    """An item as a client can read it."""

    body: bytes = b""
    metadata: Mapping[str, str] = field(default_factory=dict)
    kind: str = "BlockBlob"
    leased: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        digest = hashlib.md5(self.body, usedforsecurity=False).hexdigest()[:8]
        return (
            f"{self.kind}({len(self.body)} bytes {digest}, {dict(self.metadata)}, {self.leased}, {self.tags})"
        )


@dataclass
class Doubt:
    """A request whose answer was not read; `in_place` for writes that may be found half done."""

    wanted: dict[str, State | None]
    in_place: bool = False


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Client:
    """`sas` is an account SAS. `on_send(sent, total)` is called while a body goes out."""

    def __init__(self, endpoints: Mapping[str, str], account: str, sas: str) -> None:
        self._endpoints = endpoints
        self._account = account
        self._sas = sas
        self._connections: dict[str, http.client.HTTPConnection] = {}
        self.on_send: Callable[[int, int], None] = lambda sent, total: None

    def ask(
        self,
        method: str,
        service: str,
        path: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """KilledError when the service does not answer; nothing is ever sent twice."""
        parameters = urlencode(query or {})
        url = f"/{self._account}/{quote(path)}?{self._sas}{'&' if parameters else ''}{parameters}"
        try:
            connection = self._connection(service)
            connection.putrequest(method, url, skip_accept_encoding=True)
            every = {"x-ms-version": VERSION, "Content-Length": str(len(body)), **(headers or {})}
            for name, value in every.items():
                connection.putheader(name, value)
            connection.endheaders()
            for start in range(0, len(body), _PIECE):
                self.on_send(start, len(body))
                connection.send(body[start : start + _PIECE])
            self.on_send(len(body), len(body))
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise KilledError from error
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, content)

    def url(self, service: str, path: str) -> str:
        scheme, host = urlsplit(self._endpoints[service])[:2]
        return f"{scheme}://{host}/{self._account}/{quote(path)}?{self._sas}"

    def _connection(self, service: str) -> http.client.HTTPConnection:
        if service not in self._connections:
            host = urlsplit(self._endpoints[service]).netloc
            self._connections[service] = http.client.HTTPConnection(host, timeout=60)
        return self._connections[service]

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()


def account_sas(account: str, key: str) -> str:
    """Good for everything in an account, for a day."""
    every = ("read", "write", "delete", "list", "add", "create", "tag")
    return str(
        generate_account_sas(
            account,
            key,
            ResourceTypes(service=True, container=True, object=True),
            AccountSasPermissions(**dict.fromkeys(every, True)),
            datetime.now(UTC) + timedelta(days=1),
            services=Services(blob=True, fileshare=True),
        )
    )


def client_for(blob: str, file: str, account: str, key: str) -> Client:
    """`blob` and `file` are the services' own URLs, with or without the account in the path."""
    return Client({"blob": blob, "file": file}, account, account_sas(account, key))


def client_of(service: Service) -> Client:
    return client_for(service.endpoint["blob"], service.endpoint["file"], service.account, service.key)


def offered(client: Client) -> set[str]:
    """Which of the calls that not every version of this service has are answered."""
    scratch = f"{CONTAINER}/scratch"
    blob = {"x-ms-blob-type": "BlockBlob"}
    assert client.ask("PUT", "blob", scratch, None, blob, b"x").status == 201
    copy = {"x-ms-copy-source": client.url("blob", scratch)}
    page = {"x-ms-blob-type": "PageBlob", "x-ms-blob-content-length": "512"}
    file = {"x-ms-type": "file", "x-ms-content-length": "0"}
    assert client.ask("PUT", "file", f"{SHARE}/scratch", None, file).status == 201
    rename = {"x-ms-file-rename-source": client.url("file", f"{SHARE}/scratch")}
    tags = b"<Tags><TagSet><Tag><Key>t</Key><Value>1</Value></Tag></TagSet></Tags>"
    answers = {
        "copy": client.ask("PUT", "blob", f"{CONTAINER}/scratch2", None, copy),
        "page": client.ask("PUT", "blob", f"{CONTAINER}/scratch3", None, page),
        "snapshot": client.ask("PUT", "blob", scratch, {"comp": "snapshot"}),
        "tags": client.ask("PUT", "blob", scratch, {"comp": "tags"}, None, tags),
        "rename": client.ask("PUT", "file", f"{SHARE}/scratch2", {"comp": "rename"}, rename),
    }
    return {name for name, answer in answers.items() if answer.status < 300}


class Writer(ABC):
    """One client with names of its own, `w{number}/…`, in a container or a share."""

    service = ""
    container = ""

    def __init__(self, number: int | str, chance: random.Random, offered: Container[str]) -> None:
        self.offered = offered
        self.home = f"w{number}"
        self.chance = chance
        self.states: dict[str, State | None] = {}
        self.doubt: Doubt | None = None
        self.acknowledged = 0
        self.client: Client

    @abstractmethod
    def step(self) -> None:
        """One or more requests that belong together."""

    @abstractmethod
    def read(self, name: str) -> State | None: ...

    @abstractmethod
    def listed(self) -> set[str]: ...

    # --- asking

    def ask(
        self,
        method: str,
        name: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        state = self.states.get(name)
        if state is not None and state.leased:
            headers = {**(headers or {}), "x-ms-lease-id": _LEASE}
        answer = self.client.ask(method, self.service, f"{self.container}/{name}", query, headers, body)
        if (answer.status, answer.headers.get("x-ms-error-code")) == (507, "InsufficientStorage"):
            raise FullError
        assert answer.status < 300, (method, name, query, headers, answer.status, answer.body[:500])
        return answer

    def change(
        self,
        wanted: dict[str, State | None],
        method: str,
        name: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        in_place: bool = False,
        releases: bool = False,
    ) -> Answer:
        """A request that, acknowledged, makes the names `wanted`; a lease stays unless it `releases`."""
        old = self.states.get(name)
        if old is not None and old.leased and not releases and (new := wanted[name]) is not None:
            wanted = {**wanted, name: replace(new, leased=True)}
        self.doubt = Doubt(wanted, in_place)
        answer = self.ask(method, name, query, headers, body)
        self.doubt = None
        self.states.update(wanted)
        self.acknowledged += 1
        return answer

    def content(self) -> bytes:
        return self.chance.randbytes(self.chance.choice(SIZES))

    def metadata(self) -> dict[str, str]:
        return {"k": str(self.chance.randrange(1000))} if self.chance.random() < 0.7 else {}

    def existing(self, *kinds: str) -> list[str]:
        """Names with something of these kinds; not those of snapshots, which nothing can change."""
        found = self.states.items()
        return [n for n, state in found if state is not None and state.kind in kinds and "?" not in n]

    # --- afterwards

    def check(self, *, refused: bool = False) -> None:
        """Every acknowledged byte is there, and of what was under way all or nothing; nothing else is.

        `refused`: it had an answer, which was no, so it has changed nothing.
        """
        found = {name: self.read(name) for name in {*self.states, *(self.doubt.wanted if self.doubt else ())}}
        doubt, self.doubt = self.doubt, None
        for name, state in found.items():
            if doubt is None or name not in doubt.wanted:
                assert state == self.states.get(name), (name, state, self.states.get(name))
        if doubt is not None:
            got = {name: found[name] for name in doubt.wanted}
            old = {name: self.states.get(name) for name in doubt.wanted}
            if not (doubt.in_place and _mixed(old, doubt.wanted, got)):
                allowed = [old] if refused else [old, doubt.wanted]
                if any("?" in name for name in doubt.wanted) and not refused:
                    # A blob is deleted after its snapshots, one by one.
                    allowed.append({n: got[n] if "?" in n and got[n] is None else old[n] for n in old})
                assert got in allowed, (got, "is none of", allowed)
        self.states = found
        there = {name for name, state in found.items() if state is not None}
        assert self.listed() == there, self.listed() ^ there


def _mixed(old: Any, new: Any, found: Any) -> bool:
    """Whether each byte of one file is that of the one or of the other state."""
    [before], [after], [now] = old.values(), new.values(), found.values()
    if before is None or now is None or replace(now, body=b"") != replace(before, body=b""):
        return False
    if not len(before.body) == len(after.body) == len(now.body):
        return False
    return all(c in (a, b) for a, b, c in zip(before.body, after.body, now.body, strict=True))


def _meta(metadata: Mapping[str, str]) -> dict[str, str]:
    return {f"x-ms-meta-{name}": value for name, value in metadata.items()}


def _meta_of(headers: Mapping[str, str]) -> dict[str, str]:
    return {n.removeprefix("x-ms-meta-"): v for n, v in headers.items() if n.startswith("x-ms-meta-")}


class BlobWriter(Writer):
    service, container = "blob", CONTAINER

    def step(self) -> None:
        name = f"{self.home}/{self.chance.choice(('a', 'b', 'c', 'd/e', 'd/f'))}"
        state = self.states.get(name)
        if self.existing("AppendBlob") and self.chance.random() < 0.25:
            return self.append(self.chance.choice(self.existing("AppendBlob")))
        choices: list[Callable[[str], None]] = [self.put, self.put, self.new_log]
        if state is None or state.kind == "BlockBlob":
            choices += [self.blocks, self.blocks]
        if "copy" in self.offered:
            choices.append(self.copy)
        if state is not None:
            choices += [self.set_metadata, self.delete, self.lease]
            choices += [self.tag] if "tags" in self.offered else []
            choices += [self.snapshot] if "snapshot" in self.offered else []
        return self.chance.choice(choices)(name)

    def put(self, name: str) -> None:
        state = State(self.content(), self.metadata())
        headers = {"x-ms-blob-type": "BlockBlob", **_meta(state.metadata)}
        self.change({name: state}, "PUT", name, None, headers, state.body)

    def new_log(self, name: str) -> None:
        state = State(b"", self.metadata(), "AppendBlob")
        headers = {"x-ms-blob-type": "AppendBlob", **_meta(state.metadata)}
        self.change({name: state}, "PUT", name, None, headers)

    def append(self, name: str) -> None:
        state = self.states[name]
        assert state is not None
        body = self.content() or b"-"
        headers = {"x-ms-blob-condition-appendpos": str(len(state.body))}
        wanted = replace(state, body=state.body + body)
        self.change({name: wanted}, "PUT", name, {"comp": "appendblock"}, headers, body)

    def blocks(self, name: str) -> None:
        state = State(b"", self.metadata())
        identifiers = [base64.b64encode(b"%04d" % i).decode() for i in range(self.chance.randint(1, 4))]
        for identifier in identifiers:
            body = self.content() or b"-"
            self.ask("PUT", name, {"comp": "block", "blockid": identifier}, None, body)
            self.acknowledged += 1
            state = replace(state, body=state.body + body)
        entries = "".join(f"<Latest>{identifier}</Latest>" for identifier in identifiers)
        document = f"<BlockList>{entries}</BlockList>".encode()
        self.change({name: state}, "PUT", name, {"comp": "blocklist"}, _meta(state.metadata), document)

    def copy(self, name: str) -> None:
        present = self.states.get(name)
        kinds = (present.kind,) if present else ("BlockBlob", "AppendBlob")
        sources = [n for n in self.existing(*kinds) if n != name]
        if not sources:
            return self.put(name)
        source = self.chance.choice(sources)
        state = self.states[source]
        assert state is not None
        headers = {"x-ms-copy-source": self.client.url("blob", f"{CONTAINER}/{source}")}
        self.change({name: replace(state, tags={}, leased=False)}, "PUT", name, None, headers)
        return None

    def set_metadata(self, name: str) -> None:
        state = self.states[name]
        assert state is not None
        wanted = replace(state, metadata=self.metadata())
        self.change({name: wanted}, "PUT", name, {"comp": "metadata"}, _meta(wanted.metadata))

    def lease(self, name: str) -> None:
        """Acquire an infinite lease, or release the one that is held."""
        state = self.states[name]
        assert state is not None
        if state.leased:
            wanted = {name: replace(state, leased=False)}
            headers = {"x-ms-lease-action": "release"}
            self.change(wanted, "PUT", name, {"comp": "lease"}, headers, releases=True)
        else:
            headers = {
                "x-ms-lease-action": "acquire",
                "x-ms-lease-duration": "-1",
                "x-ms-proposed-lease-id": _LEASE,
            }
            self.change({name: replace(state, leased=True)}, "PUT", name, {"comp": "lease"}, headers)

    def tag(self, name: str) -> None:
        state = self.states[name]
        assert state is not None
        wanted = replace(state, tags={"t": str(self.chance.randrange(1000))})
        document = f"<Tags><TagSet><Tag><Key>t</Key><Value>{wanted.tags['t']}</Value></Tag></TagSet></Tags>"
        self.change({name: wanted}, "PUT", name, {"comp": "tags"}, None, document.encode())

    def snapshot(self, name: str) -> None:
        """The snapshot is an item of its own, that nothing done to the blob may change."""
        state = self.states[name]
        assert state is not None
        taken = self.ask("PUT", name, {"comp": "snapshot"})
        self.states[f"{name}?{taken.headers['x-ms-snapshot']}"] = replace(state, leased=False)
        self.acknowledged += 1

    def delete(self, name: str) -> None:
        snapshots = [n for n in self.states if n.startswith(f"{name}?")]
        # Always: there may be a snapshot whose answer was lost.
        headers = {"x-ms-delete-snapshots": "include"} if "snapshot" in self.offered else {}
        self.change({name: None, **dict.fromkeys(snapshots)}, "DELETE", name, None, headers)
        for gone in snapshots:
            del self.states[gone]

    def read(self, name: str) -> State | None:
        base, _, snapshot = name.partition("?")
        query = {"snapshot": snapshot} if snapshot else {}
        answer = self.client.ask("GET", "blob", f"{CONTAINER}/{base}", query)
        if answer.status == 404:
            return None
        assert answer.status == 200, (name, answer.status, answer.body[:300])
        found = {}
        if "x-ms-tag-count" in answer.headers:
            tags = self.client.ask("GET", "blob", f"{CONTAINER}/{base}", {"comp": "tags", **query})
            assert tags.status == 200, (name, tags.status, tags.body[:300])
            for tag in ElementTree.fromstring(tags.body).iter("Tag"):
                found[str(tag.findtext("Key"))] = str(tag.findtext("Value"))
        headers = answer.headers
        leased = headers.get("x-ms-lease-state") == "leased"
        return State(answer.body, _meta_of(headers), headers["x-ms-blob-type"], leased, found)

    def listed(self) -> set[str]:
        query = {"restype": "container", "comp": "list", "prefix": f"{self.home}/"}
        answer = self.client.ask("GET", "blob", CONTAINER, query)
        names = {str(found.findtext("Name")) for found in ElementTree.fromstring(answer.body).iter("Blob")}
        # Snapshots are looked at one by one: there may be one more, whose answer was lost.
        return names | {name for name, state in self.states.items() if state is not None and "?" in name}


class PageWriter(Writer):
    """Pages are written in place."""

    service, container = "blob", CONTAINER

    def step(self) -> None:
        name = f"{self.home}/{self.chance.choice('ab')}"
        state = self.states.get(name)
        if state is None or self.chance.random() < 0.1:
            size = PAGE * self.chance.randint(1, 2000)
            headers = {"x-ms-blob-type": "PageBlob", "x-ms-blob-content-length": str(size)}
            self.change({name: State(bytes(size), {}, "PageBlob")}, "PUT", name, None, headers)
            return
        pages = len(state.body) // PAGE
        first = self.chance.randrange(pages)
        start, end = PAGE * first, PAGE * self.chance.randint(first + 1, pages)
        wanted = replace(
            state, body=state.body[:start] + self.chance.randbytes(end - start) + state.body[end:]
        )
        headers = {"x-ms-page-write": "update", "x-ms-range": f"bytes={start}-{end - 1}"}
        body = wanted.body[start:end]
        self.change({name: wanted}, "PUT", name, {"comp": "page"}, headers, body, in_place=True)

    read = BlobWriter.read
    listed = BlobWriter.listed


class FileWriter(Writer):
    service, container = "file", SHARE

    def step(self) -> None:
        if self.home not in self.states:
            made = {"restype": "directory"}
            answer = self.client.ask("PUT", "file", f"{SHARE}/{self.home}", made)
            assert answer.status in (201, 409), answer
            self.states[self.home] = None
        name = f"{self.home}/{self.chance.choice('abcd')}"
        state = self.states.get(name)
        choices: list[Callable[[str], None]] = [self.create]
        if state is not None:
            choices += [self.set_metadata, self.delete]
            choices += [self.rename] if "rename" in self.offered else []
            if state.body:
                choices += [self.write] * 8
        self.chance.choice(choices)(name)

    def create(self, name: str) -> None:
        """On an existing file this empties it first: documented, and found out as a mixture."""
        if self.states.get(name) is not None:
            self.delete(name)
        state = State(bytes(self.chance.choice(SIZES)), self.metadata(), "File")
        headers = {"x-ms-type": "file", "x-ms-content-length": str(len(state.body)), **_meta(state.metadata)}
        self.change({name: state}, "PUT", name, None, headers)

    def write(self, name: str) -> None:
        state = self.states[name]
        assert state is not None
        start = self.chance.randrange(len(state.body))
        body = self.chance.randbytes(self.chance.randint(1, len(state.body) - start))
        wanted = replace(state, body=state.body[:start] + body + state.body[start + len(body) :])
        headers = {"x-ms-write": "update", "x-ms-range": f"bytes={start}-{start + len(body) - 1}"}
        self.change({name: wanted}, "PUT", name, {"comp": "range"}, headers, body, in_place=True)

    def set_metadata(self, name: str) -> None:
        state = self.states[name]
        assert state is not None
        wanted = replace(state, metadata=self.metadata())
        self.change({name: wanted}, "PUT", name, {"comp": "metadata"}, _meta(wanted.metadata))

    def rename(self, name: str) -> None:
        target = f"{self.home}/{self.chance.choice('abcd')}"
        if target == name:
            return self.set_metadata(name)
        source = self.client.url("file", f"{SHARE}/{name}")
        headers = {"x-ms-file-rename-source": source, "x-ms-file-rename-replace-if-exists": "true"}
        wanted = {name: None, target: self.states[name]}
        self.change(wanted, "PUT", target, {"comp": "rename"}, headers)
        return None

    def delete(self, name: str) -> None:
        self.change({name: None}, "DELETE", name)

    def read(self, name: str) -> State | None:
        if name == self.home:
            return None
        answer = self.client.ask("GET", "file", f"{SHARE}/{name}")
        if answer.status == 404:
            return None
        assert answer.status == 200, (name, answer.status, answer.body[:300])
        return State(answer.body, _meta_of(answer.headers), "File")

    def listed(self) -> set[str]:
        query = {"restype": "directory", "comp": "list"}
        answer = self.client.ask("GET", "file", f"{SHARE}/{self.home}", query)
        if answer.status == 404:
            return set()
        found = ElementTree.fromstring(answer.body).iter("File")
        return {f"{self.home}/{entry.findtext('Name')}" for entry in found}


class Round:
    """All writers at work until the service is killed, by a clock or when a body has gone out so far."""

    def __init__(self, writers: list[Writer], kill: Callable[[], None], chance: random.Random) -> None:
        self._writers = writers
        self._kill = kill
        self._chance = chance
        self._first = threading.Event()
        self._lock = threading.Lock()
        self._killed = False
        self.failures: list[BaseException] = []

    def run(self) -> None:
        victim = self._chance.choice(self._writers)
        by_bytes = self._chance.random() < 0.5
        fraction, after = self._chance.random(), self._chance.randint(1, 6)
        threads = [
            threading.Thread(target=self._work, args=(writer,), daemon=True) for writer in self._writers
        ]
        if by_bytes:
            start = victim.acknowledged

            def watch(sent: int, total: int) -> None:
                if victim.acknowledged - start >= after and sent >= fraction * total:
                    self._kill_once()

            victim.client.on_send = watch
        for thread in threads:
            thread.start()
        self._first.wait(60)
        if not by_bytes:
            pause = threading.Event()
            pause.wait(self._chance.uniform(0, 0.15))
            self._kill_once()
        for thread in threads:
            thread.join(120)
            assert not thread.is_alive()
        if self.failures:
            raise self.failures[0]

    def _kill_once(self) -> None:
        with self._lock:
            if not self._killed:
                self._killed = True
                self._kill()

    def _work(self, writer: Writer) -> None:
        before = writer.acknowledged
        try:
            while True:
                writer.step()
                if writer.acknowledged > before:
                    self._first.set()
        except KilledError:
            pass
        except BaseException as error:
            self.failures.append(error)
            self._kill_once()
        finally:
            writer.client.on_send = lambda sent, total: None
