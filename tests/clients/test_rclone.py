"""rclone as Debian ships it (apt-get install rclone)."""

import filecmp
import os
import shutil
from datetime import UTC, datetime, timedelta

import pytest
from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas
from harness.arm import unique

pytestmark = pytest.mark.skipif(shutil.which("rclone") is None, reason="rclone is not installed")


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "source"
    (root / "sub/below").mkdir(parents=True)
    (root / "big.bin").write_bytes(os.urandom(9_000_000))
    (root / "empty").touch()
    (root / "sub/a b+é%.txt").write_text("hello\n")
    (root / "sub/below/x.txt").write_text("x\n")
    return root


@pytest.fixture(params=["through the proxy", "by SAS URL"])
def rclone(service, request):
    """The remote `b:`, once as an account of Azure behind the proxy, once as a URL with its signature."""
    settings = {"TYPE": "azureblob", "ACCOUNT": service.account, "KEY": service.key}
    if request.param == "by SAS URL":
        everything = ResourceTypes(service=True, container=True, object=True)
        rights = AccountSasPermissions(read=True, list=True, write=True, delete=True, create=True)
        soon = datetime.now(UTC) + timedelta(hours=1)
        token = generate_account_sas(service.account, service.key, everything, rights, soon)
        url = f"{service.endpoint['blob']}/{service.account}/?{token}"
        settings = {"TYPE": "azureblob", "SAS_URL": url}
    environment = {f"RCLONE_CONFIG_B_{name}": value for name, value in settings.items()}

    def run(*words):
        done = service.run(
            ["rclone", "--retries", "1", "--low-level-retries", "1", *map(str, words)],
            env={**environment, "RCLONE_CONFIG": "/dev/null", "RCLONE_AZUREBLOB_CHUNK_SIZE": "4M"},
            timeout=120,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


def test_copy_sync_and_purge(rclone, tree, tmp_path):
    remote = f"b:{unique('rclone')}"
    rclone("mkdir", remote)
    rclone("copy", tree, remote)
    names = ["big.bin", "empty", "sub/", "sub/a b+é%.txt", "sub/below/", "sub/below/x.txt"]
    assert sorted(rclone("lsf", "-R", remote).splitlines()) == names
    assert rclone("ls", f"{remote}/sub/below").split() == ["2", "x.txt"]
    rclone("check", tree, remote)
    assert rclone("cat", f"{remote}/sub/below/x.txt") == "x\n"
    assert rclone("cat", "--offset", "2", "--count", "3", f"{remote}/sub/a b+é%.txt") == "llo"

    rclone("copy", remote, tmp_path / "back")
    compared = filecmp.dircmp(tree, tmp_path / "back")
    assert not (compared.left_only)
    assert not (compared.right_only)
    assert not (compared.diff_files)
    assert (tmp_path / "back/big.bin").stat().st_mtime == pytest.approx(
        (tree / "big.bin").stat().st_mtime, abs=1e-6
    )

    (tree / "empty").unlink()
    (tree / "sub/below/x.txt").write_text("changed\n")
    rclone("sync", tree, remote)
    assert rclone("cat", f"{remote}/sub/below/x.txt") == "changed\n"
    assert "empty" not in rclone("lsf", remote)

    rclone("copyto", f"{remote}/big.bin", f"{remote}/copy.bin")
    rclone("moveto", f"{remote}/copy.bin", f"{remote}/moved.bin")
    rclone("check", tree, remote, "--one-way")
    assert rclone("lsf", remote).splitlines() == ["big.bin", "moved.bin", "sub/"]
    rclone("settier", "Cool", f"{remote}/moved.bin")
    rclone("delete", f"{remote}/sub")
    assert rclone("size", "--json", remote).startswith('{"count":2,')
    rclone("purge", remote)
    assert remote[2:] not in rclone("lsd", "b:")
