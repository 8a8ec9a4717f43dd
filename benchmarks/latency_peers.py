"""Hello jobs one after another, through Ray's job client or submitit's local executor.

    PEERS_VENV/bin/python benchmarks/latency_peers.py ray|submitit JOBS DIRECTORY

Run by latency.py, with the interpreter of the virtual environment that has them. The last line of its output
is JSON: for each job the seconds from its submission until its process ran, and until it was seen to have
succeeded, polling as often as ours is polled.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

POLL_S = 0.05

# Submits the command; returns what says whether it has succeeded.
Submit = Callable[[str], Callable[[], bool]]


def through_ray() -> Submit:
    from ray.job_submission import JobStatus, JobSubmissionClient

    client = JobSubmissionClient("http://127.0.0.1:8265")

    def submit(command: str) -> Callable[[], bool]:
        job = client.submit_job(entrypoint=command)
        return lambda: bool(client.get_job_status(job) == JobStatus.SUCCEEDED)

    return submit


def through_submitit(directory: Path) -> Submit:
    import submitit

    executor = submitit.LocalExecutor(folder=directory / "submitit")

    def submit(command: str) -> Callable[[], bool]:
        job = executor.submit(subprocess.check_call, command, shell=True)
        return lambda: bool(job.done(force_check=True) and job.result() == 0)

    return submit


def measure(submit: Submit, jobs: int, directory: Path) -> list[tuple[float, float]]:
    times = []
    # The first warms up.
    for number in range(jobs + 1):
        stamp = directory / f"ran{number}"
        begun = time.time()
        succeeded = submit(f"date +%s.%N > {stamp}")
        while not succeeded():
            time.sleep(POLL_S)
        times.append((float(stamp.read_text()) - begun, time.time() - begun))
    return times[1:]


def main() -> None:
    which, jobs, place = sys.argv[1:]
    directory = Path(place)
    submit = through_ray() if which == "ray" else through_submitit(directory)
    print(json.dumps(measure(submit, int(jobs), directory)))


if __name__ == "__main__":
    main()
