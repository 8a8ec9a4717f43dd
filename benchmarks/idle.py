"""What the service costs while nothing happens, with 100 idle nodes.

python benchmarks/idle.py [--nodes 100] [--seconds 60]
"""

import argparse
import time

from batchai import Client
from measuring import heading, line, new_home, service
from queue_service import POLL_S, Api, cpu_of


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    heading(f"An idle service with {options.nodes} nodes")
    with new_home() as home, service(home) as endpoint:
        Client(endpoint)
        api = Api(endpoint)
        api.resize(options.nodes)
        while api.nodes()["idleNodeCount"] < options.nodes:
            time.sleep(POLL_S)
        # What was just made settles.
        time.sleep(10)
        before, begun = cpu_of(endpoint["pid"]), time.monotonic()
        time.sleep(options.seconds)
        used = cpu_of(endpoint["pid"]) - before
        share = 100 * used / (time.monotonic() - begun)
        line("CPU of the service", share, "%", 1)


if __name__ == "__main__":
    main()
