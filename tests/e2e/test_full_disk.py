"""A full disk: writes that need space are refused with a plain code and change nothing; all else works."""

import contextlib
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from harness.arm import Arm, Lab
from harness.service import Service
from harness.storage_writers import (
    CONTAINER,
    SHARE,
    BlobWriter,
    FileWriter,
    FullError,
    KilledError,
    PageWriter,
    client_of,
    offered,
)
from harness.waiting import until

MIB = 1 << 20
DISK = 96 * MIB


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A small file system of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk; a namespace has this test run as root")
    place = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture(scope="module")
def service(disk):
    started = Service(disk / "home").up()
    yield started
    started.discard()


@pytest.fixture(scope="module")
def lab(service):
    made = Lab(Arm(service))

    def idle():
        return made.arm.get(made.cluster)["properties"]["nodeStateCounts"]["idleNodeCount"] == 1

    # A node whose preparation meets a full disk is lost, and says so: not what is looked at here.
    until(idle, "a node that is ready")
    return made


@pytest.fixture
def client(service):
    made = client_of(service)
    places = (("blob", CONTAINER, "container"), ("file", SHARE, "share"))
    for kind, name, restype in places:
        assert made.ask("PUT", kind, name, {"restype": restype}).status == 201
    yield made
    for kind, name, restype in places:
        assert made.ask("DELETE", kind, name, {"restype": restype}).status == 202
    made.close()


@pytest.fixture
def writers(client, request):
    chance = random.Random(request.node.name)
    calls = offered(client)
    kinds = [BlobWriter, FileWriter] + ([PageWriter] if "page" in calls else [])
    made = [kind(f"{request.node.callspec.id}{n}", chance, calls) for n, kind in enumerate(kinds)]
    for writer in made:
        writer.client = client
        for _ in range(6):
            writer.step()
    return made


@pytest.fixture
def fill(disk):
    """Leaves so many bytes free, None for all."""

    def leave(room):
        if room is None:
            ballast.unlink(missing_ok=True)
            return
        with ballast.open("ab") as file:
            # The service writes its log meanwhile, so what was free a moment ago may be taken.
            while (free := shutil.disk_usage(disk).free - room) > 0:
                with contextlib.suppress(OSError):
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), free)

    ballast = disk / "ballast"
    yield leave
    leave(None)


@pytest.mark.parametrize("room", [0, 256 << 10])
def test_a_full_disk_refuses_writes_and_loses_nothing(fill, service, writers, room):
    fill(room)
    refused = 0
    for _ in range(25):
        for writer in writers:
            try:
                writer.step()
            except FullError:
                refused += 1
                writer.check(refused=True)
            except KilledError:
                raise AssertionError("no answer") from None
        # What deletions set free is taken away again.
        fill(room)
    assert refused > 0
    fill(None)
    for writer in writers:
        writer.check()
        for _ in range(10):
            writer.step()
        writer.check()
    staging = service.home / "storage" / service.account / ".staging"
    assert [path for path in staging.glob("*/*") if path.parent.name != "blocks"] == []


def test_deleting_on_a_full_disk_makes_room(fill, client):
    blob = {"x-ms-blob-type": "BlockBlob"}
    names = [f"{CONTAINER}/big{n}" for n in range(4)]
    for name in names:
        assert client.ask("PUT", "blob", name, None, blob, bytes(MIB)).status == 201
    fill(0)
    assert client.ask("PUT", "blob", names[0], None, blob, bytes(MIB)).status == 507
    for name in names:
        assert client.ask("DELETE", "blob", name).status == 202
    assert client.ask("PUT", "blob", names[0], None, blob, bytes(2 * MIB)).status == 201
    assert client.ask("GET", "blob", names[0]).body == bytes(2 * MIB)
    fill(None)


def test_the_control_plane_survives_a_full_disk(fill, lab):
    fill(0)
    job = f"{lab.experiment}/jobs/full"
    answers = [lab.arm.ask("PUT", job, {"properties": lab.job_properties("echo done")}) for _ in range(3)]
    for answer in answers:
        assert answer.status_code in (200, 201) or answer.status_code >= 500
        assert answer.headers["content-type"].startswith("application/json")
        assert answer.status_code < 300 or answer.json()["error"]["code"]
    assert lab.arm.ask("GET", lab.cluster).status_code == 200
    fill(None)
    assert lab.succeeds("echo after") == "after\n"
    lab.arm.put(job, {"properties": lab.job_properties("echo done")})
    lab.finished(job)


@pytest.mark.skipif(os.geteuid() == 0, reason="root mounts the small disk itself")
def test_the_same_as_root_of_a_namespace():
    namespace = ["unshare", "--map-root-user", "--mount"]
    if subprocess.run([*namespace, "true"], capture_output=True).returncode != 0:
        pytest.skip("no namespaces here")
    command = [*namespace, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stdout[-5000:]
