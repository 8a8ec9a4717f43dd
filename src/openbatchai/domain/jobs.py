"""The life of a job (batchai-service.md section 10.2)."""

from enum import StrEnum

from .errors import Fault
from .machine import Machine


class ExecutionState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    TERMINATING = "terminating"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


FINISHED = frozenset({ExecutionState.SUCCEEDED, ExecutionState.FAILED})
# With a run on nodes.
LIVE = frozenset({ExecutionState.RUNNING, ExecutionState.TERMINATING})


class JobEvent(StrEnum):
    NODES_ALLOTTED = "nodesAllotted"
    RUN_SUCCEEDED = "runSucceeded"
    RUN_FAILED = "runFailed"
    TERMINATE = "terminate"
    CLUSTER_DELETED = "clusterDeleted"
    REQUEUE = "requeue"
    RUN_WITHDRAWN = "runWithdrawn"


class JobEffect(StrEnum):
    START_RUN = "startRun"
    STOP_RUN = "stopRun"
    FREE_NODES = "freeNodes"
    WIPE_SECRETS = "wipeSecrets"


_S, _E, _F = ExecutionState, JobEvent, JobEffect
_END = (_F.FREE_NODES, _F.WIPE_SECRETS)

JOB = Machine(
    "job",
    {
        (_S.QUEUED, _E.NODES_ALLOTTED): (_S.RUNNING, (_F.START_RUN,)),
        (_S.QUEUED, _E.TERMINATE): (_S.FAILED, (_F.WIPE_SECRETS,)),
        (_S.QUEUED, _E.CLUSTER_DELETED): (_S.FAILED, (_F.WIPE_SECRETS,)),
        (_S.RUNNING, _E.RUN_SUCCEEDED): (_S.SUCCEEDED, _END),
        (_S.RUNNING, _E.RUN_FAILED): (_S.FAILED, _END),
        (_S.RUNNING, _E.TERMINATE): (_S.TERMINATING, (_F.STOP_RUN,)),
        (_S.RUNNING, _E.CLUSTER_DELETED): (_S.TERMINATING, (_F.STOP_RUN,)),
        # Nodes are being taken away: the run stops, then the job waits for nodes again.
        (_S.RUNNING, _E.REQUEUE): (_S.RUNNING, (_F.STOP_RUN,)),
        (_S.RUNNING, _E.RUN_WITHDRAWN): (_S.QUEUED, (_F.FREE_NODES,)),
        (_S.TERMINATING, _E.RUN_SUCCEEDED): (_S.FAILED, _END),
        (_S.TERMINATING, _E.RUN_FAILED): (_S.FAILED, _END),
        (_S.TERMINATING, _E.TERMINATE): (_S.TERMINATING, ()),
        (_S.TERMINATING, _E.CLUSTER_DELETED): (_S.TERMINATING, ()),
    },
)

# What a job that was stopped on purpose says of it.
STOP_MESSAGES = {
    Fault.JOB_TERMINATED: "The specified job has been terminated by the user",
    Fault.CLUSTER_DELETED: "The cluster of the job has been deleted",
    Fault.NODE_DEALLOCATED: "The job was stopped because its nodes were deallocated",
}

PRIORITIES = {"low": -1000, "normal": 0, "high": 1000}


def priority_name(priority: int) -> str:
    """The 2018-05-01 word for an integer priority of the older versions (section 3)."""
    return "normal" if priority == 0 else "low" if priority < 0 else "high"
