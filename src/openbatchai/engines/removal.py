"""Removing directories that may hold links to shares and mounted file systems.

Files on shares must survive whatever goes wrong here: links are removed as links, and a tree with
something still mounted inside is left alone.
"""

import contextlib
import os
import re
import shutil
import subprocess
from pathlib import Path

_UNMOUNT_TIMEOUT_S = 20


def remove_tree(path: Path) -> bool:
    """Unmount what is mounted below, then remove the tree; False when it had to be left (partly) there."""
    if path.is_symlink():
        path.unlink()
        return True
    if not path.exists():
        return True
    if not unmount_below(path.resolve()):
        return False
    try:
        shutil.rmtree(path)
    except OSError:
        # A job may have taken away its own right to remove files (the tree is ours), or a process that is
        # just ending touched the tree meanwhile.
        # Root has it whatever the modes, and must not be led by a link that takes a directory's place.
        for folder, folders, _ in os.walk(path) if os.geteuid() else ():
            # Before they are entered; a link to a directory stands among them, and its target is not ours.
            for inner in (Path(folder), *(Path(folder, name) for name in folders)):
                with contextlib.suppress(OSError):
                    if not inner.is_symlink():
                        inner.chmod(0o700)
        shutil.rmtree(path, ignore_errors=True)
    return not path.exists()


def unmount_below(path: Path) -> bool:
    """Unmount what is mounted at or below a path, by the kernel's own names: no link is followed. False when
    something could not be."""
    for place in reversed(_mount_points(path)):
        _unmount(place)
    return not _mount_points(path)


def _mount_points(path: Path) -> list[Path]:
    """At or below a path, outer ones first."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    points = (Path(_unescaped(line.split(" ")[4])) for line in lines)
    return [point for point in points if point.is_relative_to(path)]


def _unescaped(text: str) -> str:
    """mountinfo writes space, tab, newline and backslash as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _unmount(place: Path) -> None:
    for options in ([], ["-l"]):
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            ended = subprocess.run(
                ["umount", *options, str(place)], capture_output=True, timeout=_UNMOUNT_TIMEOUT_S, check=False
            )
            if ended.returncode == 0:
                return
