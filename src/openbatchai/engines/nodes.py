"""Nodes of the local engine: an address of 127.0.0.0/8 and a slice of the machine, kept on disk.

An idle node has no process. All processes that use one root take turns by a file lock.
"""

import fcntl
import hashlib
import itertools
import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from openbatchai.domain.ports import NodeFacts, NodeRequest, NoRoomError
from openbatchai.engines.layout import Layout
from openbatchai.engines.machine import Machine
from openbatchai.engines.removal import remove_tree

_RECORD = "node.json"


@dataclass(frozen=True)
class Node:
    """`cpus` is None when the node shares the whole machine."""

    node_id: str
    address: str
    cores: int
    gpus: tuple[int, ...]
    cpus: tuple[int, ...] | None
    note: str


class Nodes:
    def __init__(self, layout: Layout, machine: Machine) -> None:
        self._layout = layout
        self._machine = machine

    def provision(self, requests: Sequence[NodeRequest]) -> list[NodeFacts]:
        with self._turn():
            present = {node.node_id: node for node in self._all()}
            for request in requests:
                if request.node_id not in present:
                    node = self._allot(request, list(present.values()))
                    self._write(node)
                    present[node.node_id] = node
            return [self._facts(present[request.node_id]) for request in requests]

    def find(self, node_id: str) -> Node | None:
        return _read(self._layout.node(node_id) / _RECORD)

    def mount_root(self, node_id: str) -> Path:
        return self._layout.node(node_id) / "mounts"

    def add_task(self, node_id: str, task_id: str) -> None:
        """Remember which tasks a node was given, for its release."""
        directory = self._layout.node(node_id) / "tasks"
        directory.mkdir(exist_ok=True)
        (directory / self._layout.task(task_id).name).touch()

    def drop_task(self, node_id: str, task_id: str) -> None:
        directory = self._layout.node(node_id) / "tasks"
        (directory / self._layout.task(task_id).name).unlink(missing_ok=True)

    def tasks(self, node_id: str) -> list[Path]:
        directory = self._layout.node(node_id) / "tasks"
        return (
            [self._layout.tasks / entry.name for entry in directory.iterdir()] if directory.is_dir() else []
        )

    def remove(self, node_id: str) -> None:
        """The record goes first: a node that is half removed is no node."""
        with self._turn():
            directory = self._layout.node(node_id)
            (directory / _RECORD).unlink(missing_ok=True)
            remove_tree(directory)

    def _allot(self, request: NodeRequest, others: list[Node]) -> Node:
        machine = self._machine
        cores = len(machine.cpus) if request.whole_machine else request.cores
        return Node(
            node_id=request.node_id,
            address=next(a for a in _addresses(self._layout.root) if a not in {n.address for n in others}),
            cores=min(cores, len(machine.cpus)),
            gpus=_free_gpus(request, machine, others),
            cpus=_free_cpus(cores, machine.cpus, others),
            note=_note(request, machine),
        )

    def _facts(self, node: Node) -> NodeFacts:
        return NodeFacts(
            node_id=node.node_id,
            address=node.address,
            host_name=socket.gethostname(),
            cores=node.cores,
            gpus=len(node.gpus),
            mount_root=str(self.mount_root(node.node_id)),
            note=node.note,
        )

    def _all(self) -> list[Node]:
        records = (_read(entry / _RECORD) for entry in self._layout.nodes.iterdir())
        return [record for record in records if record is not None]

    def _write(self, node: Node) -> None:
        directory = self._layout.node(node.node_id)
        (directory / "mounts").mkdir(parents=True, exist_ok=True)
        draft = directory / f"{_RECORD}.new"
        draft.write_text(json.dumps(asdict(node)), encoding="utf-8")
        draft.replace(directory / _RECORD)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        lock = os.open(self._layout.node_lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _read(path: Path) -> Node | None:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    cpus = stored.pop("cpus")
    gpus = stored.pop("gpus")
    return Node(**stored, gpus=tuple(gpus), cpus=None if cpus is None else tuple(cpus))


def _addresses(root: Path) -> Iterator[str]:
    """Addresses for one root. Two installations on a machine start at different places, because jobs of
    both may listen on the same well-known port."""
    digest = hashlib.sha256(os.fsencode(root)).digest()
    second = 16 + digest[0] % 224
    for third, fourth in itertools.product(range(256), range(1, 255)):
        yield f"127.{second}.{(digest[1] + third) % 256}.{fourth}"


def _free_cpus(wanted: int, cpus: tuple[int, ...], others: list[Node]) -> tuple[int, ...] | None:
    """A slice of its own where nodes fit side by side, else the whole machine for all."""
    taken = {cpu for node in others for cpu in node.cpus or ()}
    free = tuple(cpu for cpu in cpus if cpu not in taken)
    if wanted >= len(cpus) or wanted < 1 or len(free) < wanted:
        return None
    return free[:wanted]


def _free_gpus(request: NodeRequest, machine: Machine, others: list[Node]) -> tuple[int, ...]:
    """As many as the size has, or all of a smaller machine; none belongs to two nodes. Raises NoRoomError."""
    total = len(machine.gpus)
    wanted = total if request.whole_machine else min(request.gpus, total)
    taken = {gpu for node in others for gpu in node.gpus}
    free = tuple(gpu for gpu in machine.gpus if gpu not in taken)
    if len(free) < wanted:
        holders = ", ".join(sorted(node.node_id for node in others if node.gpus))
        raise NoRoomError(
            f"it needs {wanted} GPUs and {len(free)} of this machine's {total} are free; the others belong "
            f"to {holders}"
        )
    return free[:wanted]


def _note(request: NodeRequest, machine: Machine) -> str:
    remarks = []
    if request.cores > len(machine.cpus):
        remarks.append(f"the size has {request.cores} cores, this machine {len(machine.cpus)}")
    if request.gpus > len(machine.gpus):
        remarks.append(f"the size has {request.gpus} GPUs, this machine {len(machine.gpus) or 'none'}")
    return "; ".join(remarks)
