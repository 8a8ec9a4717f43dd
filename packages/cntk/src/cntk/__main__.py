"""`python -m cntk info` and `python -m cntk launch`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m cntk", description="CNTK's Python API on PyTorch")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="print versions and the device")
    launch = commands.add_parser("launch", help="run a script in several processes that train together")
    launch.add_argument("-n", "--workers", type=int, required=True, help="processes on this machine")
    launch.add_argument("--nodes", type=int, default=1, help="machines; run this command on each of them")
    launch.add_argument("--node-rank", type=int, default=0, help="this machine's number, from 0")
    launch.add_argument("--master-addr", default="", help="the first machine's address (several machines)")
    launch.add_argument("--master-port", type=int, default=29500, help="a free port there")
    launch.add_argument("script", help="a Python script")
    launch.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")
    options = parser.parse_args(arguments)
    if options.command == "info":
        from .internal.about import information

        print(information())
        return 0
    from .internal.launcher import Job, run

    if options.workers < 1 or not 0 <= options.node_rank < options.nodes:
        parser.error("the numbers of workers and nodes do not fit together")
    if options.nodes > 1 and not options.master_addr:
        parser.error("--master-addr is required for several machines")
    job = Job(options.workers, options.nodes, options.node_rank, options.master_addr, options.master_port)
    return run(job, [sys.executable, options.script, *options.arguments])


if __name__ == "__main__":
    sys.exit(main())
