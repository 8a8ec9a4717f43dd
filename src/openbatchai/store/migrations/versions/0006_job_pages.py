"""The jobs of one experiment in the order they were created, for pages."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_index("ix_jobs_experiment_id", "jobs", ["experiment_id"])
