"""A hello job through azure-mgmt-batchai 7.0.0, polling every 50 ms; and single requests.

    python benchmarks/hello_job.py [--jobs 40]

Total: from the call of `begin_create` to the poll that says succeeded. Ours: from the service's receipt of
the job (creationTime) to its publication of the end (executionStateTransitionTime), the job's own process
included. GET and PUT are timed by a bare HTTPS client on one connection: token check and durable commit
included, the SDK's own work not.
"""

import argparse
import os
import ssl
import time
from pathlib import Path
from typing import Any

import httpx
from batchai import EXPERIMENT, GROUP, WORKSPACE, Client
from measuring import heading, line, median, new_home, percentile, service

POLL_S = 0.05
PEERS = (("submitit", 1.0), ("Ray Jobs", 1.2), ("sbatch tuned", 1.0))
REQUESTS = 200


def hello(client: Client, name: str) -> tuple[float, float]:
    """Seconds in all, and those of the service."""
    begun = time.perf_counter()
    client.submit(name, "echo hello")
    job = client.wait(name, "succeeded", POLL_S)
    total = time.perf_counter() - begun
    return total, (job.execution_state_transition_time - job.creation_time).total_seconds()


def requests(endpoint: dict[str, Any], client: Client) -> tuple[list[float], list[float]]:
    """Milliseconds of each GET of a job and of each PUT of a new one."""
    form = {
        "grant_type": "client_credentials",
        "client_id": endpoint["client_id"],
        "client_secret": endpoint["client_secret"],
        "resource": "https://management.core.windows.net/",
    }
    context = ssl.create_default_context(cafile=endpoint["ca_bundle"])
    with httpx.Client(base_url=endpoint["arm"], verify=context, trust_env=False) as http:
        token = http.post(f"/{endpoint['tenant']}/oauth2/token", data=form).json()["access_token"]
        http.headers["Authorization"] = f"Bearer {token}"
        place = f"/subscriptions/{endpoint['subscription_id']}/resourceGroups/{GROUP}/providers"
        place += f"/Microsoft.BatchAI/workspaces/{WORKSPACE}/experiments/{EXPERIMENT}/jobs"
        # More nodes than there are: the jobs stay queued, and only the requests are timed.
        body = {
            "properties": {
                "cluster": {"id": client.cluster},
                "nodeCount": 100,
                "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/share",
                "customToolkitSettings": {"commandLine": "true"},
            }
        }
        puts = [timed(http, "PUT", f"{place}/queued{i}", body) for i in range(REQUESTS)]
        gets = [timed(http, "GET", f"{place}/queued{i}") for i in range(REQUESTS)]
        return gets, puts


def fsyncs(directory: Path) -> list[float]:
    """Milliseconds of what each durable commit waits for at least."""
    took = []
    with (directory / "fsync").open("wb") as file:
        for _ in range(REQUESTS):
            begun = time.perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            took.append((time.perf_counter() - begun) * 1000)
    return took


def timed(http: httpx.Client, method: str, path: str, body: Any = None) -> float:
    begun = time.perf_counter()
    http.request(method, path, params={"api-version": "2018-05-01"}, json=body).raise_for_status()
    return (time.perf_counter() - begun) * 1000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=40)
    count = parser.parse_args().jobs
    with new_home() as home, service(home) as endpoint:
        client = Client(endpoint)
        hello(client, "warm-up")
        figures = [hello(client, f"hello{i}") for i in range(count)]
        gets, puts = requests(endpoint, client)
        syncs = fsyncs(home)
    totals, ours = ([pair[i] for pair in figures] for i in (0, 1))
    heading(f"Hello job, {count} jobs")
    line("submit to succeeded, p50", median(totals), "s", 0.5, *PEERS)
    line("submit to succeeded, p95", percentile(totals, 0.95), "s", None)
    line("of it ours, p50", median(ours), "s", 0.15)
    line("of it ours, p95", percentile(ours, 0.95), "s", 0.3)
    line("GET of a job, p50", median(gets), "ms", 2, ("prototype", 0.5))
    line("PUT of a job, p50", median(puts), "ms", 5, ("prototype", 0.7))
    line("one fsync of 4 KiB on this disk, p50", median(syncs), "ms", None)


if __name__ == "__main__":
    main()
