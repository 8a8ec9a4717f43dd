"""What the benchmarks share: a service on a home of its own, medians, and a line per figure."""

import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

UP = [sys.executable, "-m", "openbatchai.cli", "up"]


def environment() -> dict[str, str]:
    """Without proxies: what is measured is on this machine."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


def free_port() -> int:
    """The first of four ports below the ephemeral range on which nothing listens. Not the lowest: who else
    looks at this moment would find the same."""
    ports = range(20000, 32000, 4)
    begin = os.getpid() % len(ports)
    for first in (*ports[begin:], *ports[:begin]):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + 4):
                    stack.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
            return first
    raise RuntimeError("no four free ports")


@contextlib.contextmanager
def new_home() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="openbatchai-benchmark-"))
    try:
        yield directory / "home"
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def service(home: Path, port: int | None = None) -> Iterator[dict[str, Any]]:
    """A running service's endpoint."""
    words = ["--home", str(home), "--port", str(port or free_port()), "--detach"]
    subprocess.run([*UP, *words], check=True, stdout=subprocess.DEVNULL, env=environment())
    try:
        yield json.loads((home / "endpoint.json").read_text())
    finally:
        down = [sys.executable, "-m", "openbatchai.cli", "down", "--home", str(home)]
        subprocess.run(down, check=True, env=environment())


def output_of(home: Path, job: str) -> Path | None:
    """What a job prints, on the disk; None before there is anything."""
    below = f"*/workspaces/*/experiments/*/jobs/{job}/*/stdouterr/stdout.txt"
    return next((home / "storage").glob(f"*/file/*/*/{below}"), None)


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def heading(what: str) -> None:
    load = os.getloadavg()[0]
    print(f"{what}\n  on {os.cpu_count()} CPUs, load {load:.1f}, Python {sys.version.split()[0]}")


def line(what: str, value: float, unit: str, bar: float | None, *peers: tuple[str, float]) -> None:
    """One figure that should be small, its bar, and each peer's figure with how many times ours it is."""
    met = bar is None or value <= bar
    _print(what, value, unit, bar, met, [(name, figure, figure / value) for name, figure in peers])


def at_least(what: str, value: float, unit: str, bar: float | None, *peers: tuple[str, float]) -> None:
    """One figure that should be large, its bar, and each peer's figure with how many times that ours is."""
    met = bar is None or value >= bar
    _print(what, value, unit, bar, met, [(name, figure, value / figure) for name, figure in peers])


def _print(
    what: str,
    value: float,
    unit: str,
    bar: float | None,
    met: bool,
    peers: Sequence[tuple[str, float, float]],
) -> None:
    shown = f"  {what:<44}{value:>9.3g} {unit:<5}"
    if bar is not None:
        shown += f" bar {bar:.4g}: {'met' if met else 'MISSED'}"
    for name, figure, ratio in peers:
        shown += f"; {name} {figure:.3g} ({ratio:.1f}x)"
    print(shown, flush=True)
