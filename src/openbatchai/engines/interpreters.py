"""A Python environment per run, made on top of an existing one without copying anything.

A job may `pip install`. With an image mapped to an interpreter of this machine that must neither write
into its environment nor fail, so each run gets a virtual environment of its own: the same base
interpreter, its own site-packages first, those of the mapped environment behind it.
"""

import functools
import hashlib
import json
import os
import shlex
import shutil
import site
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_ASK = """
import json, os, site, sys
user = [path for path in [site.getusersitepackages()] if site.ENABLE_USER_SITE and os.path.isdir(path)]
print(json.dumps([getattr(sys, "_base_executable", sys.executable), "%d.%d" % sys.version_info[:2],
                  user + site.getsitepackages()]))
"""
_ASK_TIMEOUT_S = 60

# For every environment on top of one interpreter: `python` is that of the run, first on PATH. A shebang with
# its path would need a file per run, and could not hold spaces.
_PIP = '#!/bin/sh\nexec python -m pip "$@"\n'
_SAME = '#!/bin/sh\nexec python "$@"\n'
_SCRIPT = '#!/bin/sh\nexec python {directory}/"${{0##*/}}" "$@"\n'


class InterpreterError(Exception):
    """A configured interpreter does not answer; the text says why."""


@dataclass(frozen=True)
class Interpreter:
    """`packages` are searched in order; `scripts` are the Python scripts beside the executable."""

    executable: Path
    base: Path
    version: str
    packages: tuple[str, ...]
    scripts: tuple[str, ...]

    @property
    def programs(self) -> Path:
        return self.executable.parent


def inspect(executable: Path) -> Interpreter:
    """Facts about an interpreter. Raises InterpreterError."""
    try:
        stamp = executable.stat().st_mtime_ns
    except OSError as error:
        raise InterpreterError(f"{executable}: {error.strerror}") from error
    return _inspect(executable, stamp)


def environment_programs(place: Path) -> Path:
    return place / "bin"


def environment_packages(place: Path, interpreter: Interpreter) -> Path:
    return place / "lib" / f"python{interpreter.version}" / "site-packages"


def make_environment(place: Path, interpreter: Interpreter, before: Sequence[Path] = ()) -> None:
    """Make the environment at `place`; `before` are package directories searched before the mapped ones."""
    programs = environment_programs(place)
    packages = environment_packages(place, interpreter)
    programs.mkdir(parents=True, exist_ok=True)
    packages.mkdir(parents=True, exist_ok=True)
    # System packages are let in so that `pip install --user` is not refused and goes to PYTHONUSERBASE.
    (place / "pyvenv.cfg").write_text(
        f"home = {interpreter.base.parent}\ninclude-system-site-packages = true\n"
        f"version = {interpreter.version}\nexecutable = {interpreter.base}\n",
        encoding="utf-8",
    )
    lines = [f"import site; site.addsitedir({str(path)!r})\n" for path in (*before, *interpreter.packages)]
    # The base interpreter's own packages are not the mapped environment's. One without pip (as uv makes
    # them) keeps them: the base's pip is the only one there.
    if any(Path(path, "pip").is_dir() for path in interpreter.packages):
        lines.append("import site; site.PREFIXES.clear()\n")
    (packages / "_mapped.pth").write_text("".join(lines), encoding="utf-8")
    for name in ("python", "python3"):
        _link(programs / name, interpreter.base)


def shared_programs(root: Path, interpreter: Interpreter) -> Path:
    """Pip and the console scripts of an interpreter, run by the `python` of whoever calls them: one
    directory for all runs, made when it is first needed."""
    key = f"{interpreter.executable}\0{interpreter.version}\0{interpreter.scripts}"
    place = root / hashlib.sha256(os.fsencode(key)).hexdigest()[:16]
    if place.exists():
        return place
    root.mkdir(exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".new-", dir=root))
    draft.chmod(0o755)
    _write_program(draft / ".same", _SAME)
    _write_program(draft / ".pip", _PIP)
    _write_program(draft / ".script", _SCRIPT.format(directory=shlex.quote(str(interpreter.programs))))
    _link(draft / f"python{interpreter.version}", Path(".same"))
    for name in ("pip", "pip3", f"pip{interpreter.version}"):
        _link(draft / name, Path(".pip"))
    for name in interpreter.scripts:
        _link(draft / name, Path(".script"))
    try:
        draft.rename(place)
    except OSError:
        # Another call was first with the same.
        shutil.rmtree(draft)
    return place


@functools.lru_cache(maxsize=64)
def _inspect(executable: Path, stamp: int) -> Interpreter:
    own = executable == Path(sys.executable)
    base, version, packages = _own_facts() if own else _asked_facts(executable)
    return Interpreter(
        executable=executable,
        base=Path(base),
        version=version,
        packages=tuple(packages),
        scripts=_python_scripts(executable.parent),
    )


def _own_facts() -> tuple[str, str, list[str]]:
    """Without starting a process. What PYTHONPATH lets the service import, a job may import too."""
    given = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    # One that is not there may lie where the user of a job cannot look, which pip would stumble over.
    own = Path(site.getusersitepackages())
    user = [str(own)] if site.ENABLE_USER_SITE and own.is_dir() else []
    base = str(getattr(sys, "_base_executable", sys.executable))
    return base, f"{sys.version_info[0]}.{sys.version_info[1]}", given + user + site.getsitepackages()


def _asked_facts(executable: Path) -> tuple[str, str, list[str]]:
    """The same of another interpreter, in its own words when it cannot say."""
    try:
        answer = subprocess.run(
            [executable, "-c", _ASK],
            capture_output=True,
            text=True,
            timeout=_ASK_TIMEOUT_S,
            check=True,
            env={},
        )
        base, version, packages = json.loads(answer.stdout)
    except subprocess.CalledProcessError as error:
        raise InterpreterError(f"{executable}: {str(error.stderr).strip()}") from error
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        raise InterpreterError(f"{executable}: {error}") from error
    return base, version, packages


def _python_scripts(directory: Path) -> tuple[str, ...]:
    """Console scripts (cntk, torchrun, ...): run by the environment's own python they see what a job
    installed. Those of pip and of the environment itself are ours to provide."""
    found = []
    with os.scandir(directory) as entries:
        for entry in entries:
            ours = entry.name.startswith(("python", "pip", "activate"))
            if not ours and entry.is_file() and _has_python_shebang(Path(entry.path)):
                found.append(entry.name)
    return tuple(sorted(found))


def _has_python_shebang(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            line = file.readline(512)
    except OSError:
        return False
    return line.startswith(b"#!") and b"python" in line


def _link(path: Path, target: Path) -> None:
    if not path.is_symlink():
        path.symlink_to(target)


def _write_program(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
