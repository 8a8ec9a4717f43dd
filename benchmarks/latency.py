"""Hello jobs one after another: from their submission until their process runs, and until they are seen to
have succeeded; beside Ray's job client, submitit's local executor and sbatch in the same run.

    python benchmarks/latency.py [--jobs 100] [--peer-jobs 30] [--peers ray,submitit,slurm]

Each job is `date +%s.%N > FILE`: when its process ran it says itself. Ours goes through azure-mgmt-batchai
7.0.0; all are polled every 50 ms. "Of it ours" is what the service knows of: from its receipt of the job
(creationTime) to its publication of the end (executionStateTransitionTime), less what the same command takes
by itself. Ray and submitit come by pip into ~/.cache/openbatchai-bench/peers, Slurm from the system
(`apt-get install slurm-wlm munge`, root); who cannot be had is left out, which is said.
"""

import argparse
import contextlib
import json
import shutil
import subprocess
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import slurm
from batchai import Client
from measuring import environment, heading, line, median, new_home, percentile, service
from storage_peers import CACHE

POLL_S = 0.05
PEERS = CACHE / "peers"
DISTRIBUTIONS = {"ray": "ray[default]", "submitit": "submitit"}
_START_S = 120.0

# For each job: seconds until its process ran, and until it was seen to have succeeded.
Times = list[tuple[float, float]]


def command(stamp: Path) -> str:
    return f"date +%s.%N > {stamp}"


def ours(endpoint: dict[str, Any], jobs: int, directory: Path) -> tuple[Times, list[float]]:
    """And the seconds that were the service's."""
    client = Client(endpoint)
    times: Times = []
    inside = []
    # The first warms up.
    for number in range(jobs + 1):
        stamp = directory / f"ours{number}"
        begun = time.time()
        client.submit(f"hello{number}", command(stamp))
        job = client.wait(f"hello{number}", "succeeded", POLL_S)
        times.append((float(stamp.read_text()) - begun, time.time() - begun))
        inside.append((job.execution_state_transition_time - job.creation_time).total_seconds())
    return times[1:], inside[1:]


def alone(directory: Path, jobs: int) -> float:
    """Seconds of the command by itself, p50."""
    took = []
    for _ in range(jobs):
        begun = time.perf_counter()
        subprocess.run(["/bin/bash", "-c", command(directory / "alone")], check=True)
        took.append(time.perf_counter() - begun)
    return median(took)


# --- peers -----------------------------------------------------------------------------------------


def of_ray(jobs: int, directory: Path) -> Times:
    ray = str(PEERS / "bin" / "ray")
    words = ["start", "--head", "--dashboard-host=127.0.0.1", "--node-ip-address=127.0.0.1"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": _alone()}
    subprocess.run([ray, *words, "--disable-usage-stats"], check=True, **quiet)  # type: ignore[call-overload]
    try:
        return _in_venv("ray", jobs, directory)
    finally:
        subprocess.run([ray, "stop"], check=False, **quiet)  # type: ignore[call-overload]


def of_submitit(jobs: int, directory: Path) -> Times:
    return _in_venv("submitit", jobs, directory)


def of_slurm(jobs: int, directory: Path) -> Times:
    times = []
    with slurm.running() as place:
        for number in range(jobs + 1):
            stamp, script = directory / f"slurm{number}", place / f"job{number}.sh"
            script.write_text(f"#!/bin/sh\n{command(stamp)}\n")
            begun = time.time()
            told = slurm.call(
                place, "sbatch", "--parsable", "--output=/dev/null", "--chdir=/tmp", str(script)
            )
            state = ""
            while state != "COMPLETED":
                if time.time() > begun + _START_S:
                    raise RuntimeError(f"the job of Slurm is {state or told}")
                state = slurm.call(place, "squeue", "-h", "-t", "all", "-j", told.strip(), "-o", "%T").strip()
                if state != "COMPLETED":
                    time.sleep(POLL_S)
            times.append((float(stamp.read_text()) - begun, time.time() - begun))
    return times[1:]


def _in_venv(which: str, jobs: int, directory: Path) -> Times:
    script = Path(__file__).with_name("latency_peers.py")
    words = [str(PEERS / "bin" / "python"), str(script), which, str(jobs), str(directory)]
    done = subprocess.run(words, check=True, capture_output=True, text=True, env=_alone())
    times: Times = json.loads(done.stdout.splitlines()[-1])
    return times


def _alone() -> dict[str, str]:
    """Nothing of ours on the peers' path."""
    kept = environment()
    kept.pop("PYTHONPATH", None)
    return kept


def lacking(which: str) -> str:
    """Why a peer cannot be measured here; "" when it can. Installs what pip can install."""
    if which == "slurm":
        return slurm.lacking()
    python = PEERS / "bin" / "python"
    if not python.exists():
        venv.create(PEERS, with_pip=True)
    if subprocess.run([str(python), "-c", f"import {which}"], capture_output=True).returncode == 0:
        return ""
    install = [str(python), "-m", "pip", "install", "-q", DISTRIBUTIONS[which]]
    done = subprocess.run(install, capture_output=True, text=True)
    return "" if done.returncode == 0 else f"pip cannot install it ({done.stderr.strip()[-200:]})"


@contextlib.contextmanager
def open_to_all() -> Iterator[Path]:
    """A directory that a job of any user may write in."""
    directory = Path(tempfile.mkdtemp(prefix="openbatchai-latency-"))
    try:
        directory.chmod(0o777)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--peer-jobs", type=int, default=30)
    parser.add_argument("--peers", default="ray,submitit,slurm")
    options = parser.parse_args()
    found: dict[str, Times] = {}
    measures: dict[str, Callable[[int, Path], Times]]
    measures = {"ray": of_ray, "submitit": of_submitit, "slurm": of_slurm}
    heading(f"Hello job, {options.jobs} of ours and {options.peer_jobs} of each peer, one after another")
    with open_to_all() as directory:
        with new_home() as home, service(home) as endpoint:
            times, inside = ours(endpoint, options.jobs, directory)
        by_itself = alone(directory, options.jobs)
        for which in filter(None, options.peers.split(",")):
            if reason := lacking(which):
                print(f"  {which} is left out: {reason}")
                continue
            try:
                found[which] = measures[which](options.peer_jobs, directory)
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                print(f"  {which} is left out: it does not run here ({error})")
    for share, name in ((0.5, "p50"), (0.95, "p95")):
        for part, what in enumerate(("process running", "succeeded")):
            peers = [
                (which, percentile([pair[part] for pair in rows], share)) for which, rows in found.items()
            ]
            bar = 0.5 if (part, share) == (1, 0.5) else None
            value = percentile([pair[part] for pair in times], share)
            line(f"submit to {what}, {name}", value, "s", bar, *peers)
    net = [seconds - by_itself for seconds in inside]
    line("of it ours, p50", median(net), "s", 0.15)
    line("of it ours, p95", percentile(net, 0.95), "s", 0.3)
    line("the command by itself, p50", by_itself, "s", None)


if __name__ == "__main__":
    main()
