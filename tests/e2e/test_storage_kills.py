"""Every acknowledged byte outlives kill -9: clients write, the service dies at any byte, and starts again.

Each kill comes between two acknowledged writes. What had no answer is entirely old or entirely new, ranges
of files and pages apart, of which each byte is (docs/storage.md, "Durability").
"""

import itertools
import os
import random
import sqlite3

import pytest
from harness.storage_writers import (
    CONTAINER,
    SHARE,
    BlobWriter,
    FileWriter,
    PageWriter,
    Round,
    client_of,
    offered,
)
from harness.waiting import until


def litter(service):
    """What is in staging, and rows of the side store whose item is not there."""
    home = service.home / "storage" / service.account
    found = [path for path in (home / ".staging").glob("*/*") if path.parent.name != "blocks"]
    side = sqlite3.connect(home / ".meta" / "side.db", timeout=30)
    rows = side.execute("SELECT service, container, path FROM item").fetchall()
    side.close()
    return found + [row for row in rows if not os.path.lexists(home.joinpath(*row))]


def campaign(service, kills):
    """Kill the service so many times; how often a call was under way whose answer was lost."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    client = client_of(service)
    assert client.ask("PUT", "blob", CONTAINER, {"restype": "container"}).status == 201
    assert client.ask("PUT", "file", SHARE, {"restype": "share"}).status == 201
    calls = offered(client)
    client.close()
    kinds = [BlobWriter, BlobWriter, FileWriter, PageWriter if "page" in calls else BlobWriter]
    writers = [
        kind(number, random.Random(chance.random()), calls) for kind, number in zip(kinds, itertools.count())
    ]
    lost = 0
    for _ in range(kills):
        before = sum(writer.acknowledged for writer in writers)
        for writer in writers:
            writer.client = client_of(service)
        Round(writers, service.kill, chance).run()
        assert sum(writer.acknowledged for writer in writers) > before
        lost += sum(writer.doubt is not None for writer in writers)
        service.up()
        for writer in writers:
            writer.client.close()
            writer.client = client_of(service)
            writer.check()
            writer.client.close()
        until(lambda: not litter(service), "an end of the cleaning")
    return lost


def test_every_acknowledged_byte_outlives_a_few_kills(new_service):
    assert campaign(new_service().up(), 15) > 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_acknowledged_byte_outlives_five_hundred_kills(new_service):
    assert campaign(new_service().up(), 500) > 250
