"""Every acknowledged byte outlives kill -9: clients write, the service dies at any byte, and starts again.

Each kill comes between two acknowledged writes. What had no answer is entirely old or entirely new, ranges
of files and pages apart, of which each byte is (docs/storage.md, "Durability").
"""

import itertools
import os
import random
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest
from azure.storage.blob import AccountSasPermissions, ResourceTypes, Services, generate_account_sas
from harness.storage_writers import CONTAINER, SHARE, BlobWriter, Client, FileWriter, PageWriter, Round
from harness.waiting import until


def account_sas(service):
    return generate_account_sas(
        service.account,
        service.key,
        ResourceTypes(service=True, container=True, object=True),
        AccountSasPermissions(
            **dict.fromkeys(("read", "write", "delete", "list", "add", "create", "tag"), True)
        ),
        datetime.now(UTC) + timedelta(days=1),
        services=Services(blob=True, fileshare=True),
    )


def new_client(service, sas):
    return Client({"blob": service.endpoint["blob"], "file": service.endpoint["file"]}, service.account, sas)


def offered(client):
    """Which of the calls that not every version of this service has are answered."""
    scratch = f"{CONTAINER}/scratch"
    blob = {"x-ms-blob-type": "BlockBlob"}
    assert client.ask("PUT", "blob", scratch, None, blob, b"x").status == 201
    copy = {"x-ms-copy-source": client.url("blob", scratch)}
    page = {"x-ms-blob-type": "PageBlob", "x-ms-blob-content-length": "512"}
    file = {"x-ms-type": "file", "x-ms-content-length": "0"}
    assert client.ask("PUT", "file", f"{SHARE}/scratch", None, file).status == 201
    rename = {"x-ms-file-rename-source": client.url("file", f"{SHARE}/scratch")}
    tags = b"<Tags><TagSet><Tag><Key>t</Key><Value>1</Value></Tag></TagSet></Tags>"
    answers = {
        "copy": client.ask("PUT", "blob", f"{CONTAINER}/scratch2", None, copy),
        "page": client.ask("PUT", "blob", f"{CONTAINER}/scratch3", None, page),
        "snapshot": client.ask("PUT", "blob", scratch, {"comp": "snapshot"}),
        "tags": client.ask("PUT", "blob", scratch, {"comp": "tags"}, None, tags),
        "rename": client.ask("PUT", "file", f"{SHARE}/scratch2", {"comp": "rename"}, rename),
    }
    return {name for name, answer in answers.items() if answer.status < 300}


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
    sas = account_sas(service)
    client = new_client(service, sas)
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
            writer.client = new_client(service, sas)
        Round(writers, service.kill, chance).run()
        assert sum(writer.acknowledged for writer in writers) > before
        lost += sum(writer.doubt is not None for writer in writers)
        service.up()
        for writer in writers:
            writer.client.close()
            writer.client = new_client(service, sas)
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
