"""Runs by their end: the oldest are forgotten first."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_index("ix_runs_ended", "runs", ["ended"])
