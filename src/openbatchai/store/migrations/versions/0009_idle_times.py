"""How long an autoscale cluster keeps an idle node, where that is its own."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("clusters", sa.Column("idle_s", sa.Float(), nullable=True))
