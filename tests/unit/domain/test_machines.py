"""The state machines as tables."""

import pytest

from openbatchai.domain.clusters import ALLOCATION, NODE, NodeEvent, NodeState
from openbatchai.domain.jobs import FINISHED, JOB, ExecutionState, JobEffect, JobEvent
from openbatchai.domain.machine import ImpossibleTransitionError
from openbatchai.domain.runs import OVER, RUN, RunEffect, RunEvent, RunState


@pytest.mark.parametrize("machine", [JOB, RUN, NODE, ALLOCATION], ids=lambda m: m.kind)
def test_every_state_has_an_exit_or_is_final(machine):
    reached = {after for after, _ in machine.table.values()}
    left = {before for (before, _), (after, _) in machine.table.items() if after is not before}
    final = {*FINISHED, *OVER, NodeState.LEAVING}
    assert reached <= left | final


def test_a_finished_job_takes_no_event():
    assert not [event for state in FINISHED for event in JobEvent if JOB.allows(state, event)]


def test_a_run_that_is_over_takes_no_event():
    assert not [event for state in OVER for event in RunEvent if RUN.allows(state, event)]


def test_a_run_that_was_told_to_stop_is_told_once_and_starts_nothing_more():
    assert RUN.table[RunState.ACTIVE, RunEvent.STOP] == (RunState.STOPPING, (RunEffect.SIGNAL_TASKS,))
    later = [effects for (state, _), (_, effects) in RUN.table.items() if state is RunState.STOPPING]
    assert later
    assert not any(later)


def test_whatever_ends_a_job_wipes_its_secrets():
    ends = [effects for (_, _), (after, effects) in JOB.table.items() if after in FINISHED]
    assert ends
    assert all(JobEffect.WIPE_SECRETS in effects for effects in ends)


def test_what_leaves_running_frees_the_nodes():
    for (before, event), (after, effects) in JOB.table.items():
        leaves = before in (ExecutionState.RUNNING, ExecutionState.TERMINATING) and after in (
            *FINISHED,
            ExecutionState.QUEUED,
        )
        assert (JobEffect.FREE_NODES in effects) == leaves, (before, event)


def test_an_impossible_event_tells_the_story():
    with pytest.raises(
        ImpossibleTransitionError, match=r"node n1: prepared is impossible in state idle.*abc"
    ):
        NODE.step("n1", NodeState.IDLE, NodeEvent.PREPARED, lambda: "abc")
