"""Entry of the agent: `python -I -S __main__.py TASK_DIRECTORY`.

Run by path, so that an interpreter without site-packages finds the modules beside it.
"""

import os
import sys


def main() -> None:
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from openbatchai.agent.task import carry_out

    carry_out(os.path.abspath(sys.argv[1]))
    # Skips the interpreter's own tear-down: the pidfd fires at once and nothing is left to flush.
    os._exit(0)


if __name__ == "__main__":
    main()
