"""Debian's Slurm on this machine, for the time of a measurement: one controller, one node of two CPUs."""

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_TOOLS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol")
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_LIMIT_S = 300.0

_CONFIGURATION = """\
ClusterName=benchmark
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
AuthType=auth/munge
SlurmUser={user}
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
MaxJobCount=20000
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def lacking() -> str:
    """Why Slurm cannot be measured here; "" when it can."""
    missing = [tool for tool in _TOOLS if shutil.which(tool, path=_PATH) is None]
    if missing:
        return f"{', '.join(missing)} not found (apt-get install slurm-wlm munge)"
    return "" if os.geteuid() == 0 else "it needs root"


def measure(jobs: int) -> tuple[float, float]:
    """Seconds for `jobs` calls of sbatch, and from the first of them until the queue was empty."""
    with running() as place:
        script = place / "job.sh"
        script.write_text("#!/bin/sh\ntrue\n")
        begun = time.perf_counter()
        for _ in range(jobs):
            call(place, "sbatch", "--output=/dev/null", "--chdir=/tmp", str(script))
        submitted = time.perf_counter() - begun
        deadline = time.monotonic() + _LIMIT_S
        while call(place, "squeue", "-h", "-t", "PENDING,RUNNING,COMPLETING").strip():
            if time.monotonic() > deadline:
                raise RuntimeError(f"Slurm has not drained {jobs} jobs in {_LIMIT_S:.0f} s")
            time.sleep(0.2)
        return submitted, time.perf_counter() - begun


@contextlib.contextmanager
def running() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="slurm-benchmark-"))
    started: list[subprocess.Popen[bytes]] = []
    try:
        place.chmod(0o755)
        for name in ("state", "spool"):
            (place / name).mkdir()
        host = socket.gethostname()
        values = {"host": host, "user": getpass.getuser(), "place": place}
        values |= {"controller": _free_port(), "daemon": _free_port()}
        (place / "slurm.conf").write_text(_CONFIGURATION.format(**values))
        if not Path("/run/munge/munge.socket.2").exists():
            subprocess.run(["install", "-d", "-o", "munge", "-g", "munge", "/run/munge"], check=True)
            started.append(_start(place, "runuser", "-u", "munge", "--", "munged", "--foreground"))
            _await(lambda: Path("/run/munge/munge.socket.2").exists())
        started.append(_start(place, "slurmctld", "-D", "-f", str(place / "slurm.conf")))
        started.append(_start(place, "slurmd", "-D", "-N", host, "-f", str(place / "slurm.conf")))
        _await(lambda: "idle" in call(place, "sinfo", "-h", "-o", "%T"))
        yield place
    finally:
        for process in reversed(started):
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
        shutil.rmtree(place, ignore_errors=True)


def _environment(place: Path) -> dict[str, str]:
    return {**os.environ, "PATH": _PATH, "SLURM_CONF": str(place / "slurm.conf")}


def _start(place: Path, *words: str) -> "subprocess.Popen[bytes]":
    with (place / "output").open("ab") as output:
        return subprocess.Popen(words, stdout=output, stderr=output, env=_environment(place))


def call(place: Path, *words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, env=_environment(place), check=False)
    return done.stdout


def _await(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not ready():
        if time.monotonic() > deadline:
            raise RuntimeError("Slurm does not start here")
        time.sleep(0.1)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
