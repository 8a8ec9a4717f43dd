"""What is over is forgotten by age and number: events, operations, runs and what the engine keeps of them."""

from datetime import timedelta

from sqlalchemy import func, select

from openbatchai.store import tables
from openbatchai.store.unit import Unit

from .context import Context
from .transitions import FORGET_TASK, queue_effect

# Rows of one transaction: requests wait for it.
_EVENTS, _RUNS = 2000, 100
_BATCHES = 20


def prune(context: Context) -> None:
    """Forget what is older, or more, than the settings keep; the oldest first, so much at a time."""
    for _ in range(_BATCHES):
        if not context.store.write(lambda unit: _prune(context, unit)):
            return


def _prune(context: Context, unit: Unit) -> bool:
    """Whether there may be more."""
    events, runs = _prune_events(context, unit), _prune_runs(context, unit)
    limit = context.clock.now() - timedelta(hours=context.retention.operation_hours)
    unit.operations.remove(tables.operations.c.ended < limit)
    return events or runs


def _prune_events(context: Context, unit: Unit) -> bool:
    """Ids grow with time: the oldest events are the first rows."""
    e, kept = tables.events.c, context.retention
    limit = context.clock.now() - timedelta(days=kept.event_days)
    last = unit.connection.execute(select(func.max(e.id))).scalar_one() or 0

    def old(count: int) -> list[int]:
        first = unit.connection.execute(select(e.id, e.at).order_by(e.id).limit(count))
        return [row.id for row in first if row.at < limit or row.id <= last - kept.events]

    # Most often not even the first is.
    found = old(_EVENTS) if old(1) else []
    if found:
        unit.events.remove(e.id <= found[-1])
    return len(found) == _EVENTS


def _prune_runs(context: Context, unit: Unit) -> bool:
    """A job that is over keeps its own row, with what its clients see, until it is deleted."""
    limit = context.clock.now() - timedelta(days=context.retention.run_days)
    ended = tables.runs.c.ended
    old = [run.id for run in unit.runs.list(ended < limit, order=ended, limit=_RUNS)]
    if not old:
        return False
    for task in unit.tasks.list(run_id=old):
        queue_effect(unit, FORGET_TASK, task.id)
    unit.tasks.remove(run_id=old)
    unit.runs.remove(id=old)
    return len(old) == _RUNS
