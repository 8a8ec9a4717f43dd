"""The command `cntk configFile=... name=value ...`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from .config import ConfigError, load


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the configuration's commands in their order; 0 when all went well."""
    from ..internal.missing import NotAvailableError
    from ..train.distributed import Communicator
    from .actions import ACTIONS

    given = list(sys.argv[1:] if arguments is None else arguments)
    files = [a.partition("=")[2] for a in given if a.lower().startswith("configfile=")]
    overrides = [a for a in given if not a.lower().startswith("configfile=")]
    if not files:
        print("usage: cntk configFile=FILE [name=value ...]", file=sys.stderr)
        return 2
    log_file = None
    try:
        texts = [Path(name).read_text() for group in files for name in group.split("+")]
        config = load(texts, overrides)
        commands = [name.strip() for name in config.text("command").split(":")]
        redirected = config.text("stderr", "")
        if redirected:
            rank = f"rank{Communicator.rank()}" if Communicator.num_workers() > 1 else ""
            path = Path(f"{redirected}_{'_'.join(commands)}.log{rank}")
            path.parent.mkdir(parents=True, exist_ok=True)
            print(f"Redirecting stderr to file {path}", file=sys.stderr)
            log_file = path.open("w", buffering=1)

        def log(line: str) -> None:
            print(line, file=log_file or sys.stderr, flush=True)

        log(f"Build info: \n\n\tCNTK API 2.7 of openbatchai-cntk, running in {Path.cwd()}\n")
        for name in commands:
            section = config.section(name)
            if section is None:
                raise ConfigError(f"the command '{name}' has no section")
            # An action may list several: action = train:test.
            for action in section.text("action").split(":"):
                if action.strip() not in ACTIONS:
                    raise NotAvailableError(f"action = {action} is not available in openbatchai-cntk")
                log(f'\nAction "{action.strip()}" begins: {name}\n')
                ACTIONS[action.strip()](section, log)
                log(f'\nAction "{action.strip()}" complete.\n')
        log("__COMPLETED__")
    except (OSError, ValueError, RuntimeError, NotImplementedError) as error:
        print(f"\nEXCEPTION occurred: {error}", file=log_file or sys.stderr, flush=True)
        if log_file is not None:
            print(f"EXCEPTION occurred: {error}", file=sys.stderr)
        return 1
    finally:
        if log_file is not None:
            log_file.close()
    Communicator.finalize()
    return 0


if __name__ == "__main__":
    sys.exit(main())
