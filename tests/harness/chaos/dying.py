"""`batchai` in a process that dies by -9 before the N-th write: `python dying.py N up --home …`.

A write is a statement that changes the control store, the begin or commit of a transaction, or a call that
changes files, starts a process or sends a signal. SQLAlchemy and the interpreter report them (its events,
audit hooks), so nothing of ours is replaced. N = 0: it dies only by others' hands.
"""

import itertools
import os
import signal
import sys
from typing import Any

# As sys.addaudithook names them.
CALLS = {
    *("os.chmod", "os.chown", "os.link", "os.mkdir", "os.posix_spawn", "os.remove", "os.rename", "os.rmdir"),
    *("os.symlink", "os.truncate", "os.utime", "signal.pidfd_send_signal", "subprocess.Popen"),
}
WRITES = ("INSERT", "UPDATE", "DELETE")


def die_before(number: int) -> None:
    """From now on this process counts its writes, and kills itself before that one."""
    from sqlalchemy import Connection, Engine, event

    count = itertools.count(1)

    def step() -> None:
        if next(count) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(call: str, arguments: tuple[Any, ...]) -> None:
        if call in CALLS or (call == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            step()

    @event.listens_for(Engine, "before_cursor_execute")
    def execute(_: Connection, cursor: Any, statement: str, *others: Any) -> None:
        if statement.startswith(WRITES):
            step()

    @event.listens_for(Engine, "begin")
    @event.listens_for(Engine, "commit")
    def transact(_: Connection) -> None:
        step()

    sys.addaudithook(audit)


def main() -> None:
    number = int(sys.argv.pop(1))
    if number:
        die_before(number)
    from openbatchai.cli import main as batchai

    sys.exit(batchai())


if __name__ == "__main__":
    main()
