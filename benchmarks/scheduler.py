"""What a decision of the scheduler costs, by the number of nodes and the length of the queue.

    python benchmarks/scheduler.py [--rounds 200] [--largest]

A deterministic simulation (simulation.py) over the real store and services. Each figure is the time from an
event to its decisions committed to the disk, the update of the scheduler's view included:

- a job ends: it succeeds, the next of the queue starts on its node;
- a job is submitted: nothing is free, it waits; the commit of the submission itself is not counted;
- rebuild: the view is loaded from the store and a first round decided, as a start does.

Memory is that of the view itself, for each queued job. `--largest` adds 10,000 nodes.
"""

import argparse
import gc
import time
import tracemalloc
from collections.abc import Callable

from measuring import heading, line, median, new_home, percentile
from simulation import Simulation, simulation

from openbatchai.services.keeping import load

SIZES = [(10, 1_000), (100, 1_000), (1_000, 1_000), (1_000, 10_000), (1_000, 100_000)]
LARGEST = [(10_000, 1_000), (10_000, 100_000)]
BAR_MS, REBUILD_BAR_S = 50.0, 2.0


def timed(work: Callable[[], object]) -> float:
    """Milliseconds."""
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1000


def submissions(world: Simulation, rounds: int) -> list[float]:
    took = []
    for _ in range(rounds):
        world.submit()
        took.append(timed(world.decide))
    return took


def bytes_per_job(world: Simulation, queued: int) -> float:
    """Of the view as loaded, but for what it holds without a queue."""
    with world.store.read() as unit:
        gc.collect()
        tracemalloc.start()
        view = load(unit.connection)
        gc.collect()
        whole = tracemalloc.get_traced_memory()[0]
        for cluster in view.clusters.values():
            cluster.queue = type(cluster.queue)()
        gc.collect()
        rest = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    return (whole - rest) / queued


def measure(nodes: int, queued: int, rounds: int) -> None:
    print(f"  {nodes:,} nodes, {queued:,} queued jobs")
    judged = (nodes, queued) == (1_000, 100_000)
    with new_home() as home, simulation(home, nodes, queued) as world:
        rebuild = timed(world.rebuild) / 1000
        ends, cpu = [], []
        for _ in range(min(rounds, nodes)):
            ends.append(timed(world.end_a_job))
            cpu.append(world.cpu_ms)
        waits = submissions(world, rounds)
        memory = bytes_per_job(world, queued)
    bar = BAR_MS if judged else None
    line("  a job ends, p50", median(ends), "ms", bar)
    line("  a job ends, p99", percentile(ends, 0.99), "ms", bar)
    line("  of it CPU, p50", median(cpu), "ms", None)
    line("  a job is submitted, p50", median(waits), "ms", bar)
    line("  a job is submitted, p99", percentile(waits, 0.99), "ms", bar)
    line("  rebuild at start", rebuild, "s", REBUILD_BAR_S if judged else None)
    line("  the view, for each queued job", memory, "bytes", None)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--largest", action="store_true")
    options = parser.parse_args()
    heading("The scheduler: from an event to its decisions on the disk")
    for nodes, queued in SIZES + (LARGEST if options.largest else []):
        measure(nodes, queued, options.rounds)


if __name__ == "__main__":
    main()
