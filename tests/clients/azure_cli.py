"""The Azure command line of today, as a user of `batchai login` and `batchai run` has it."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.service import Service, clean_environment

from .conftest import environment_with

PINS = ("azure-cli==2.91.0",)
SETTINGS = {
    "AZURE_CORE_COLLECT_TELEMETRY": "no",
    "AZURE_CORE_NO_COLOR": "1",
    "AZURE_CORE_ONLY_SHOW_ERRORS": "1",
}


class AzureCli:
    """Commands in `directory`, which is also the user's home; logged in at once. `ran` has all that ran.

    `program` is another version than that of PINS.
    """

    def __init__(self, service: Service, directory: Path, program: Path | None = None) -> None:
        self.ran: list[str] = []
        self._directory = directory
        program = program or environment_with(PINS).with_name("az")
        bin_directory = directory / "bin"
        bin_directory.mkdir(parents=True)
        # Only az: the rest of its environment is not to hide this machine's programs.
        (bin_directory / "az").symlink_to(program)
        self._environment = {
            **clean_environment(),
            **SETTINGS,
            "HOME": str(directory),
            "PATH": f"{bin_directory}{os.pathsep}{os.environ['PATH']}",
            "BATCHAI_HOME": str(service.home),
        }
        self._environment.pop("AZURE_CONFIG_DIR", None)
        self.batchai(["login"])

    def batchai(self, words: Sequence[str], expect: int = 0) -> "subprocess.CompletedProcess[str]":
        self.ran.append(" ".join(words[1:]))
        done = subprocess.run(
            [sys.executable, "-m", "openbatchai.cli", *words],
            capture_output=True,
            text=True,
            cwd=self._directory,
            env=self._environment,
            timeout=300,
        )
        assert done.returncode == expect, (words, done.stdout[-1500:], done.stderr[-1500:])
        return done

    def line(self, line: str, expect: int = 0) -> str:
        """A printed line, as printed, behind `batchai run`; what it prints."""
        return self.batchai(["run", *shlex.split(line)], expect).stdout

    def __call__(self, line: str, *words: str) -> Any:
        """`az LINE WORDS…`; its JSON, None when it prints nothing."""
        printed = self.batchai(["run", "az", *shlex.split(line), *words]).stdout
        return json.loads(printed) if printed.strip() else None

    def table(self, line: str) -> list[dict[str, str]]:
        """`az LINE -o table`: its rows by the names of its columns."""
        printed = self.line(f"az {line} --output table").splitlines()
        assert len(printed) >= 2, printed
        at = [0]
        for rule in printed[1].split("  ")[:-1]:
            at.append(at[-1] + len(rule) + 2)
        cuts = list(zip(at, [*at[1:], None], strict=True))
        rows = [[row[start:end].strip() for start, end in cuts] for row in (printed[0], *printed[2:])]
        return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]

    def refused(self, line: str, expect: int = 1) -> str:
        """What an `az` command that fails says."""
        return self.batchai(["run", "az", *shlex.split(line)], expect).stderr
