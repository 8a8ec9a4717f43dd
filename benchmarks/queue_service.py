"""A real service under a long queue: submissions per second, then jobs drained per second on two local nodes,
at the beginning and at the end of the queue, beside Slurm in the same run.

    python benchmarks/queue_service.py [--jobs 10000] [--slurm-jobs 100] [--no-slurm]

The jobs are `true`. Submitted over HTTPS by a few connections while the cluster has no nodes, then drained
by two. Slurm is Debian's (`apt-get install slurm-wlm munge`, needs root) with its scheduler's delays off;
without it its part is left out, which is said.
"""

import argparse
import concurrent.futures
import ssl
import time
from pathlib import Path
from typing import Any

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

    def submit(self, cluster: str, name: str) -> None:
        body = {
            "properties": {
                "cluster": {"id": cluster},
                "nodeCount": 1,
                "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/share",
                "customToolkitSettings": {"commandLine": "true"},
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


def submit(endpoint: dict[str, Any], cluster: str, count: int) -> tuple[float, list[float]]:
    """Seconds in all, and the moment of every hundredth submission."""
    moments: list[float] = []
    begun = time.perf_counter()

    def work(which: int) -> None:
        api = Api(endpoint)
        for number in range(which, count, CONNECTIONS):
            api.submit(cluster, f"j{number}")
            if number % 100 == 99:
                moments.append(time.perf_counter() - begun)

    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(work, range(CONNECTIONS)))
    return time.perf_counter() - begun, sorted(moments)


def drain(api: Api, count: int) -> list[tuple[float, float]]:
    """(seconds, jobs done) as seen by polling, until all are done."""
    seen = []
    begun = time.perf_counter()
    while True:
        found = api.metrics()
        done = found.get("succeeded", 0) + found.get("failed", 0)
        seen.append((time.perf_counter() - begun, done))
        if found.get("failed"):
            raise RuntimeError("jobs failed")
        if done >= count:
            return seen
        time.sleep(POLL_S)


def rate_between(seen: list[tuple[float, float]], low: float, high: float) -> float:
    """Jobs per second between two counts of finished jobs."""
    first = next(entry for entry in seen if entry[1] >= low)
    last = next(entry for entry in seen if entry[1] >= high)
    return (last[1] - first[1]) / max(last[0] - first[0], 1e-9)


def cpu_of(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def measure(jobs: int) -> None:
    with new_home() as home, service(home) as endpoint:
        client = Client(endpoint)
        api = Api(endpoint)
        api.resize(0)
        while sum(api.nodes().values()):
            time.sleep(POLL_S)
        before = cpu_of(endpoint["pid"])
        took, moments = submit(endpoint, client.cluster, jobs)
        spent = cpu_of(endpoint["pid"]) - before
        at_least(f"{jobs} submissions", jobs / took, "/s", 100)
        if len(moments) >= 20:
            tenth = len(moments) // 10
            at_least("the first tenth of them", 100 * tenth / moments[tenth - 1], "/s", None)
            at_least("the last tenth", 100 * tenth / (moments[-1] - moments[-tenth - 1]), "/s", None)
        line("the service's CPU for each", 1000 * spent / jobs, "ms", None)
        before = cpu_of(endpoint["pid"])
        api.resize(2)
        seen = drain(api, jobs)
        spent = cpu_of(endpoint["pid"]) - before
        at_least("drained on two nodes", jobs / seen[-1][0], "/s", 20)
        at_least("the first tenth of them", rate_between(seen, 1, jobs / 10), "/s", None)
        at_least("the last tenth", rate_between(seen, jobs * 9 / 10, jobs), "/s", None)
        line("the service's CPU for each", 1000 * spent / jobs, "ms", None)
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
