"""The life of a run: one attempt at executing a job on its nodes."""

from enum import StrEnum

from .machine import Machine


class RunState(StrEnum):
    ACTIVE = "active"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    WITHDRAWN = "withdrawn"


OVER = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.STOPPED, RunState.WITHDRAWN})


class RunEvent(StrEnum):
    PHASE_DONE = "phaseDone"
    STOP = "stop"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    WITHDRAWN = "withdrawn"


class RunEffect(StrEnum):
    START_PHASE = "startPhase"
    SIGNAL_TASKS = "signalTasks"


_S, _E, _F = RunState, RunEvent, RunEffect

RUN = Machine(
    "run",
    {
        # All nodes are done with the job preparation: on to the toolkit.
        (_S.ACTIVE, _E.PHASE_DONE): (_S.ACTIVE, (_F.START_PHASE,)),
        (_S.ACTIVE, _E.STOP): (_S.STOPPING, (_F.SIGNAL_TASKS,)),
        (_S.ACTIVE, _E.SUCCEEDED): (_S.SUCCEEDED, ()),
        (_S.ACTIVE, _E.FAILED): (_S.FAILED, ()),
        (_S.STOPPING, _E.STOP): (_S.STOPPING, ()),
        # It came to its own end just before it was told to.
        (_S.STOPPING, _E.SUCCEEDED): (_S.SUCCEEDED, ()),
        (_S.STOPPING, _E.FAILED): (_S.FAILED, ()),
        (_S.STOPPING, _E.STOPPED): (_S.STOPPED, ()),
        (_S.STOPPING, _E.WITHDRAWN): (_S.WITHDRAWN, ()),
    },
)
