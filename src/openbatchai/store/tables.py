"""The tables of the control store: one per record of domain/model.py, a column per field.

SQL that SQLite and PostgreSQL share. Times are stored as UTC; JSON as text; secrets encrypted (secrets.py).
"""

import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import TypeDecorator

from openbatchai.domain.clusters import AllocationState, NodeState
from openbatchai.domain.jobs import ExecutionState
from openbatchai.domain.runs import RunState


class Instant(TypeDecorator[datetime]):
    """An aware UTC time, kept as ISO text with microseconds: sortable, the same on both databases."""

    impl = String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        return None if value is None else value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        return None if value is None else datetime.fromisoformat(f"{value}+00:00")


_decode = json.JSONDecoder().decode


class JsonText(TypeDecorator[Any]):
    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else json.dumps(value, separators=(",", ":"))

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        # Most are empty, and of a page's thousands of values each call is felt.
        return {} if value == "{}" else [] if value == "[]" else _decode(value)


class Word(TypeDecorator[StrEnum]):
    """An enum by its value, so that the database stays readable and its rows outlive renamed members."""

    impl = String(32)
    cache_ok = True

    def __init__(self, kind: type[StrEnum]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: StrEnum | None, dialect: Dialect) -> str | None:
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> StrEnum | None:
        return None if value is None else self.kind(value)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

Key = String(256)


def _id() -> Column[int]:
    # With sqlite_autoincrement ids are never handed out twice: rows of other tables outlive what they name.
    return Column("id", Integer, primary_key=True, autoincrement=True)


def _time(name: str, *, nullable: bool = False) -> Column[datetime]:
    return Column(name, Instant, nullable=nullable)


def _json(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, JsonText, nullable=nullable)


def _text(name: str) -> Column[str]:
    return Column(name, String(512), nullable=False, default="")


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False, default=False)


settings = Table("settings", metadata, Column("name", Key, primary_key=True), Column("value", Text))

resource_groups = Table(
    "resource_groups",
    metadata,
    Column("key", Key, primary_key=True),
    _text("name"),
    _text("location"),
    _json("tags"),
    _flag("deleting"),
    _time("created"),
)

storage_accounts = Table(
    "storage_accounts",
    metadata,
    Column("key", Key, primary_key=True),
    _text("name"),
    Column("group_key", Key, nullable=False, index=True),
    _text("group_name"),
    _text("location"),
    _text("kind"),
    _text("sku"),
    _json("tags"),
    _time("created"),
    Column("secrets", Text, nullable=False),
    _json("properties"),
)

workspaces = Table(
    "workspaces",
    metadata,
    _id(),
    Column("group_key", Key, nullable=False),
    _text("group_name"),
    Column("key", Key, nullable=False),
    _text("name"),
    _text("location"),
    _json("tags"),
    _flag("deleting"),
    _time("created"),
    _time("changed"),
    _text("etag"),
    UniqueConstraint("group_key", "key"),
    sqlite_autoincrement=True,
)

experiments = Table(
    "experiments",
    metadata,
    _id(),
    Column("workspace_id", ForeignKey("workspaces.id"), nullable=False),
    Column("key", Key, nullable=False),
    _text("name"),
    _flag("deleting"),
    _time("created"),
    _time("changed"),
    _text("etag"),
    UniqueConstraint("workspace_id", "key"),
    sqlite_autoincrement=True,
)

clusters = Table(
    "clusters",
    metadata,
    _id(),
    Column("workspace_id", ForeignKey("workspaces.id"), nullable=False),
    Column("key", Key, nullable=False),
    _text("name"),
    _json("spec"),
    _json("legacy"),
    _text("location"),
    _json("tags"),
    _text("fingerprint"),
    _flag("deleting"),
    _time("created"),
    _time("changed"),
    _text("etag"),
    _time("modified"),
    Column("allocation_state", Word(AllocationState), nullable=False),
    _time("allocation_changed"),
    Column("target", Integer, nullable=False),
    _json("errors"),
    _text("setup_suffix"),
    Column("secrets", Text, nullable=False),
    Column("idle_s", Float, nullable=True),
    UniqueConstraint("workspace_id", "key"),
    sqlite_autoincrement=True,
)

file_servers = Table(
    "file_servers",
    metadata,
    _id(),
    Column("workspace_id", ForeignKey("workspaces.id"), nullable=False),
    Column("key", Key, nullable=False),
    _text("name"),
    _json("spec"),
    _text("location"),
    _json("tags"),
    _text("fingerprint"),
    _flag("deleting"),
    _time("created"),
    _time("changed"),
    _text("etag"),
    _time("modified"),
    _json("facts"),
    Column("secrets", Text, nullable=False),
    UniqueConstraint("workspace_id", "key"),
    sqlite_autoincrement=True,
)

nodes = Table(
    "nodes",
    metadata,
    Column("id", Key, primary_key=True),
    Column("cluster_id", ForeignKey("clusters.id"), nullable=False, index=True),
    Column("state", Word(NodeState), nullable=False),
    _time("changed"),
    _text("task_id"),
    _flag("provisioned"),
    _json("facts"),
    Column("run_id", Key, nullable=False, default="", index=True),
    _flag("leave_after_run"),
    Column("attempt", Integer, nullable=False, default=0),
)

jobs = Table(
    "jobs",
    metadata,
    _id(),
    Column("experiment_id", ForeignKey("experiments.id"), nullable=False),
    Column("key", Key, nullable=False),
    _text("name"),
    _json("spec"),
    _json("legacy"),
    _text("location"),
    _json("tags"),
    _text("fingerprint"),
    Column("cluster_id", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("node_count", Integer, nullable=False),
    Column("limit_s", Integer, nullable=False),
    Column("segment", Text, nullable=False),
    _text("layout"),
    _flag("deleting"),
    _time("created"),
    _time("changed"),
    _text("etag"),
    _time("modified"),
    Column("execution_state", Word(ExecutionState), nullable=False),
    _time("execution_changed"),
    _time("started", nullable=True),
    _time("ended", nullable=True),
    Column("exit_code", Integer),
    _json("errors"),
    Column("run_id", Key, nullable=False, default="", index=True),
    Column("attempt", Integer, nullable=False, default=0),
    _text("stop_reason"),
    _flag("requeue"),
    _json("cluster_spec"),
    Column("secrets", Text, nullable=False),
    UniqueConstraint("experiment_id", "key"),
    # With the row's own id, the order of pages: the unique one has the key between them.
    Index("ix_jobs_experiment_id", "experiment_id"),
    Index("ix_jobs_queue", "cluster_id", "execution_state", "priority", "id"),
    Index("ix_jobs_state", "execution_state"),
    Index("ix_jobs_deleting", "deleting"),
    sqlite_autoincrement=True,
)

runs = Table(
    "runs",
    metadata,
    Column("id", Key, primary_key=True),
    Column("job_id", Integer, nullable=False, index=True),
    Column("attempt", Integer, nullable=False),
    Column("state", Word(RunState), nullable=False),
    _json("nodes"),
    _time("started"),
    Column("ended", Instant, nullable=True, index=True),
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", Key, primary_key=True),
    _text("kind"),
    Column("node_id", Key, nullable=False, index=True),
    Column("cluster_id", Integer, nullable=False),
    Column("job_id", Integer, nullable=False, index=True),
    Column("run_id", Key, nullable=False, index=True),
    Column("phase", Integer, nullable=False),
    Column("position", Integer, nullable=False),
    _flag("started"),
    Column("ended", Boolean, nullable=False, default=False, index=True),
    Column("sequence", Integer, nullable=False),
    Column("exit_code", Integer),
    _json("fault", nullable=True),
    _time("ended_at", nullable=True),
    _flag("prepared"),
)

operations = Table(
    "operations",
    metadata,
    Column("id", Key, primary_key=True),
    _text("kind"),
    Column("target", Integer, nullable=False),
    Column("target_key", Key, nullable=False),
    Column("resource_id", Text, nullable=False),
    _text("location"),
    _time("started"),
    Column("ended", Instant, nullable=True, index=True),
    _json("error", nullable=True),
)

events = Table(
    "events",
    metadata,
    _id(),
    _text("kind"),
    Column("object_id", Key, nullable=False, index=True),
    _text("before"),
    _text("after"),
    _text("event"),
    Column("reason", Text, nullable=False),
    _text("actor"),
    _time("at"),
)

vault_secrets = Table(
    "vault_secrets",
    metadata,
    _id(),
    Column("version", Key, nullable=False),
    Column("vault", Key, nullable=False),
    Column("name", Key, nullable=False),
    _time("created"),
    Column("secrets", Text, nullable=False),
    Index("ix_vault_secrets_name", "vault", "name"),
    sqlite_autoincrement=True,
)

outbox = Table(
    "outbox",
    metadata,
    _id(),
    _text("kind"),
    Column("object_id", Key, nullable=False),
    sqlite_autoincrement=True,
)

principals = Table(
    "principals",
    metadata,
    Column("client_id", Key, primary_key=True),
    _text("object_id"),
    _text("secret_hash"),
)

registrations = Table("registrations", metadata, Column("namespace", Key, primary_key=True), _text("state"))
