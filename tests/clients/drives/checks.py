"""Runs the `check_*` functions of a drive, each on its own, and says which failed.

It runs in the environment of each client, so it needs the standard library only.

    python DRIVE.py VALUES.json
"""

import contextlib
import json
import sys
import traceback
from pathlib import Path


def load():
    """What the test says about the service: account, key, addresses, and whether to go through the proxy."""
    return json.loads(Path(sys.argv[1]).read_text())


def drive(module):
    """Every check of the module, in the order of the file. Exit status 1 if any failed."""
    failed = 0
    names = [name for name in vars(module) if name.startswith("check_")]
    for name in names:
        try:
            vars(module)[name]()
        except Exception:
            failed += 1
            lines = traceback.format_exc().splitlines()
            # The head says where in the drive, the tail what the client said.
            print("FAILED", name)
            print("\n".join(line[:300] for line in lines[3:7] + lines[7:][-6:]))
    print(f"{len(names)} checks, {failed} failed")
    sys.exit(1 if failed else 0)


@contextlib.contextmanager
def refused(kind, *codes):
    """The block ends in an error of this kind, with one of these codes."""
    try:
        yield
    except kind as error:
        code = getattr(error, "error_code", None)
        code = str(getattr(code, "value", code) or "")
        status = getattr(error, "status_code", None)
        if codes and code not in codes and status not in codes:
            raise AssertionError(f"{code}, {status}: {str(error)[:300]}") from error
    else:
        raise AssertionError("nothing was refused")
