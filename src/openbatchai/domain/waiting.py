"""The queue of one cluster, kept in order, however long: 16 bytes for each job.

Order is strict: higher priority first, then submission, which is the order of ids.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import merge


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """`limit_s`: how long a run of it may take at most, in seconds."""

    id: int
    priority: int
    node_count: int
    limit_s: int = 7 * 24 * 3600


class _Lane:
    """Jobs of one priority and width: their ids in order, and their limits beside them."""

    __slots__ = ("ids", "limits")

    def __init__(self) -> None:
        self.ids = array("q")
        self.limits = array("q")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Lane) and self.ids == other.ids and self.limits == other.limits

    __hash__ = None  # type: ignore[assignment]


class WaitingJobs:
    """Adding and removing cost the logarithm of the length, and a move of memory."""

    def __init__(self, jobs: Iterable[QueuedJob] = ()) -> None:
        self._lanes: dict[int, dict[int, _Lane]] = {}
        for job in jobs:
            self.add(job)

    def __len__(self) -> int:
        return sum(len(lane.ids) for lanes in self._lanes.values() for lane in lanes.values())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WaitingJobs) and self._lanes == other._lanes

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"WaitingJobs({list(self.in_order())})"

    def add(self, job: QueuedJob) -> None:
        """A job that is there already stays as it is."""
        lane = self._lanes.setdefault(job.priority, {}).setdefault(job.node_count, _Lane())
        place = bisect_left(lane.ids, job.id)
        if place == len(lane.ids) or lane.ids[place] != job.id:
            lane.ids.insert(place, job.id)
            lane.limits.insert(place, job.limit_s)

    def discard(self, job_id: int, priority: int, node_count: int) -> bool:
        """False when it was not there."""
        lane = self._lanes.get(priority, {}).get(node_count)
        if lane is None:
            return False
        place = bisect_left(lane.ids, job_id)
        if place == len(lane.ids) or lane.ids[place] != job_id:
            return False
        del lane.ids[place], lane.limits[place]
        if not lane.ids:
            del self._lanes[priority][node_count]
            if not self._lanes[priority]:
                del self._lanes[priority]
        return True

    def in_order(self, widest: int | None = None) -> Iterator[QueuedJob]:
        """From the head; jobs of more than `widest` nodes are left out. Costs what is taken from it."""
        for priority in sorted(self._lanes, reverse=True):
            lanes = self._lanes[priority]
            rows = [
                self._row(priority, width, lanes[width])
                for width in lanes
                if widest is None or width <= widest
            ]
            yield from (rows[0] if len(rows) == 1 else merge(*rows, key=lambda job: job.id))

    def before(self, job: QueuedJob, widest: int) -> int:
        """How many jobs of at most `widest` nodes come before this one."""
        return sum(
            len(lane.ids) if priority > job.priority else bisect_left(lane.ids, job.id)
            for priority, lanes in self._lanes.items()
            if priority >= job.priority
            for width, lane in lanes.items()
            if width <= widest
        )

    def nodes_wanted(self, widest: int) -> int:
        """The nodes that all jobs of at most `widest` nodes would take together."""
        return sum(
            width * len(lane.ids)
            for lanes in self._lanes.values()
            for width, lane in lanes.items()
            if width <= widest
        )

    @staticmethod
    def _row(priority: int, width: int, lane: _Lane) -> Iterator[QueuedJob]:
        for job_id, limit in zip(lane.ids, lane.limits, strict=True):
            yield QueuedJob(job_id, priority, width, limit)
