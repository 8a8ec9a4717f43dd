"""What an answered call has made safe from a loss of power, by the policy: read from its system calls.

A name is safe when its directory was synced after it changed, a content when its file was. And a content
and its record must be safe before the name that brings them, or a loss in between leaves a name with less.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from harness import crashes

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

_CALLS = (
    "access,faccessat,faccessat2,write,pwrite64,pwritev,ftruncate,fallocate,copy_file_range,sendfile,utimensat,"
    "fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir"
)
_LINE = re.compile(r"^\d+ +(\w+)\((.*)\) += (-?\d+)")
_ARGUMENT = re.compile(r'(?:(AT_FDCWD|\d+)<([^>]*)>|"([^"]*)")')
# Whatever comes in parts is safe with the last of them: docs/storage.md, "Durability".
_PARTS = {"block", "block-again", "range", "range-clear", "pages-written", "pages-cleared"}
_STAGED = {"block", "block-again"}


@dataclass
class Disk:
    """What is not safe yet: contents of files, and directories whose entries changed."""

    files: set[str] = field(default_factory=set)
    directories: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)

    def apply(self, call: str, paths: list[str]) -> None:
        if call in ("fsync", "fdatasync"):
            self.files.discard(paths[0])
            if call == "fsync":
                self.directories.discard(paths[0])
        elif call.startswith(("rename", "link")):
            self._named(paths[0], paths[1], moved=call.startswith("rename"))
        elif call.startswith(("unlink", "rmdir")):
            self.files.discard(paths[0])
            self._changed(paths[0])
            self.directories = {d for d in self.directories if d != paths[0]}
        elif call.startswith("mkdir"):
            self._changed(paths[0])
        else:
            # copy_file_range names its source first.
            self.files.add(paths[1] if call == "copy_file_range" else paths[0])

    def _named(self, source: str, target: str, *, moved: bool) -> None:
        if _in_tree(target):
            self.wrong += [
                f"{path} not synced before {target} appears" for path in self.unsafe() if "side.db" in path
            ]
            self.wrong += [f"{source} not synced before it becomes {target}"] if source in self.files else []
        if source in self.files:
            self.files.add(target)
        if moved:
            self.files.discard(source)
            self._changed(source)
        self._changed(target)

    def _changed(self, path: str) -> None:
        self.directories.add(path.rpartition("/")[0])

    def unsafe(self, *, staged: bool = False) -> list[str]:
        return sorted(
            path
            for path in self.files | self.directories
            if _in_tree(path) or path.endswith("db-wal") or (staged and "/.staging/blocks" in path)
        )


def _in_tree(path: str) -> bool:
    return re.search(r"/acct/(blob|file|\.snapshots)(/|$)", path) is not None


def _paths(call: str, arguments: str) -> list[str]:
    """The paths that a traced call names: of descriptors, of strings, of strings below descriptors."""
    found: list[str] = []
    base = ""
    for number, directory, text in _ARGUMENT.findall(arguments):
        if text:
            found.append(text if text.startswith("/") else f"{base}/{text}")
            base = ""
        elif call.endswith(("at", "at2")):
            base = directory
        elif number:
            found.append(directory)
    return found


def _whole(lines: list[str]) -> Iterator[str]:
    """The lines of calls that another thread's came in between of, put together again."""
    begun: dict[str, str] = {}
    for line in lines:
        thread = line.partition(" ")[0]
        if line.endswith(" <unfinished ...>"):
            begun[thread] = line.removesuffix(" <unfinished ...>")
        elif " resumed>" in line and thread in begun:
            yield begun.pop(thread) + line.partition(" resumed>")[2]
        else:
            yield line


@pytest.fixture(scope="module", params=["always", "close", "never"])
def traced(request, tmp_path_factory):
    """By case: what is not safe when the call is answered, and what became visible too early."""
    root = tmp_path_factory.mktemp("synced")
    log = root / "trace"
    strace = ["strace", "-f", "--seccomp-bpf", "-y", "-s", "4096", "-e", f"trace={_CALLS}", "-o", str(log)]
    command = [sys.executable, crashes.__file__, "--once", request.param, str(root / "data")]
    done = subprocess.run(strace + command, capture_output=True, text=True, timeout=200)
    if "PTRACE" in done.stderr or "ptrace" in done.stderr:
        pytest.skip(f"strace may not trace here: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, list[str]] = {}
    disk = Disk()
    for line in _whole(log.read_text(errors="replace").splitlines()):
        parts = _LINE.match(line)
        if parts is None:
            continue
        call, arguments, result = parts.groups()
        paths = _paths(call, arguments)
        if "access" in call:
            word, _, case = paths[0].rpartition("/")[2].partition(":")
            if word == "end":
                found[case] = disk.wrong + disk.unsafe(staged=case in _STAGED)
            # Any other is a look of the storage's own.
            if word in ("begin", "end"):
                disk = Disk()
        elif not result.startswith("-") and paths:
            disk.apply(call, paths)
    return request.param, found


@pytest.mark.parametrize("case", [case.name for case in crashes.CASES if case.name != "append-in-two"])
def test_what_is_answered_survives_a_loss_of_power(traced, case):
    policy, found = traced
    assert case in found
    if policy == "always" or (policy == "close" and case not in _PARTS):
        assert found[case] == []
    if policy == "never" and case in ("put", "range", "delete"):
        assert found[case] != []
