"""One job prints 100 MB/s: what that does to the service's answers and to other jobs.

    python benchmarks/printing.py [--rounds 4] [--megabytes 100]

In turns the job is silent and prints. In each turn GETs of a job are timed on one connection, and hello jobs
on a second node, one after another, polled without a pause.
"""

import argparse
import tempfile
import time
from pathlib import Path

from batchai import EXPERIMENT, Client
from measuring import at_least, heading, line, median, new_home, output_of, percentile, service
from queue_service import POLL_S, Api, cpu_of

GETS = 300
HELLOS = 5

# A megabyte each hundredth of a second, in larger pieces when it is late, while the file is there.
PRINTER = """
import os, sys, time
line = b"x" * 99 + b"\\n"
late = 0.0
while not os.path.exists({end!r}):
    begun = time.monotonic()
    if not os.path.exists({go!r}):
        late = 0.0
        time.sleep(0.02)
        continue
    os.write(1, line * int({pace} * 10000 * (0.01 + late)))
    time.sleep(0.01)
    late = min(0.1, time.monotonic() - begun - 0.01)
"""


def gets(api: Api) -> list[float]:
    """Milliseconds of each."""
    took = []
    for _ in range(GETS):
        begun = time.perf_counter()
        api.ask("GET", f"/experiments/{EXPERIMENT}/jobs/printer")
        took.append((time.perf_counter() - begun) * 1000)
    return took


def hellos(api: Api, cluster: str, turn: str) -> list[float]:
    """Milliseconds of each from its submission until it was seen to have succeeded."""
    took = []
    for number in range(HELLOS):
        name = f"hello{turn}-{number}"
        begun = time.perf_counter()
        api.submit(cluster, name)
        while (state := state_of(api, name)) != "succeeded":
            if state == "failed":
                raise RuntimeError(f"{name} failed")
        took.append((time.perf_counter() - begun) * 1000)
    return took


def state_of(api: Api, name: str) -> str:
    found: str = api.ask("GET", f"/experiments/{EXPERIMENT}/jobs/{name}")["properties"]["executionState"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--megabytes", type=int, default=100)
    options = parser.parse_args()
    figures: dict[bool, tuple[list[float], list[float]]] = {False: ([], []), True: ([], [])}
    costs: dict[bool, list[float]] = {False: [], True: []}
    rates = []
    heading(f"One job prints {options.megabytes} MB/s, {options.rounds} turns of each")
    with new_home() as home, service(home) as endpoint, tempfile.TemporaryDirectory() as scratch:
        # For a job of any user.
        Path(scratch).chmod(0o755)
        go, end = Path(scratch, "go"), Path(scratch, "end")
        script = Path(scratch, "printer.py")
        script.write_text(PRINTER.format(go=str(go), end=str(end), pace=options.megabytes))
        client, api = Client(endpoint), Api(endpoint)
        api.resize(2)
        api.submit(client.cluster, "printer", f"exec python3 {script}")
        while api.nodes()["idleNodeCount"] != 1 or state_of(api, "printer") != "running":
            time.sleep(POLL_S)
        while (output := output_of(home, "printer")) is None:
            time.sleep(POLL_S)
        for number in range(options.rounds):
            for printing in (False, True):
                if printing:
                    go.touch()
                else:
                    go.unlink(missing_ok=True)
                time.sleep(POLL_S)
                before, begun = output.stat().st_size, time.perf_counter()
                used = cpu_of(endpoint["pid"])
                figures[printing][0].extend(gets(api))
                costs[printing].append((cpu_of(endpoint["pid"]) - used) * 1000 / GETS)
                figures[printing][1].extend(hellos(api, client.cluster, f"{number}-{printing:d}"))
                if printing:
                    rates.append((output.stat().st_size - before) / 1e6 / (time.perf_counter() - begun))
        end.touch()
    at_least("printed", median(rates), "MB/s", None)
    line("the service's CPU for a GET", median(costs[True]), "ms", None, ("silent", median(costs[False])))
    for part, what in enumerate(("GET of a job", "hello job")):
        silent, loud = figures[False][part], figures[True][part]
        for share in (0.5, 0.95):
            beside = ("silent", percentile(silent, share))
            line(f"{what} meanwhile, p{share * 100:.0f}", percentile(loud, share), "ms", None, beside)


if __name__ == "__main__":
    main()
