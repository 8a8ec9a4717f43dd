"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(length=512), nullable=False),
        sa.Column("object_id", sa.String(length=256), nullable=False),
        sa.Column("before", sa.String(length=512), nullable=False),
        sa.Column("after", sa.String(length=512), nullable=False),
        sa.Column("event", sa.String(length=512), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(length=512), nullable=False),
        sa.Column("at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_events_object_id", "events", ["object_id"], unique=False)
    op.create_table(
        "operations",
        sa.Column("id", sa.String(length=256), nullable=False),
        sa.Column("kind", sa.String(length=512), nullable=False),
        sa.Column("target", sa.Integer(), nullable=False),
        sa.Column("target_key", sa.String(length=256), nullable=False),
        sa.Column("resource_id", sa.Text(), nullable=False),
        sa.Column("location", sa.String(length=512), nullable=False),
        sa.Column("started", sa.String(length=32), nullable=False),
        sa.Column("ended", sa.String(length=32), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_operations_ended", "operations", ["ended"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(length=512), nullable=False),
        sa.Column("object_id", sa.String(length=256), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "principals",
        sa.Column("client_id", sa.String(length=256), nullable=False),
        sa.Column("object_id", sa.String(length=512), nullable=False),
        sa.Column("secret_hash", sa.String(length=512), nullable=False),
        sa.PrimaryKeyConstraint("client_id"),
    )
    op.create_table(
        "registrations",
        sa.Column("namespace", sa.String(length=256), nullable=False),
        sa.Column("state", sa.String(length=512), nullable=False),
        sa.PrimaryKeyConstraint("namespace"),
    )
    op.create_table(
        "resource_groups",
        sa.Column("key", sa.String(length=256), nullable=False),
        sa.Column("name", sa.String(length=512), nullable=False),
        sa.Column("location", sa.String(length=512), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("deleting", sa.Boolean(), nullable=False),
        sa.Column("created", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "settings",
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("value", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "storage_accounts",
        sa.Column("key", sa.String(length=256), nullable=False),
        sa.Column("name", sa.String(length=512), nullable=False),
        sa.Column("group_key", sa.String(length=256), nullable=False),
        sa.Column("group_name", sa.String(length=512), nullable=False),
        sa.Column("location", sa.String(length=512), nullable=False),
        sa.Column("kind", sa.String(length=512), nullable=False),
        sa.Column("sku", sa.String(length=512), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("created", sa.String(length=32), nullable=False),
        sa.Column("secrets", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("ix_storage_accounts_group_key", "storage_accounts", ["group_key"], unique=False)
    op.create_table(
        "tasks",
        sa.Column("id", sa.String(length=256), nullable=False),
        sa.Column("kind", sa.String(length=512), nullable=False),
        sa.Column("node_id", sa.String(length=256), nullable=False),
        sa.Column("cluster_id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.String(length=256), nullable=False),
        sa.Column("phase", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("started", sa.Boolean(), nullable=False),
        sa.Column("ended", sa.Boolean(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("fault", sa.Text(), nullable=True),
        sa.Column("ended_at", sa.String(length=32), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_tasks_ended", "tasks", ["ended"], unique=False)
    op.create_index("ix_tasks_job_id", "tasks", ["job_id"], unique=False)
    op.create_index("ix_tasks_node_id", "tasks", ["node_id"], unique=False)
    op.create_index("ix_tasks_run_id", "tasks", ["run_id"], unique=False)
    op.create_table(
        "workspaces",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("group_key", sa.String(length=256), nullable=False),
        sa.Column("group_name", sa.String(length=512), nullable=False),
        sa.Column("key", sa.String(length=256), nullable=False),
        sa.Column("name", sa.String(length=512), nullable=False),
        sa.Column("location", sa.String(length=512), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("deleting", sa.Boolean(), nullable=False),
        sa.Column("created", sa.String(length=32), nullable=False),
        sa.Column("changed", sa.String(length=32), nullable=False),
        sa.Column("etag", sa.String(length=512), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("group_key", "key", name="uq_workspaces_group_key_key"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "clusters",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("workspace_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=256), nullable=False),
        sa.Column("name", sa.String(length=512), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("legacy", sa.Text(), nullable=False),
        sa.Column("location", sa.String(length=512), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.String(length=512), nullable=False),
        sa.Column("deleting", sa.Boolean(), nullable=False),
        sa.Column("created", sa.String(length=32), nullable=False),
        sa.Column("changed", sa.String(length=32), nullable=False),
        sa.Column("etag", sa.String(length=512), nullable=False),
        sa.Column("modified", sa.String(length=32), nullable=False),
        sa.Column("allocation_state", sa.String(length=32), nullable=False),
        sa.Column("allocation_changed", sa.String(length=32), nullable=False),
        sa.Column("target", sa.Integer(), nullable=False),
        sa.Column("errors", sa.Text(), nullable=False),
        sa.Column("setup_suffix", sa.String(length=512), nullable=False),
        sa.Column("secrets", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspaces.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("workspace_id", "key", name="uq_clusters_workspace_id_key"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "experiments",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("workspace_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=256), nullable=False),
        sa.Column("name", sa.String(length=512), nullable=False),
        sa.Column("deleting", sa.Boolean(), nullable=False),
        sa.Column("created", sa.String(length=32), nullable=False),
        sa.Column("changed", sa.String(length=32), nullable=False),
        sa.Column("etag", sa.String(length=512), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspaces.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("workspace_id", "key", name="uq_experiments_workspace_id_key"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("experiment_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=256), nullable=False),
        sa.Column("name", sa.String(length=512), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("legacy", sa.Text(), nullable=False),
        sa.Column("location", sa.String(length=512), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.String(length=512), nullable=False),
        sa.Column("cluster_id", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("node_count", sa.Integer(), nullable=False),
        sa.Column("segment", sa.Text(), nullable=False),
        sa.Column("layout", sa.String(length=512), nullable=False),
        sa.Column("deleting", sa.Boolean(), nullable=False),
        sa.Column("created", sa.String(length=32), nullable=False),
        sa.Column("changed", sa.String(length=32), nullable=False),
        sa.Column("etag", sa.String(length=512), nullable=False),
        sa.Column("modified", sa.String(length=32), nullable=False),
        sa.Column("execution_state", sa.String(length=32), nullable=False),
        sa.Column("execution_changed", sa.String(length=32), nullable=False),
        sa.Column("started", sa.String(length=32), nullable=True),
        sa.Column("ended", sa.String(length=32), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("errors", sa.Text(), nullable=False),
        sa.Column("run_id", sa.String(length=256), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("stop_reason", sa.String(length=512), nullable=False),
        sa.Column("requeue", sa.Boolean(), nullable=False),
        sa.Column("cluster_spec", sa.Text(), nullable=False),
        sa.Column("secrets", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment_id"],
            ["experiments.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("experiment_id", "key", name="uq_jobs_experiment_id_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_jobs_deleting", "jobs", ["deleting"], unique=False)
    op.create_index(
        "ix_jobs_queue", "jobs", ["cluster_id", "execution_state", "priority", "id"], unique=False
    )
    op.create_index("ix_jobs_run_id", "jobs", ["run_id"], unique=False)
    op.create_index("ix_jobs_state", "jobs", ["execution_state"], unique=False)
    op.create_table(
        "nodes",
        sa.Column("id", sa.String(length=256), nullable=False),
        sa.Column("cluster_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("changed", sa.String(length=32), nullable=False),
        sa.Column("task_id", sa.String(length=512), nullable=False),
        sa.Column("provisioned", sa.Boolean(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("run_id", sa.String(length=256), nullable=False),
        sa.Column("leave_after_run", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cluster_id"],
            ["clusters.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_nodes_cluster_id", "nodes", ["cluster_id"], unique=False)
    op.create_index("ix_nodes_run_id", "nodes", ["run_id"], unique=False)
