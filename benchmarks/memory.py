"""Memory: PSS of the service with one idle node, and what one running job adds.

    python benchmarks/memory.py [--rounds 3]

PSS counts each shared page by its share, so that the sum over processes is what they cost the machine. A
job's figure is its agent's; what its command itself takes is not ours.
"""

import argparse
import time

import psutil
from batchai import Client
from measuring import heading, line, median, new_home, service

PEERS = (("Azurite (Blob alone)", 89.0), ("dstack", 195.0), ("Ray", 733.0))
MIB = 2**20


def pss(process: psutil.Process) -> float:
    return float(process.memory_full_info().pss) / MIB


def measure() -> tuple[float, float]:
    """PSS in MiB: the service with an idle node, and what a running job adds to everything."""
    with new_home() as home, service(home) as endpoint:
        client = Client(endpoint)
        client.submit("warm-up", "true")
        client.wait("warm-up", "succeeded")
        process = psutil.Process(endpoint["pid"])
        idle = pss(process)
        client.submit("sleeper", "exec sleep 600")
        client.wait("sleeper", "running")
        sleeping = find("600")
        # The agent is the parent of the job's command.
        added = pss(process) - idle + pss(sleeping.parent())
        client.delete_group()
        return idle, added


def find(argument: str) -> psutil.Process:
    """The job's own process, as soon as it is there."""
    while True:
        for process in psutil.process_iter(["cmdline"]):
            if process.info["cmdline"] == ["sleep", argument]:
                return process
        time.sleep(0.01)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    figures = [measure() for _ in range(rounds)]
    heading(f"Memory (PSS), median of {rounds}")
    line("service with one idle node", median([idle for idle, _ in figures]), "MiB", 120, *PEERS)
    line("one running job adds", median([added for _, added in figures]), "MiB", 15)


if __name__ == "__main__":
    main()
