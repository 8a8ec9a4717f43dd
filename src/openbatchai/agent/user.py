"""Acting for the user whom a task's processes run as, when that is not the agent's own.

What lies where a job can write is opened by that user's rights: a link that the job put there leads the
agent nowhere the job could not go by itself.
"""

import contextlib
import os
from collections.abc import Iterator

from openbatchai.agent.spec import Json

# A job and the service both write to the trees of storage, by their group.
_UMASK = 0o002


@contextlib.contextmanager
def acting_as(user: Json | None) -> Iterator[None]:
    """With the rights of `user` (uid, gid, groups); with one's own when there is none."""
    if user is None:
        yield
        return
    own = (os.geteuid(), os.getegid(), os.getgroups())
    os.setgroups(user["groups"])
    os.setegid(user["gid"])
    os.seteuid(user["uid"])
    mask = os.umask(_UMASK)
    try:
        yield
    finally:
        os.umask(mask)
        os.seteuid(own[0])
        os.setegid(own[1])
        os.setgroups(own[2])


def become(user: Json) -> None:
    """For good; only for a process that will run something of the user's."""
    os.setgroups(user["groups"])
    os.setresgid(user["gid"], user["gid"], user["gid"])
    os.setresuid(user["uid"], user["uid"], user["uid"])
    os.umask(_UMASK)
