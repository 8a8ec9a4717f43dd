"""Runs go on to their next phase, and end: what becomes of a job when its tasks are over."""

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from openbatchai.domain.errors import Fault
from openbatchai.domain.jobs import LIVE, JobEvent
from openbatchai.domain.model import Job, Run, Task
from openbatchai.domain.runs import RunEvent, RunState
from openbatchai.domain.tasks import run_phases
from openbatchai.store.unit import Unit

from .context import Context
from .execution import error_of
from .outputs import log_files
from .transitions import move_job, move_run, run_of

log = logging.getLogger(__name__)


def go_on(context: Context, unit: Unit, job_ids: Iterable[int]) -> tuple[dict[int, datetime], set[int]]:
    """The next phase, or the end, of every run of these jobs whose tasks are over.

    Returns the jobs whose end is held for a reader of their logs, with until when at the latest, and those
    that could not be worked on.
    """
    held: dict[int, datetime] = {}
    failed = set(job_ids)
    for job_id in sorted(failed):
        with unit.isolated(f"job {job_id}"):
            job = unit.jobs.get(id=job_id)
            if job is not None and job.execution_state in LIVE and (until := _go_on(context, unit, job)):
                held[job_id] = until
            failed.discard(job_id)
    return held, failed


def _go_on(context: Context, unit: Unit, job: Job) -> datetime | None:
    tasks = unit.tasks.list(run_id=job.run_id, order=unit.tasks.table.c.position)
    run = run_of(unit, job)
    if all(task.ended for task in tasks):
        return _finish_phase(context, unit, job, run, tasks)
    if run.state is RunState.ACTIVE and (failed := [task for task in tasks if _failed(task)]):
        reason = f"its part on node {failed[0].node_id} failed"
        move_run(unit, job, run, RunEvent.STOP, context.clock.now(), reason)
    return None


def _failed(task: Task) -> bool:
    return task.ended and task.fault is not None


def _finish_phase(context: Context, unit: Unit, job: Job, run: Run, tasks: Sequence[Task]) -> datetime | None:
    phase = max(task.phase for task in tasks) + 1
    going_on = run.state is RunState.ACTIVE and not any(_failed(task) for task in tasks)
    if going_on and phase < len(run_phases(job.spec, job.node_count)):
        move_run(unit, job, run, RunEvent.PHASE_DONE, context.clock.now(), phase=phase)
        return None
    ended = max(task.ended_at for task in tasks if task.ended_at)
    held = _held_until(context, job, ended)
    if held is None:
        _publish(context, unit, job, run, tasks, ended)
    return held


def _held_until(context: Context, job: Job, ended: datetime) -> datetime | None:
    """A client that tails the log stops at the finished state without one more read (clients.md section 7):
    if it fetched lately and has not seen the end yet, it gets a moment to do so."""
    now, until = context.clock.now(), ended + timedelta(seconds=context.tail_wait_s)
    if now >= until or job.requeue:
        return None
    # The window reaches back from the end of the run, however long we have been waiting since, but not
    # beyond its start: nobody can have read before.
    window = min(context.tail_window_s + (now - ended).total_seconds(), _age(job, now))
    try:
        logs = log_files(job, _log_names(context, job))
        unread = any(context.storage.unread_since(ref, window) for ref in logs)
    except OSError:
        # The directory is the job's own, permissions included. What we cannot read, nobody reads through us.
        log.warning("the output of job %s cannot be read", job.name, exc_info=True)
        return None
    return until if unread else None


def _age(job: Job, now: datetime) -> float:
    return (now - job.started).total_seconds() if job.started else 0.0


def _log_names(context: Context, job: Job) -> list[str]:
    places = log_files(job, ["."])
    entries = context.storage.list_directory(places[0]) if places else None
    return [e.name for e in entries or () if not e.is_directory and e.name.startswith(("stdout", "stderr"))]


def _is_complete(job: Job, tasks: Sequence[Task]) -> bool:
    """Whether the run came to its own good end, perhaps just before it was told to stop."""
    last = max(task.phase for task in tasks) + 1 == len(run_phases(job.spec, job.node_count))
    return last and not any(_failed(task) for task in tasks)


def _publish(
    context: Context, unit: Unit, job: Job, run: Run, tasks: Sequence[Task], ended: datetime
) -> None:
    now = context.clock.now()
    if job.requeue and not _is_complete(job, tasks):
        reason = "it was stopped to run again"
        move_run(unit, job, run, RunEvent.WITHDRAWN, now, reason)
        job.requeue, job.started = False, None
        move_job(unit, job, JobEvent.RUN_WITHDRAWN, now, reason)
        return
    job.ended, job.requeue = ended, False
    if job.stop_reason:
        move_run(unit, job, run, RunEvent.STOPPED, now, job.stop_reason)
        move_job(unit, job, JobEvent.RUN_FAILED, now, job.stop_reason)
        return
    failures = sorted(
        (t for t in tasks if t.fault is not None and t.ended_at is not None),
        # The one that failed by itself decides, not those stopped because of it.
        key=lambda t: ((t.fault or {})["code"] == Fault.JOB_TERMINATED, t.ended_at),
    )
    if not failures:
        job.exit_code = 0
        move_run(unit, job, run, RunEvent.SUCCEEDED, now)
        move_job(unit, job, JobEvent.RUN_SUCCEEDED, now)
        return
    deciding = failures[0]
    job.exit_code = deciding.exit_code
    job.errors = [error_of(deciding.fault or {})]
    reason = job.errors[0]["message"]
    move_run(unit, job, run, RunEvent.FAILED, now, f"{reason} (node {deciding.node_id})")
    move_job(unit, job, JobEvent.RUN_FAILED, now, reason)
