"""How many unusable nodes came before one in whose place it is."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("nodes", sa.Column("attempt", sa.Integer(), nullable=False, server_default="0"))
