"""Which tasks of a run wait for the preparation of its other nodes."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("tasks", sa.Column("prepared", sa.Boolean(), nullable=False, server_default=sa.false()))
    _runs_in_two_phases(op.get_bind())


def _runs_in_two_phases(connection: sa.Connection) -> None:
    """Containers of several nodes had their preparation as a phase of its own, before that of the job, which
    is their only one now. A run that goes on meanwhile does not end with it: it counts as one before the
    first, and the job's phase prepares its containers anew."""
    statement = "SELECT run_id, spec FROM jobs WHERE node_count > 1 AND run_id <> ''"
    for run_id, text in connection.execute(sa.text(statement)).all():
        spec = json.loads(text) or {}
        if not (spec.get("containerSettings") and spec.get("jobPreparation")):
            continue
        for change in (
            "UPDATE tasks SET phase = phase - 1 WHERE run_id = :run AND (phase > 0 OR started)",
            "UPDATE tasks SET prepared = 1 WHERE run_id = :run AND phase < 0",
        ):
            connection.execute(sa.text(change), {"run": run_id})
