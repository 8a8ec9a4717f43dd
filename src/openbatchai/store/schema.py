"""Brings a home's database to this version's schema with Alembic; refuses one written by a newer version.

Alembic is imported only when the schema is not current: it would cost a fifth of the start time.
"""

from pathlib import Path

from sqlalchemy import Engine, inspect, text

SCHEMA = "0010"
MIGRATIONS = Path(__file__).parent / "migrations"


class NewerSchemaError(Exception):
    """The database was written by a newer version of OpenBatchAI; it is left unchanged."""


def upgrade(engine: Engine) -> None:
    """Create or upgrade the schema. Raises NewerSchemaError."""
    present = _revision(engine)
    if present == SCHEMA:
        return
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if present is not None and present not in known:
        # Closing the last connection takes SQLite's side files away again: the home stays as it was.
        engine.dispose()
        raise NewerSchemaError(
            f"the database has schema {present}, which this version of OpenBatchAI (schema {SCHEMA}) "
            "does not know: it was written by a newer version"
        )
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, SCHEMA)


def _revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
