"""The key ring in memory: a key that was replaced must be dead at once, whoever is reading it."""

from contextlib import contextmanager
from types import SimpleNamespace

from openbatchai.services.accounts import StoredKeys


class Reading:
    """A store whose keys are replaced while they are being read."""

    def __init__(self) -> None:
        self.stored = {"key1": "old", "key2": "other"}
        self.meanwhile = lambda: None

    @contextmanager
    def read(self):
        seen = SimpleNamespace(secrets=dict(self.stored))
        yield SimpleNamespace(accounts=SimpleNamespace(get=lambda key: seen))
        self.meanwhile()


def test_a_key_replaced_while_it_is_read_is_not_remembered():
    store = Reading()
    ring = StoredKeys(store)

    def regenerate():
        store.meanwhile = lambda: None
        store.stored["key1"] = "new"
        ring.forget("acct")

    store.meanwhile = regenerate
    ring.keys("acct")

    assert ring.keys("acct") == ("new", "other")
