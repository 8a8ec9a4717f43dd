import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from openbatchai.engines.removal import remove_tree


@pytest.fixture
def share(tmp_path):
    share = tmp_path / "share"
    share.mkdir()
    (share / "precious").touch()
    return share


def test_links_are_removed_and_what_they_lead_to_stays(tmp_path, share):
    tree = tmp_path / "tree"
    (tree / "mounts").mkdir(parents=True)
    (tree / "mounts" / "link").symlink_to(share)

    assert remove_tree(tree)

    assert not tree.exists()
    assert (share / "precious").exists()


def test_a_link_given_itself_is_only_unlinked(tmp_path, share):
    link = tmp_path / "link"
    link.symlink_to(share)

    assert remove_tree(link)

    assert not link.is_symlink()
    assert (share / "precious").exists()


def test_what_is_not_there_counts_as_removed(tmp_path):
    assert remove_tree(tmp_path / "nothing")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_bind_mount_is_unmounted_and_its_files_stay(tmp_path, share):
    place = tmp_path / "tree with space" / "inner"
    place.mkdir(parents=True)
    subprocess.run(["mount", "--bind", share, place], check=True)
    assert (place / "precious").exists()

    assert remove_tree(place.parent)

    assert not place.parent.exists()
    assert (share / "precious").exists()


def test_directories_without_write_permission_are_removed(tmp_path):
    locked = tmp_path / "tree" / "locked"
    locked.mkdir(parents=True)
    (locked / "file").touch()
    locked.chmod(0o500)

    assert remove_tree(tmp_path / "tree")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user to become")
@pytest.mark.parametrize("mode", [0o000, 0o300, 0o500])
def test_directories_their_owner_cannot_use_are_removed(mode):
    """Root may always; so this is done as nobody. What a link leads to keeps its mode."""
    home = Path(tempfile.mkdtemp())
    other = home / "other"
    locked = home / "tree" / "locked"
    (locked / "inner").mkdir(parents=True)
    (locked / "inner" / "file").touch()
    other.mkdir(mode=0o755)
    (home / "tree" / "link").symlink_to(other)
    for path in (home, *home.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    locked.chmod(mode)
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            os._exit(0 if remove_tree(home / "tree") else 1)
        finally:
            os._exit(2)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert other.stat().st_mode & 0o777 == 0o755
    shutil.rmtree(home)
