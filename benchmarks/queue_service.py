"""A real service under a long queue: submissions per second, then jobs drained per second on two local nodes,
at the beginning and at the end of the queue, beside Slurm in the same run.

    python benchmarks/queue_service.py [--jobs 10000] [--slurm-jobs 100] [--no-slurm]

The jobs are `true`. Submitted over HTTPS by a few connections while the cluster has no nodes, then drained
by two. Slurm is Debian's (`apt-get install slurm-wlm munge`, needs root) with its scheduler's delays off;
without it its part is left out, which is said.
"""

import argparse
import concurrent.futures
import itertools
import ssl
import time
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil
import slurm
from batchai import CLUSTER, EXPERIMENT, GROUP, WORKSPACE, Client
from measuring import at_least, heading, line, new_home, service

CONNECTIONS = 4
POLL_S = 0.5


class Api:
    """Bare HTTPS to the management port, one connection."""

    def __init__(self, endpoint: dict[str, Any]) -> None:
        self._endpoint = endpoint
        context = ssl.create_default_context(cafile=endpoint["ca_bundle"])
        self._http = httpx.Client(base_url=endpoint["arm"], verify=context, trust_env=False, timeout=60)
        form = {
            "grant_type": "client_credentials",
            "client_id": endpoint["client_id"],
            "client_secret": endpoint["client_secret"],
            "resource": "https://management.core.windows.net/",
        }
        token = self._http.post(f"/{endpoint['tenant']}/oauth2/token", data=form).json()["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"
        self._workspace = (
            f"/subscriptions/{endpoint['subscription_id']}/resourceGroups/{GROUP}/providers"
            f"/Microsoft.BatchAI/workspaces/{WORKSPACE}"
        )

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._http.request(
            method, self._workspace + path, params={"api-version": "2018-05-01"}, json=body
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def submit(self, cluster: str, name: str, command: str = "true") -> None:
        body = {
            "properties": {
                "cluster": {"id": cluster},
                "nodeCount": 1,
                "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/share",
                "customToolkitSettings": {"commandLine": command},
            }
        }
        self.ask("PUT", f"/experiments/{EXPERIMENT}/jobs/{name}", body)

    def resize(self, count: int) -> None:
        scale = {"scaleSettings": {"manual": {"targetNodeCount": count}}}
        self.ask("PATCH", f"/clusters/{CLUSTER}", {"properties": scale})

    def nodes(self) -> dict[str, int]:
        found: dict[str, int] = self.ask("GET", f"/clusters/{CLUSTER}")["properties"]["nodeStateCounts"]
        return found

    def metrics(self) -> dict[str, float]:
        """Jobs by state."""
        found = {}
        for row in self._http.get("/metrics").text.splitlines():
            if row.startswith("batchai_jobs{"):
                state, value = row.removeprefix('batchai_jobs{state="').split('"} ')
                found[state] = float(value)
        return found


class Seen(NamedTuple):
    """At one moment: seconds since the beginning, jobs submitted or finished until then, and CPU seconds of
    the service and of its ended children."""

    at: float
    done: float
    service: float
    ended: float


def submit(endpoint: dict[str, Any], cluster: str, count: int) -> list[Seen]:
    """By a few connections; as seen at every hundredth submission of each, and at the end."""
    seen: list[Seen] = []
    begun = time.perf_counter()
    done = itertools.count(1)

    def look(number: int) -> None:
        pid = endpoint["pid"]
        seen.append(Seen(time.perf_counter() - begun, number, cpu_of(pid), cpu_of_ended(pid)))

    def work(which: int) -> None:
        api = Api(endpoint)
        for number in range(which, count, CONNECTIONS):
            api.submit(cluster, f"j{number}")
            if (so_far := next(done)) % 100 == 0:
                look(so_far)

    look(0)
    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(work, range(CONNECTIONS)))
    look(count)
    return sorted(seen)


def drain(api: Api, pid: int, count: int) -> list[Seen]:
    """As seen by polling, until all are done."""
    seen = []
    begun = time.perf_counter()
    while True:
        found = api.metrics()
        done = found.get("succeeded", 0) + found.get("failed", 0)
        seen.append(Seen(time.perf_counter() - begun, done, cpu_of(pid), cpu_of_ended(pid)))
        if found.get("failed"):
            raise RuntimeError("jobs failed")
        if done >= count:
            return seen
        time.sleep(POLL_S)


def print_parts(what: str, seen: list[Seen], bar: float) -> None:
    """All of it, its first tenth and its last: per second, and what each job cost."""
    count = seen[-1].done
    for name, low, high in (
        (what, 0.0, 1.0),
        ("the first tenth of them", 0.0, 0.1),
        ("the last tenth", 0.9, 1.0),
    ):
        first = next(entry for entry in seen if entry.done >= low * count)
        last = next(entry for entry in seen if entry.done >= high * count)
        jobs = max(last.done - first.done, 1)
        at_least(name, jobs / max(last.at - first.at, 1e-9), "/s", bar if name == what else None)
        line("  the service's CPU for each", 1000 * (last.service - first.service) / jobs, "ms", None)
        if ended := last.ended - first.ended:
            line("  its agents' and processes' CPU for each", 1000 * ended / jobs, "ms", None)


def cpu_of(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def cpu_of_ended(pid: int) -> float:
    """Of the children that have ended: of a service, its agents with the processes of their jobs."""
    times = psutil.Process(pid).cpu_times()
    return times.children_user + times.children_system


def measure(jobs: int) -> None:
    with new_home() as home, service(home) as endpoint:
        client = Client(endpoint)
        api = Api(endpoint)
        api.resize(0)
        while sum(api.nodes().values()):
            time.sleep(POLL_S)
        print_parts(f"{jobs} submissions", submit(endpoint, client.cluster, jobs), 100)
        api.resize(2)
        print_parts("drained on two nodes", drain(api, endpoint["pid"], jobs), 20)
        line("database", database_bytes(home) / jobs / 1024, "KiB/job", None)


def database_bytes(home: Path) -> int:
    return sum(file.stat().st_size for file in home.glob("control.db*"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--slurm-jobs", type=int, default=100)
    parser.add_argument("--no-slurm", action="store_true")
    options = parser.parse_args()
    heading("A queue through the service")
    measure(options.jobs)
    if options.no_slurm:
        return
    lacking = slurm.lacking()
    if lacking:
        print(f"  Slurm is left out: {lacking}")
        return
    took, drained = slurm.measure(options.slurm_jobs)
    at_least(f"Slurm: {options.slurm_jobs} sbatch", options.slurm_jobs / took, "/s", None)
    at_least("Slurm: drained on two CPUs", options.slurm_jobs / drained, "/s", None)


if __name__ == "__main__":
    main()
