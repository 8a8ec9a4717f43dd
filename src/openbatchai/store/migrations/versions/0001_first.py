"""The first schema: all tables as tables.py defines them."""

from alembic import op

from openbatchai.store.tables import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    metadata.create_all(op.get_bind())
