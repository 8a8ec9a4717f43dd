"""The control store: transactions, secrets at rest, newer homes."""

import json
import sqlite3
from datetime import UTC, datetime

import pytest

from openbatchai.domain.clusters import NodeState
from openbatchai.domain.model import Node, StorageAccount
from openbatchai.domain.runs import RunState
from openbatchai.domain.view import NodeGone
from openbatchai.store.schema import MIGRATIONS, NewerSchemaError, upgrade
from openbatchai.store.secrets import SecretBox
from openbatchai.store.unit import Store, open_engine

NOW = datetime(2026, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "control.db"


@pytest.fixture
def store(path, tmp_path):
    engine = open_engine(path)
    upgrade(engine)
    store = Store(engine, SecretBox(tmp_path / "key"))
    yield store
    store.close()


def an_account(name="acct"):
    return StorageAccount(
        name, name, "g", "G", "eastus", "Storage", "Standard_LRS", {}, NOW, {"key1": "s3cret"}
    )


def test_records_come_back_as_they_went_in(store):
    store.write(lambda unit: unit.accounts.add(an_account()))
    with store.read() as unit:
        assert unit.accounts.get(key="acct") == an_account()


def test_secrets_are_not_readable_in_the_file(store, path):
    store.write(lambda unit: unit.accounts.add(an_account()))
    store.close()
    content = b"".join(p.read_bytes() for p in path.parent.glob("control.db*"))
    assert b"acct" in content
    assert b"s3cret" not in content


def test_a_failed_transaction_leaves_nothing_and_wakes_nobody(store):
    woken = []
    store.after_commit(lambda: woken.append(True))

    def work(unit):
        unit.accounts.add(an_account())
        unit.changed = True
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        store.write(work)
    with store.read() as unit:
        assert unit.accounts.list() == []
    assert woken == []


def test_whoever_waits_is_woken_after_the_commit(store):
    seen = []

    def look():
        with store.read() as unit:
            seen.append(unit.accounts.count())

    store.after_commit(look)

    def work(unit):
        unit.accounts.add(an_account())
        unit.changed = True

    store.write(work)
    store.write(lambda unit: None)
    assert seen == [1]


def test_a_whole_table_is_never_deleted_by_accident(store):
    with pytest.raises(ValueError, match="whole table"):
        store.write(lambda unit: unit.accounts.remove())


def test_a_home_of_a_newer_version_is_refused_and_left_unchanged(path):
    upgrade(open_engine(path))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = path.read_bytes()
    with pytest.raises(NewerSchemaError, match="newer version"):
        upgrade(open_engine(path))
    assert path.read_bytes() == before


def test_the_schema_is_what_the_tables_say(path):
    engine = open_engine(path)
    upgrade(engine)
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from openbatchai.store.tables import metadata

    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_reader_sees_one_moment_of_all_tables(store):
    with store.read() as unit:
        assert unit.accounts.count() == 0
        store.write(lambda writing: writing.accounts.add(an_account()))
        assert unit.accounts.count() == 0
    with store.read() as unit:
        assert unit.accounts.count() == 1


def test_work_that_fails_in_isolation_is_undone_alone(store):
    def work(unit):
        unit.accounts.add(an_account("before"))
        with unit.isolated("the damaged one"):
            unit.accounts.add(an_account("damaged"))
            raise ValueError("damaged")
        unit.accounts.add(an_account("after"))

    store.write(work)
    with store.read() as unit:
        assert {account.key for account in unit.accounts.list()} == {"before", "after"}


class Feed:
    def __init__(self):
        self.seen, self.losses = [], 0

    def committed(self, changes):
        self.seen += changes

    def lost(self):
        self.losses += 1


def a_node(name):
    return Node(name, 1, NodeState.IDLE, datetime(2026, 1, 1, tzinfo=UTC), "", True, {})


def test_the_feed_gets_what_was_committed_and_nothing_that_was_undone(store):
    feed = Feed()
    store.follow(feed)

    def work(unit):
        unit.connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
        unit.nodes.add(a_node("before"))
        with unit.isolated("the damaged one"):
            unit.nodes.add(a_node("damaged"))
            raise ValueError("damaged")
        unit.nodes.remove(id="before")

    store.write(work)
    assert [change.id for change in feed.seen] == ["before", "before"]
    assert isinstance(feed.seen[-1], NodeGone)


def test_the_feed_is_told_when_what_it_took_early_is_undone(store):
    feed = Feed()
    store.follow(feed)

    def work(unit):
        unit.connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
        unit.nodes.add(a_node("n"))
        assert [change.id for change in unit.take_changes()] == ["n"]
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        store.write(work)
    assert (feed.seen, feed.losses) == ([], 1)


def test_a_home_of_the_first_schema_keeps_its_rows(path):
    """The first version's database, made by its own migration alone."""
    from alembic import command
    from alembic.config import Config

    engine = open_engine(path)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql("INSERT INTO settings VALUES ('kept', 'yes')")
    upgrade(engine)
    store = Store(engine, SecretBox(path.with_name("key")))
    with store.read() as unit:
        assert unit.setting("kept") == "yes"
        assert unit.file_servers.count() == 0
    store.close()


def insert(connection, table, **values):
    names = ", ".join(values)
    places = ", ".join("?" for _ in values)
    connection.exec_driver_sql(f"INSERT INTO {table} ({names}) VALUES ({places})", tuple(values.values()))


def a_running_job(moment):
    return {
        "experiment_id": 1,
        "name": "j",
        "legacy": "{}",
        "location": "",
        "tags": "{}",
        "fingerprint": "",
        "cluster_id": 1,
        "priority": 0,
        "node_count": 1,
        "segment": "",
        "layout": "2018",
        "deleting": 0,
        "created": moment,
        "changed": moment,
        "etag": "",
        "modified": moment,
        "execution_state": "running",
        "execution_changed": moment,
        "started": moment,
        "errors": "[]",
        "attempt": 2,
        "requeue": 0,
        "cluster_spec": "{}",
        "secrets": "",
    }


def test_a_job_that_runs_while_the_home_is_upgraded_goes_on_with_its_run(path):
    from alembic import command
    from alembic.config import Config

    engine = open_engine(path)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    moment = "2026-01-01T00:00:00.000000"
    job = a_running_job(moment)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
        insert(connection, "workspaces", id=1, group_key="g", key="w", **a_parent(moment))
        experiment = {"id": 1, "workspace_id": 1, "key": "e", "name": "e", "deleting": 0, "etag": ""}
        insert(connection, "experiments", created=moment, changed=moment, **experiment)
        hour, week = (json.dumps({"constraints": {"maxWallClockTime": text}}) for text in ("PT1H", "P7D"))
        insert(connection, "jobs", key="a", spec=hour, run_id="r1", stop_reason="", **job)
        insert(connection, "jobs", key="b", spec=week, run_id="r2", stop_reason="peerFailed", **job)
    upgrade(engine)
    with engine.connect() as connection:
        runs = connection.exec_driver_sql("SELECT id, job_id, attempt, state, nodes FROM runs ORDER BY id")
        assert [tuple(row) for row in runs] == [
            ("r1", 1, 2, RunState.ACTIVE, "[]"),
            ("r2", 2, 2, RunState.STOPPING, "[]"),
        ]
        jobs = connection.exec_driver_sql("SELECT limit_s, stop_reason FROM jobs ORDER BY id")
        assert [tuple(row) for row in jobs] == [(3600, ""), (604800, "")]


def test_a_run_in_containers_that_only_prepared_when_the_home_was_upgraded_is_not_over_with_that(path):
    from alembic import command
    from alembic.config import Config

    engine = open_engine(path)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    moment = "2026-01-01T00:00:00.000000"
    wide = {"containerSettings": {"x": 1}, "jobPreparation": {"commandLine": "true"}}
    jobs = {
        "a": (wide, 2),
        "b": (wide, 1),
        "c": ({"jobPreparation": wide["jobPreparation"]}, 2),
        "d": (wide, 2),
    }
    # Of each run: phases of its tasks, and whether they were started.
    tasks = {"a": [(0, 1), (0, 1), (1, 0)], "b": [(0, 1)], "c": [(0, 1), (1, 1)], "d": [(0, 0), (0, 0)]}
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0008")
        connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
        insert(connection, "workspaces", id=1, group_key="g", key="w", **a_parent(moment))
        experiment = {"id": 1, "workspace_id": 1, "key": "e", "name": "e", "deleting": 0, "etag": ""}
        insert(connection, "experiments", created=moment, changed=moment, **experiment)
        for key, (spec, count) in jobs.items():
            job = {**a_running_job(moment), "node_count": count, "limit_s": 60}
            insert(connection, "jobs", key=key, spec=json.dumps(spec), run_id=key, stop_reason="", **job)
            for number, (phase, started) in enumerate(tasks[key]):
                row = {"id": f"{key}{number}", "kind": "run", "node_id": "n", "cluster_id": 1, "job_id": 1}
                row |= {"run_id": key, "phase": phase, "position": number, "started": started, "ended": 0}
                insert(connection, "tasks", sequence=0, **row)
    upgrade(engine)
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT run_id, phase, prepared FROM tasks ORDER BY id").all()
    assert [tuple(row) for row in rows] == [
        *[("a", -1, 1), ("a", -1, 1), ("a", 0, 0)],
        ("b", 0, 0),
        *[("c", 0, 0), ("c", 1, 0)],
        *[("d", 0, 0), ("d", 0, 0)],
    ]


def a_parent(moment):
    return {
        "group_name": "g",
        "name": "w",
        "location": "eastus",
        "tags": "{}",
        "deleting": 0,
        "created": moment,
        "changed": moment,
        "etag": "",
    }


def test_a_page_of_an_experiments_jobs_is_read_in_order_and_not_sorted(path):
    engine = open_engine(path)
    upgrade(engine)
    query = "SELECT * FROM jobs WHERE experiment_id = 1 AND id > 5 ORDER BY id LIMIT 1001"
    with engine.connect() as connection:
        plan = [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")]
    assert len(plan) == 1
    assert "ix_jobs_experiment_id" in plan[0]
