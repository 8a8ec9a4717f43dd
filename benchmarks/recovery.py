"""The service is killed with -9 while jobs run: from its next start until it answers, and until it has told
of a job that ended meanwhile.

    python benchmarks/recovery.py [--rounds 5] [--nodes 1000] [--queued 100000]

Two jobs run on two nodes. The service is killed, one of them ends, and the service is started again: it
answers when a GET of the other one says that it runs, and knows its jobs again when the one that ended is
published as succeeded. The other then goes on to its own good end, and its output is looked through for gaps.
First with nothing else in the store, then with further nodes and queued jobs, put there while no service ran.
"""

import argparse
import contextlib
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from batchai import EXPERIMENT, Client
from measuring import UP, environment, free_port, heading, line, median, new_home, output_of, service
from queue_service import Api, cpu_of
from sqlalchemy import insert

from openbatchai.config import Home
from openbatchai.domain.clusters import NodeState
from openbatchai.store import tables
from openbatchai.store.secrets import SecretBox
from openbatchai.store.unit import Store, Unit, open_engine

CHUNK = 5000
PAUSE_S = 0.005
LIMIT_S = 60.0
WHILE_DOWN_S = 0.3
# Prints numbers until the file appears.
COMMAND = "i=0; until [ -e {} ]; do echo $i; i=$((i+1)); sleep 0.02; done"


# --- what else is in the store ---------------------------------------------------------------------


def fill(home: Path, nodes: int, queued: int) -> None:
    """Into the clusters `many` and `queue`, while no service runs."""
    place = Home(home)
    store = Store(open_engine(place.database), SecretBox(place.secret_key))
    try:
        store.write(partial(add_nodes, count=nodes))
        store.write(partial(add_jobs, count=queued))
    finally:
        store.close()


def make_cluster(api: Api, name: str) -> str:
    """Of no nodes. Returns its id."""
    properties = {
        "vmSize": "STANDARD_D1",
        "scaleSettings": {"manual": {"targetNodeCount": 0}},
        "userAccountSettings": {"adminUserName": "u", "adminUserPassword": "p"},
    }
    found: str = api.ask("PUT", f"/clusters/{name}", {"properties": properties})["id"]
    return found


def add_nodes(unit: Unit, count: int) -> None:
    template = unit.nodes.list(state=NodeState.IDLE)[0]
    cluster = unit.clusters.get(key="many")
    if cluster is None:
        raise LookupError("the cluster was not made")
    cluster.spec["scaleSettings"]["manual"]["targetNodeCount"] = cluster.target = count
    unit.clusters.save(cluster)
    for number in range(count):
        values = vars(template) | {"id": f"tvm-many_{number}", "cluster_id": cluster.id, "task_id": ""}
        unit.nodes.add(type(template)(**values))


def add_jobs(unit: Unit, count: int) -> None:
    row: Any = unit.connection.execute(tables.jobs.select().where(tables.jobs.c.key == "template")).one()
    values = {name: value for name, value in row._mapping.items() if name != "id"}
    for first in range(0, count, CHUNK):
        numbers = range(first, min(first + CHUNK, count))
        rows = [values | {"key": f"queued{number}", "name": f"queued{number}"} for number in numbers]
        unit.connection.execute(insert(tables.jobs), rows)


# --- kills -----------------------------------------------------------------------------------------


class Killed:
    """A service on a home, and its two nodes."""

    def __init__(self, home: Path, scratch: Path, nodes: int, queued: int) -> None:
        self._home, self._scratch, self._port = home, scratch, free_port()
        with service(home, self._port) as endpoint:
            self._cluster = Client(endpoint).cluster
            # Ports and keys stay what they are.
            self._api = Api(endpoint)
            self._api.resize(2)
            while self._api.nodes()["idleNodeCount"] < 2:
                time.sleep(PAUSE_S)
            if queued:
                make_cluster(self._api, "many")
                self._api.submit(make_cluster(self._api, "queue"), "template")
        if queued:
            fill(home, nodes, queued)
        self._process = self._start()
        self._answering()

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()

    def round(self, number: int) -> tuple[float, float, float]:
        """Seconds from the start after a kill until the service answered, and until it had told of the end;
        and those of a processor that it had used by then."""
        going, ending = f"going{number}", f"ending{number}"
        for name in (going, ending):
            self._api.submit(self._cluster, name, COMMAND.format(self._scratch / name))
        for name in (going, ending):
            self._await(name, "running")
            while len(self._output(name)) < 10:
                time.sleep(PAUSE_S)
        self._process.kill()
        self._process.wait()
        (self._scratch / ending).touch()
        time.sleep(WHILE_DOWN_S)
        begun = time.perf_counter()
        self._process = self._start()
        answered = self._await(going, "running") - begun
        known = self._await(ending, "succeeded") - begun
        used = cpu_of(self._process.pid)
        (self._scratch / going).touch()
        self._await(going, "succeeded")
        for name in (going, ending):
            found = self._output(name)
            if found != [str(i) for i in range(len(found))]:
                raise RuntimeError(f"the output of {name} has gaps")
        return answered, known, used

    def _start(self) -> "subprocess.Popen[bytes]":
        words = [*UP, "--home", str(self._home), "--port", str(self._port)]
        return subprocess.Popen(words, stdout=subprocess.DEVNULL, env=environment())

    def _answering(self) -> None:
        while True:
            with contextlib.suppress(httpx.TransportError):
                self._api.nodes()
                return
            time.sleep(PAUSE_S)

    def _await(self, name: str, wanted: str) -> float:
        """The moment at which the job was seen in this state."""
        give_up = time.perf_counter() + LIMIT_S
        state = ""
        while state != wanted:
            if state == "failed" or time.perf_counter() > give_up:
                raise RuntimeError(f"{name} is {state or 'not to be had'}, not {wanted}")
            with contextlib.suppress(httpx.TransportError):
                job = self._api.ask("GET", f"/experiments/{EXPERIMENT}/jobs/{name}")
                state = job["properties"]["executionState"]
            time.sleep(PAUSE_S)
        return time.perf_counter()

    def _output(self, name: str) -> list[str]:
        found = output_of(self._home, name)
        return found.read_text().split() if found else []


def measure(what: str, rounds: int, nodes: int, queued: int) -> None:
    with new_home() as home, tempfile.TemporaryDirectory() as scratch:
        # For jobs of any user.
        Path(scratch).chmod(0o755)
        killed = Killed(home, Path(scratch), nodes, queued)
        try:
            rows = [killed.round(number) for number in range(rounds)]
        finally:
            killed.close()
    answered, known, used = zip(*rows, strict=True)
    line(f"{what}: until it answered", median(answered), "s", 2)
    line("  the slowest", max(answered), "s", None)
    line("  until it had told of the end", median(known), "s", 2)
    line("  the slowest", max(known), "s", None)
    # What it would be on a machine with nothing else to do, as nearly nothing in it waits.
    line("  CPU time of it", median(used), "s", None)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--queued", type=int, default=100_000)
    options = parser.parse_args()
    heading(f"Killed and started again, median of {options.rounds}")
    measure("nothing queued", options.rounds, 0, 0)
    measure(f"{options.queued:,} queued", options.rounds, options.nodes, options.queued)


if __name__ == "__main__":
    main()
