"""What running tasks use, looked at now and then and written to a file of each task.

A task's processes are the descendants of its agent. The file only grows, and stays small: as a run goes on,
fewer and fewer of the looks are written down.
"""

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from openbatchai.domain.ports import Clock, Sample
from openbatchai.engines.gpus import Nvml

FILE = "samples.jsonl"

# So many are written at each pace; then the pace halves. A week at ten seconds makes some 6,000.
_PER_PACE = 1000

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Subject:
    """A running task: its agent's pid (None before it has begun), its directory, and its node's GPUs."""

    agent: int | None
    directory: Path
    gpus: tuple[int, ...]


@dataclass(frozen=True)
class _Process:
    parent: int
    ticks: int
    reaped_ticks: int
    pages: int


class Sampler:
    """A thread that looks every `pace_s` at the `subjects`. `wake` it when there may be some again."""

    def __init__(
        self,
        pace_s: float,
        nvml: Nvml | None,
        subjects: Callable[[], list[Subject]],
        clock: Clock,
    ) -> None:
        self._pace_s = pace_s
        self._nvml = nvml
        self._subjects = subjects
        self._clock = clock
        self._looks: dict[Path, int] = {}
        self._stopping = threading.Event()
        self._busy = threading.Event()
        self._thread = threading.Thread(target=self._work, name="engine-samples", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        self._busy.set()

    def close(self) -> None:
        self._stopping.set()
        self._busy.set()
        self._thread.join()

    def _work(self) -> None:
        while True:
            # With nothing running nothing is looked at.
            self._busy.wait()
            if self._stopping.wait(self._pace_s):
                return
            try:
                self._busy.clear()
                if self._look():
                    self._busy.set()
            except Exception:
                # The loop's boundary: what cannot be measured must not end it.
                _log.exception("sampling failed")

    def _look(self) -> bool:
        subjects = self._subjects()
        self._looks = {s.directory: self._looks.get(s.directory, -1) + 1 for s in subjects}
        due = [(s, s.agent) for s in subjects if s.agent and _is_written(self._looks[s.directory])]
        if due:
            processes = dict(_processes())
            for subject, agent in due:
                sample = self._sample(subject, agent, processes)
                with suppress(FileNotFoundError):
                    _append(subject.directory / FILE, sample)
        return bool(subjects)

    def _sample(self, subject: Subject, agent: int, processes: Mapping[int, _Process]) -> Sample:
        below = _descendants(agent, processes)
        collected = processes[agent].reaped_ticks if agent in processes else 0
        ticks = sum(p.ticks + p.reaped_ticks for p in below) + collected
        uses = [use for gpu in subject.gpus if self._nvml and (use := self._nvml.use(gpu))]
        return Sample(
            at=self._clock.now(),
            cpu_seconds=round(ticks * _TICK_S, 2),
            memory_bytes=sum(process.pages for process in below) * _PAGE,
            processes=len(below),
            gpu_percent=sum(use.percent for use in uses) / len(uses) if uses else None,
            gpu_memory_bytes=sum(use.memory_bytes for use in uses) if uses else None,
        )


def read(directory: Path, after: int) -> list[Sample]:
    """The samples of a task but for the first `after`."""
    try:
        lines = (directory / FILE).read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    found = []
    for line in lines[after:]:
        with suppress(ValueError):
            record = json.loads(line)
            found.append(Sample(**{**record, "at": datetime.fromisoformat(record["at"])}))
    return found


def _append(file: Path, sample: Sample) -> None:
    line = json.dumps({**asdict(sample), "at": sample.at.isoformat()}) + "\n"
    # One write, so that no half of a line is followed by another one. Not created: a task may be forgotten.
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def _is_written(look: int) -> bool:
    """Whether the look of this number (from 0) is written down: all of the first, then every second, ..."""
    step = 1
    while look >= _PER_PACE * step:
        look -= _PER_PACE * step
        step *= 2
    return look % step == 0


def _descendants(pid: int, processes: Mapping[int, _Process]) -> list[_Process]:
    children: dict[int, list[int]] = {}
    for child, process in processes.items():
        children.setdefault(process.parent, []).append(child)
    found, waiting = [], [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += [processes[child] for child in below]
        waiting += below
    return found


def _processes() -> Iterator[tuple[int, _Process]]:
    """One small file for each process tells all that is wanted (proc(5), stat)."""
    for name in os.listdir("/proc"):  # noqa: PTH208 (a third of the cost of a Path for each)
        if not name.isdigit():
            continue
        with suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                fields = file.read().rpartition(b")")[2].split()
            own, reaped = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
            yield int(name), _Process(int(fields[1]), own, reaped, int(fields[21]))
