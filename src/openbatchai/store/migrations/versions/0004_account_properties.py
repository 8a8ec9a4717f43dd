"""What clients set on storage accounts beside SKU, kind and tags."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("storage_accounts", sa.Column("properties", sa.Text(), nullable=False, server_default="{}"))
