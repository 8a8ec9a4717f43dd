"""What runs use of the machine, as the engine saw it."""

from dataclasses import dataclass

from openbatchai.domain.model import Job, Task
from openbatchai.domain.ports import Sample

from . import stories
from .context import Context


@dataclass(frozen=True)
class NodeUsage:
    node_id: str
    samples: tuple[Sample, ...]


def of_job(context: Context, text: str) -> tuple[Job, list[NodeUsage]]:
    """The samples of a job's latest run, node by node. Raises as stories.events does, and 400 for no job."""
    with context.store.read() as unit:
        job = stories.job_named(unit, text)
        tasks = unit.tasks.list(job_id=job.id, order=unit.tasks.table.c.id)
        latest = job.run_id or _latest(tasks)
        of_run = [task for task in tasks if task.run_id == latest]
    by_node: dict[str, list[Sample]] = {}
    for task in sorted(of_run, key=lambda task: (task.position, task.phase)):
        by_node.setdefault(task.node_id, []).extend(context.engine.samples(task.id, 0))
    return job, [NodeUsage(node_id, tuple(samples)) for node_id, samples in by_node.items()]


def _latest(tasks: list[Task]) -> str:
    ended = [task for task in tasks if task.ended_at is not None]
    return max(ended, key=lambda task: task.ended_at or 0).run_id if ended else ""
