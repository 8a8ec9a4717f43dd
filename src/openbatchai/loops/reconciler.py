"""The loop that keeps the world as the store says: decide, carry out, observe, again until nothing changes.

Wake-ups (a commit, an engine event, a reader of a log) only save waiting: a sweep every few seconds finds
whatever a lost wake-up would have told.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime

from openbatchai.domain.ports import TaskEvent
from openbatchai.services import clocks, deletion, execution, preemption, retention, runs, scheduling
from openbatchai.services.context import Context
from openbatchai.store.unit import Unit

log = logging.getLogger(__name__)

SWEEP_S = 5.0


class Reconciler:
    """Two threads per service, one of them for what takes long. When they do not run, `step` and `clean` may
    be called by hand."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.kept = context.kept
        context.store.follow(self.kept)
        self._wakes = (threading.Event(), threading.Event())
        self._stopping = False
        self._rehearsed = context.clock.now()
        self._chance = random.Random()
        works = (self.step, self.clean)
        self._threads = [
            threading.Thread(target=self._run, args=pair, name=f"reconciler-{pair[1].__name__}", daemon=True)
            for pair in zip(self._wakes, works, strict=True)
        ]
        context.store.after_commit(self.wake)
        context.engine.on_change(self.wake)

    def wake(self) -> None:
        for event in self._wakes:
            event.set()

    def start(self) -> None:
        self.wake()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop after the present step; what is running on the engine goes on."""
        self._stopping = True
        self.wake()
        for thread in self._threads:
            thread.join()

    def step(self, *, forced: bool = True) -> datetime | None:
        """One round. Returns when the next is due if nothing happens before.

        Unless `forced`, what cannot have changed is not looked at; a forced round repairs what that missed.
        """
        if forced:
            clocks.mend(self._context)
            self._rehearse()
        events = self._observed()
        if forced or events or self.kept.is_due(self._context.clock.now()):
            self.kept.hold = self._context.engine.hold()
            deadline = self._context.store.write(lambda unit: self.decide(unit, events))
        else:
            deadline = self.kept.next_time()
        execution.carry_out(self._context, slow=False, forced=forced)
        return deadline

    def _rehearse(self) -> None:
        """Preemptions at random, by the rate of the settings."""
        since, self._rehearsed = self._rehearsed, self._context.clock.now()
        if self._context.preemptions_per_node_hour > 0:
            write = self._context.store.write
            write(lambda unit: preemption.rehearse(self._context, unit, since, self._chance))

    def _observed(self) -> list[TaskEvent]:
        try:
            return execution.observe(self._context)
        except Exception:
            # What waits for no report must not wait for the engine.
            log.exception("the engine cannot be observed")
            return []

    def clean(self, *, forced: bool = True) -> None:
        """Release nodes, and remove what nobody needs any more."""
        if forced:
            retention.prune(self._context)
        execution.carry_out(self._context, slow=True, forced=forced)
        if forced:
            self._context.engine.tidy()

    def decide(self, unit: Unit, events: Sequence[TaskEvent] = ()) -> datetime | None:
        """All that follows from these events and from what was committed before, in one transaction: a job
        that ends and the next one on its nodes need a single write to the disk."""
        execution.take_events(self._context, unit, events)
        held = self._go_on(unit)
        self.kept.operations = deletion.sweep(self._context, unit)
        due = scheduling.schedule(self._context, unit, self.kept)
        return min((time for time in (held, due) if time is not None), default=None)

    def _go_on(self, unit: Unit) -> datetime | None:
        """Runs with an ended task, and those whose end is held. Returns the next end of holding."""
        kept = self.kept
        view = kept.current(unit)
        # What could not be worked on stays due.
        kept.held, view.runs_due = runs.go_on(self._context, unit, view.runs_due | kept.held.keys())
        return min(kept.held.values(), default=None)

    def _run(self, wake: threading.Event, work: Callable[..., datetime | None]) -> None:
        timeout, swept = SWEEP_S, float("-inf")
        while not self._stopping:
            wake.wait(timeout)
            wake.clear()
            if self._stopping:
                return
            forced = time.monotonic() >= swept + SWEEP_S
            swept = time.monotonic() if forced else swept
            try:
                timeout = self._seconds_until(work(forced=forced))
            except Exception:
                # One bad row must not end the service: the next sweep tries again.
                log.exception("a reconciliation step failed")
                timeout, swept = SWEEP_S, float("-inf")

    def _seconds_until(self, deadline: datetime | None) -> float:
        if deadline is None:
            return SWEEP_S
        return min(SWEEP_S, max(0.0, (deadline - self._context.clock.now()).total_seconds()))
