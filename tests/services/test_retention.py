"""What is over is forgotten by age and number, and nothing else is."""

from dataclasses import replace
from datetime import timedelta

import pytest

from openbatchai.services import operations, retention
from openbatchai.services.context import Context, Retention
from openbatchai.services.jobs import delete

from .test_lifecycle import PLACE, job, put_cluster, put_job

DAY = 24 * 3600


def prune(plane, **limits):
    retention.prune(Context(**{**vars(plane.context), "retention": Retention(**limits)}))
    plane.settle()


@pytest.fixture
def done(plane):
    """A job that is over since ten days, and one that runs since then."""
    put_cluster(plane, count=2)
    put_job(plane)
    put_job(plane, "long", command="sleep 100")
    plane.settle()
    plane.clock.advance(10 * DAY)
    return plane


def test_a_run_that_is_over_goes_with_what_the_engine_keeps_and_its_job_stays(done):
    [task] = done.rows("tasks", job_id=job(done).id)
    assert done.engine.fetch(task.id, "execution.log", 0)
    prune(done, run_days=9)
    assert [run.state for run in done.rows("runs")] == ["active"]
    assert done.rows("tasks", job_id=job(done).id) == []
    assert done.engine.fetch(task.id, "execution.log", 0) == b""
    assert (job(done).execution_state, job(done).exit_code) == ("succeeded", 0)
    assert len(done.rows("tasks", job_id=job(done, "long").id)) == 1
    # The one that runs ends as it would have.
    [long] = [task for task in done.engine.started if done.engine.is_running(task.id)]
    done.engine.finish(long.id, 0)
    done.settle()
    assert job(done, "long").execution_state == "succeeded"


def test_younger_runs_and_events_stay(done):
    before = len(done.rows("events"))
    prune(done, run_days=11, event_days=11)
    assert len(done.rows("runs")) == 2
    assert len(done.rows("events")) == before


def test_events_go_by_their_age(done):
    put_job(done, "new")
    done.settle()
    prune(done, event_days=9)
    events = done.rows("events")
    assert events
    assert all(event.at > done.clock.now() - timedelta(days=9) for event in events)


def test_events_go_by_their_number(done):
    newest = [event.id for event in done.rows("events")][-3:]
    prune(done, events=3)
    assert [event.id for event in done.rows("events")] == newest


def test_more_than_one_transaction_takes_is_taken_by_several(done):
    [model] = done.rows("runs", job_id=job(done).id)

    def work(unit):
        for number in range(250):
            unit.runs.add(replace(model, id=f"r{number}"))

    done.store.write(work)
    prune(done, run_days=9)
    assert [run.state for run in done.rows("runs")] == ["active"]


def test_an_operation_is_found_until_its_time_is_over(done):
    operation = delete(done.context, "rg", PLACE, "j", "me")
    done.settle()
    done.clock.advance(3600)
    prune(done)
    assert operations.get(done.context, operation.id).ended
    done.clock.advance(DAY)
    prune(done)
    assert done.rows("operations") == []
