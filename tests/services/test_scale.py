"""What a decision costs does not depend on what waits, or on what is long over."""

from dataclasses import replace

import pytest
from sqlalchemy import event

from openbatchai.domain.jobs import ExecutionState

from .test_lifecycle import job, put_cluster, put_job


@pytest.fixture
def statements(plane):
    """The statements that are executed from here on."""
    seen = []
    engine = plane.store._engine

    @event.listens_for(engine, "after_cursor_execute")
    def note(connection, cursor, statement, parameters, context, executemany):
        if statement != "BEGIN" and "SAVEPOINT" not in statement:
            seen.append(statement)

    return seen


def enqueue(plane, count, state=ExecutionState.QUEUED):
    """Copies of job `model`, all at once."""
    model = job(plane, "model")

    def work(unit):
        for number in range(count):
            name = f"{state}{number}"
            unit.jobs.add(replace(model, id=0, key=name, name=name, execution_state=state))

    plane.store.write(work)


def one_end(plane, statements):
    """The statements of the round in which a job ends and the next one starts."""
    [run] = [task for task in plane.engine.started if task.run_id and plane.engine.is_running(task.id)]
    plane.engine.finish(run.id, 0)
    statements.clear()
    plane.reconciler.step(forced=False)
    return list(statements)


@pytest.mark.parametrize("state", [ExecutionState.QUEUED, ExecutionState.SUCCEEDED])
def test_the_end_of_a_job_asks_the_store_as_much_whatever_the_number_of_jobs(plane, statements, state):
    put_cluster(plane)
    put_job(plane, "model", command="sleep 9")
    for number in range(3):
        put_job(plane, f"next{number}", command="sleep 9")
    plane.settle()
    few = one_end(plane, statements)
    plane.settle()
    enqueue(plane, 200, state)
    plane.settle()
    many = one_end(plane, statements)
    assert many == few
    assert any(statement.startswith("UPDATE jobs") for statement in many)


def test_a_round_with_nothing_to_do_writes_nothing_and_reads_next_to_nothing(plane, statements):
    put_cluster(plane, count=3)
    put_job(plane, nodes=4)
    plane.settle()
    statements.clear()
    plane.reconciler.step(forced=False)
    plane.reconciler.clean(forced=False)
    assert len(statements) == 1
    assert statements[0].startswith("SELECT tasks.id, tasks.sequence")


def test_a_query_for_what_is_to_be_deleted_never_reads_all_jobs_that_are_over(plane):
    """Which index SQLite takes is its own choice: only a look at its plan tells."""
    with plane.store.read() as unit:
        query = str(unit.jobs._select({"deleting": True}).compile(compile_kwargs={"literal_binds": True}))
        plan = unit.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}").all()
    assert "ix_jobs_deleting" in plan[0][3]
