"""`python -m cntk launch`: the processes of a distributed training on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Where processes of one machine meet; the workers of a launch find the name in their environment.
MEETING_FILE = "OPENBATCHAI_CNTK_MEETING_FILE"


@dataclass(frozen=True)
class Job:
    """How many processes, and where."""

    workers: int
    nodes: int = 1
    node_rank: int = 0
    master_address: str = ""
    master_port: int = 29500


def environments(job: Job, base: Mapping[str, str]) -> list[dict[str, str]]:
    """The environment of each process of this machine; the names are those of torchrun."""
    result = []
    for local_rank in range(job.workers):
        environment = dict(base)
        # What a launcher around this one says of itself is not for the workers.
        for name in ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "PMI_RANK", "PMI_SIZE"):
            environment.pop(name, None)
        environment |= {
            "RANK": str(job.node_rank * job.workers + local_rank),
            "WORLD_SIZE": str(job.nodes * job.workers),
            "LOCAL_RANK": str(local_rank),
            "LOCAL_WORLD_SIZE": str(job.workers),
        }
        if job.nodes > 1:
            environment |= {"MASTER_ADDR": job.master_address, "MASTER_PORT": str(job.master_port)}
        else:
            environment.pop("MASTER_ADDR", None)
            environment.pop("MASTER_PORT", None)
        # The machine's cores are shared out, or every worker would use all of them.
        cores = os.cpu_count() or 1
        environment.setdefault("OMP_NUM_THREADS", str(max(cores // job.workers, 1)))
        result.append(environment)
    return result


def run(job: Job, command: Sequence[str]) -> int:
    """Run the processes to their end; the first one that fails ends the others.  Returns its exit code.

    SIGTERM ends them too.
    """
    # Else it would end this process on the spot, and leave the others and the folder behind.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="openbatchai-cntk-") as folder:
        return _run(job, command, {**os.environ, MEETING_FILE: f"{folder}/meeting"})


def _run(job: Job, command: Sequence[str], environment: Mapping[str, str]) -> int:
    processes = [subprocess.Popen(list(command), env=env) for env in environments(job, environment)]
    codes: list[int | None] = [None]
    try:
        while None in codes and not any(codes):
            time.sleep(0.05)
            codes = [process.poll() for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    failed = next((code for code in codes if code), 0)
    return failed if failed >= 0 else 128 - failed
