"""Runs as rows of their own, and the limit of a job beside its priority: the scheduler reads it."""

import json
import math

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

# As services/jobs.py writes it: seconds, 7 days where nothing else is said, 10 years at most.
_DEFAULT_S = 7 * 24 * 3600
_MOST_S = 10 * 365 * 24 * 3600


def upgrade() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.String(length=256), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("nodes", sa.Text(), nullable=False),
        sa.Column("started", sa.String(length=32), nullable=False),
        sa.Column("ended", sa.String(length=32), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_runs_job_id", "runs", ["job_id"])
    op.add_column("jobs", sa.Column("limit_s", sa.Integer(), nullable=False, server_default=str(_DEFAULT_S)))
    _limits(op.get_bind())
    _present_runs(op.get_bind())


def _limits(connection: sa.Connection) -> None:
    from openbatchai.domain.tasks import parse_duration

    for job_id, spec in connection.execute(sa.text("SELECT id, spec FROM jobs")).all():
        text = ((json.loads(spec) or {}).get("constraints") or {}).get("maxWallClockTime")
        limit = parse_duration(text) if text else None
        if limit is not None and math.ceil(limit.total_seconds()) != _DEFAULT_S:
            seconds = min(math.ceil(limit.total_seconds()), _MOST_S)
            statement = sa.text("UPDATE jobs SET limit_s = :seconds WHERE id = :id")
            connection.execute(statement, {"seconds": seconds, "id": job_id})


def _present_runs(connection: sa.Connection) -> None:
    """Runs that go on while the service is upgraded. One that was told to end shows it in its job."""
    jobs = connection.execute(
        sa.text(
            "SELECT id, run_id, attempt, started, execution_changed, execution_state, stop_reason, requeue "
            "FROM jobs WHERE run_id <> '' AND execution_state IN ('running', 'terminating')"
        )
    ).all()
    for job in jobs:
        found = connection.execute(
            sa.text("SELECT id FROM nodes WHERE run_id = :run ORDER BY id"), {"run": job.run_id}
        )
        stopping = job.execution_state == "terminating" or job.stop_reason or job.requeue
        connection.execute(
            sa.text(
                "INSERT INTO runs (id, job_id, attempt, state, nodes, started) "
                "VALUES (:id, :job_id, :attempt, :state, :nodes, :started)"
            ),
            {
                "id": job.run_id,
                "job_id": job.id,
                "attempt": job.attempt,
                "state": "stopping" if stopping else "active",
                "nodes": json.dumps([row.id for row in found]),
                "started": job.started or job.execution_changed,
            },
        )
    # What only said that another node's part had failed is now in the state of the run.
    connection.execute(sa.text("UPDATE jobs SET stop_reason = '' WHERE stop_reason = 'peerFailed'"))
