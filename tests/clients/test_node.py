"""The SDKs for JavaScript on Node, fetched by npm."""

import fcntl
import json
import shutil
import subprocess

import pytest
from harness.service import clean_environment
from harness.venvs import cache_directory

from .conftest import DRIVES, values

PACKAGES = ("@azure/storage-blob@12.32.0", "@azure/storage-file-share@12.31.0")


@pytest.fixture(scope="module")
def home():
    """A directory with the packages and the drive beside them, as Node looks for them."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("npm or node is not installed")
    place = cache_directory() / "node-storage-12.32.0-12.31.0"
    place.mkdir(exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "complete").exists():
            (place / "package.json").write_text("{}")
            command = ["npm", "install", "--no-audit", "--no-fund", *PACKAGES]
            done = subprocess.run(command, cwd=place, capture_output=True, text=True)
            if done.returncode != 0:
                pytest.skip(f"npm cannot fetch them: {done.stderr[-300:]}")
            (place / "complete").touch()
    shutil.copy(DRIVES / "node.mjs", place)
    return place


@pytest.mark.parametrize("proxied", [False, True], ids=["by URL", "through the proxy"])
def test_storage(service, home, tmp_path, proxied):
    given = tmp_path / "values.json"
    given.write_text(json.dumps(values(service, proxied)))
    command = ["node", str(home / "node.mjs"), str(given)]
    if proxied:
        # Node takes additional authorities by a variable of its own.
        done = service.run(command, timeout=300)
    else:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=clean_environment())
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
