"""Runs the `check_*` functions of a drive, each on its own, and says which failed. Standard library only: it runs
in the environment of each client, with whatever Python that has.

    python DRIVE.py VALUES.json
"""

import contextlib
import json
import sys
import traceback


def load():
    """What the test says about the service: account, key, addresses, and whether to go through the proxy."""
    with open(sys.argv[1]) as stream:  # noqa: PTH123 - for interpreters of any age
        return json.load(stream)


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
    print("{} checks, {} failed".format(len(names), failed))  # noqa: UP032 - for interpreters of any age
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
        assert not codes or code in codes or status in codes, (code, status, str(error)[:300])
    else:
        raise AssertionError("nothing was refused")
