"""Whom tasks run as: with root an unprivileged user of this machine, else whoever started the service.

That user gets at what a task needs through the group: it may pass through the home and its storage, whose
trees belong to the group and hand it on (setgid), and sees nothing else of the home.
"""

import os
import pwd
import stat
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The first that the machine has.
USUAL = ("openbatchai", "nobody")

_PASS, _WRITE, _READ = 0o010, 0o020, 0o040
_LIMIT_S = 20


class NoSuchUserError(Exception):
    """Tasks cannot run as the user that the configuration names; the text says why."""


@dataclass(frozen=True)
class JobUser:
    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]

    def to_task(self) -> dict[str, Any]:
        """As task.json names it."""
        return {"uid": self.uid, "gid": self.gid, "groups": list(self.groups)}


@dataclass(frozen=True)
class Choice:
    """`user` None: tasks run as the service's own user; `reason` says why, for the one who started it."""

    user: JobUser | None
    reason: str


def choose(wanted: str, home: Path, python: Sequence[Path]) -> Choice:
    """`wanted` is a name, or "" for a usual one. `python` are files and directories of the interpreter.

    Raises NoSuchUserError when `wanted` cannot be; a usual user that cannot reach the home or the interpreter
    is given up, and the choice says so.
    """
    own = os.geteuid()
    if own != 0:
        if wanted and _uid_of(wanted) != own:
            raise NoSuchUserError(f"only root can run tasks as {wanted}")
        return Choice(None, "the service does not run as root")
    if wanted:
        user = _find(wanted)
        if user is None:
            raise NoSuchUserError(f"there is no user {wanted}")
        if user.uid == 0:
            return Choice(None, f"the configuration says {wanted}")
        if closed := _closed_to(user, home, python):
            raise NoSuchUserError(f"the user {wanted} cannot get at {closed}")
        return Choice(user, "")
    user = next((found for name in USUAL if (found := _find(name)) is not None), None)
    if user is None:
        return Choice(None, f"this machine has no user {' or '.join(USUAL)}")
    if closed := _closed_to(user, home, python):
        return Choice(None, f"the user {user.name} cannot get at {closed}")
    return Choice(user, "")


def let_pass(directories: Iterable[Path], user: JobUser) -> None:
    """Let the user pass through directories of the home, and see nothing of them."""
    for directory in directories:
        found = directory.stat()
        if not found.st_mode & 0o001 and not (found.st_gid == user.gid and found.st_mode & _PASS):
            os.chown(directory, -1, user.gid)
            directory.chmod(stat.S_IMODE(found.st_mode) | _PASS)


def share(storage: Path, user: JobUser) -> None:
    """Let the user's group read and write shares and containers, `ACCOUNT/SERVICE/NAME` below storage, and
    only pass through what is above them: who may write there can put a link in their place, which the service
    would follow. What is made in them later inherits the group; what is there from the time before gets it
    once."""
    found = storage.stat()
    done = found.st_gid == user.gid and found.st_mode & stat.S_ISGID
    for account in _directories(storage):
        for part in _directories(account):
            if not done:
                for _, names, files, descriptor in os.fwalk(part, follow_symlinks=False):
                    for name in (*names, *files):
                        _hand_over(name, descriptor, user.gid)
            _lead_on(part, user.gid)
        _lead_on(account, user.gid)
    # Last, since it tells that all the rest is done.
    _lead_on(storage, user.gid)


def _directories(parent: Path) -> list[Path]:
    return [path for path in parent.iterdir() if path.is_dir() and not path.is_symlink()]


def _lead_on(directory: Path, gid: int) -> None:
    """The group may pass; what is hidden is the service's own, and only hands the group on."""
    os.chown(directory, -1, gid)
    mode = stat.S_IMODE(directory.stat().st_mode) & ~_WRITE | stat.S_ISGID
    directory.chmod(mode if directory.name.startswith(".") else mode | _PASS)


def own(directory: Path, user: JobUser) -> None:
    """Give a directory that was just made to the user, with all that is in it; one that is given already is
    left alone, since the user may be at work there. Its own owner tells, and is changed last."""
    if directory.lstat().st_uid == user.uid:
        return
    # From below: what is given already may be exchanged for a link at once, and is not gone through again.
    for folder, names, files in os.walk(directory, topdown=False):
        for name in (*names, *files):
            os.lchown(Path(folder, name), user.uid, user.gid)
    os.lchown(directory, user.uid, user.gid)


def _hand_over(name: str, directory: int, gid: int) -> None:
    """What is private (its group may not read it) stays so."""
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        # A link, or a device: nothing that has a content of its own.
        return
    try:
        found = os.fstat(file)
        is_directory = stat.S_ISDIR(found.st_mode)
        mode = stat.S_IMODE(found.st_mode)
        if mode & _READ:
            mode |= 0o070 if is_directory else 0o060
        os.fchown(file, -1, gid)
        os.fchmod(file, mode | (stat.S_ISGID if is_directory else 0))
    finally:
        os.close(file)


def _find(name: str) -> JobUser | None:
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return None
    groups = tuple(sorted(os.getgrouplist(found.pw_name, found.pw_gid)))
    return JobUser(found.pw_name, found.pw_uid, found.pw_gid, groups)


def _uid_of(name: str) -> int | None:
    found = _find(name)
    return None if found is None else found.uid


# The first argument that whoever runs this cannot pass through or read.
_LOOK = """
for place; do
  if [ -d "$place" ]; then [ -x "$place" ]; else [ -x "$place" ] || [ -r "$place" ]; fi || {
    printf %s "$place"; exit; }
done
"""


def _closed_to(user: JobUser, home: Path, python: Sequence[Path]) -> str:
    """The first place that the user cannot get at; "" when there is none. Asked as the user, since rights
    have more to them than modes."""
    above = list(reversed(home.resolve().parents))
    needed = [place for path in python for place in (*reversed(path.parents), path) if path.exists()]
    places = list(dict.fromkeys(map(str, (*above, *needed))))
    answer = subprocess.run(
        ["/bin/sh", "-c", _LOOK, "sh", *places],
        cwd="/",
        env={},
        user=user.uid,
        group=user.gid,
        extra_groups=list(user.groups),
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    return answer.stdout if answer.returncode == 0 else (answer.stderr.strip() or "/bin/sh")
