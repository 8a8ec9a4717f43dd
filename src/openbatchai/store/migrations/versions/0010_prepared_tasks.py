"""Which tasks of a run wait for the preparation of its other nodes."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("tasks", sa.Column("prepared", sa.Boolean(), nullable=False, server_default=sa.false()))
