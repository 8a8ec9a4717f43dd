"""The control plane over a scripted engine: a real store, real use cases, time in the test's hand."""

from datetime import UTC, datetime, timedelta

import pytest

from openbatchai.domain.ports import DirectoryEntry, ItemRef, MountRefusedError
from openbatchai.engines.fake import FakeEngine
from openbatchai.loops.reconciler import Reconciler
from openbatchai.services import groups, workspaces
from openbatchai.services.context import Context
from openbatchai.store.schema import upgrade
from openbatchai.store.secrets import SecretBox
from openbatchai.store.unit import Store, events_of, open_engine
from openbatchai.wire.batchai.versions import LATEST

SUBSCRIPTION = "11111111-1111-1111-1111-111111111111"
KEY = "a2V5"


class Clock:
    def __init__(self):
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self):
        return self.time

    def advance(self, seconds):
        self.time += timedelta(seconds=seconds)


class Content:
    """Storage as the control plane sees it: what is listed, and whether a reader has unread lines.

    While there is a `failure`, reading and deleting fail with it. `key` is the one that mounts.
    """

    def __init__(self):
        self.entries: list[DirectoryEntry] = []
        self.unread = False
        self.accounts: set[str] = set()
        self.failure: OSError | None = None
        self.key = KEY

    def create_account(self, account):
        self.accounts.add(account)

    def delete_account(self, account):
        self._check()
        self.accounts.discard(account)

    def _check(self):
        if self.failure:
            raise self.failure

    def create_container(self, ref):
        return True

    def list_directory(self, ref: ItemRef):
        self._check()
        return self.entries

    def read_sas(self, ref, expiry):
        return "sig=x"

    def unread_since(self, ref, window_s):
        return self.unread

    def locate(self, ref, account_key):
        if account_key != self.key:
            raise MountRefusedError(
                f"the key of account '{ref.account}' is not valid (share '{ref.container}')"
            )
        return "/tmp"


class Plane:
    """The control plane in a test's hand; `settle` runs the reconciler until nothing changes."""

    def __init__(self, path):
        self.clock = Clock()
        self.content = Content()
        self.engine = FakeEngine(self.clock, self.content)
        database = open_engine(path / "control.db")
        upgrade(database)
        self.store = Store(database, SecretBox(path / "key"))
        self.context = Context(
            store=self.store,
            storage=self.content,
            engine=self.engine,
            clock=self.clock,
            tenant="t",
            subscription=SUBSCRIPTION,
            forget_keys=lambda account: None,
        )
        self.changed = False
        self.store.after_commit(self._note)
        self.engine.on_change(self._note)
        self.reconciler = Reconciler(self.context)
        groups.put(self.context, "rg", "eastus", {}, "me")
        workspaces.put(self.context, "rg", "ws", "eastus", {}, "me")
        workspaces.put_experiment(self.context, "rg", "ws", "ex", "me")

    def _note(self):
        self.changed = True

    def settle(self):
        """As after a start: first a whole round, then only what is due."""
        deadline = None
        for number in range(50):
            self.changed = False
            deadline = self.reconciler.step(forced=number == 0)
            self.reconciler.clean(forced=number == 0)
            if not self.changed:
                return deadline
        raise AssertionError("the reconciler does not come to rest")

    def story(self, kind, object_id):
        with self.store.read() as unit:
            return [(e.event, e.after) for e in events_of(unit, kind, str(object_id))]

    def rows(self, table, **where):
        with self.store.read() as unit:
            return getattr(unit, table).list(**where)


@pytest.fixture
def plane(tmp_path):
    plane = Plane(tmp_path)
    yield plane
    plane.store.close()


def cluster_body(count=1, deallocation="requeue", auto=None, key=KEY, size="STANDARD_D1", **extra):
    scale = (
        {"autoScale": auto}
        if auto
        else {"manual": {"targetNodeCount": count, "nodeDeallocationOption": deallocation}}
    )
    share = {
        "accountName": "acct",
        "azureFileUrl": "https://acct.file.core.windows.net/share",
        "credentials": {"accountKey": key},
        "relativeMountPath": "afs",
    }
    return LATEST.cluster_request(
        {
            "properties": {
                "vmSize": size,
                "userAccountSettings": {"adminUserName": "u"},
                "scaleSettings": scale,
                "nodeSetup": {"mountVolumes": {"azureFileShares": [share]}, **extra},
            }
        }
    )


def job_body(cluster="c", command="true", nodes=1, **extra):
    return LATEST.job_request(
        {
            "properties": {
                "cluster": {
                    "id": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.BatchAI"
                    f"/workspaces/ws/clusters/{cluster}"
                },
                "nodeCount": nodes,
                "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/afs",
                "customToolkitSettings": {"commandLine": command},
                **extra,
            }
        }
    )
