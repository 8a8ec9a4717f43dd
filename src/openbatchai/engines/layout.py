"""Where an engine keeps what: one place for every path below its root.

nodes/{node}/        node.json, mounts/ (cluster mounts), home/ and python/ of its setup task, tasks/
tasks/{task}/        the agent's files; home/, tmp/, python/, jobs/{job path}/{mounts,temp}
runs/{run}/          shared/ (temp of all nodes of a run), agents/ (what its agents tell each other) and a
                     file per task that still needs it
programs/            console scripts and pip, by interpreter
file-servers/{key}/  the disks of a file server
shell/               what the bash of each step reads

Every file and directory of a task costs its start a fraction of a millisecond: few are made for each.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote

AGENT_FILES_HIDDEN = frozenset({"task.json"})


class Layout:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.nodes = root / "nodes"
        self.tasks = root / "tasks"
        self.runs = root / "runs"
        self.programs = root / "programs"
        self.shell = root / "shell"
        self.file_servers = root / "file-servers"
        self.wake = root / "wake"
        self.node_lock = root / "nodes.lock"

    def create(self) -> None:
        for directory in (self.nodes, self.tasks, self.runs, self.shell, self.file_servers):
            directory.mkdir(parents=True, exist_ok=True)
        # Who does not know a task's id cannot get in before its agent.
        for directory in (self.nodes, self.tasks, self.runs):
            directory.chmod(0o711)

    def node(self, node_id: str) -> Path:
        return self.nodes / file_name(node_id)

    def task(self, task_id: str) -> Path:
        return self.tasks / file_name(task_id)

    def file_server(self, key: str) -> Path:
        return self.file_servers / file_name(key)

    def run(self, run_id: str) -> Path:
        return self.runs / file_name(run_id)


@dataclass(frozen=True)
class JobPlaces:
    """Directories of one job on one node, below the directory of its task."""

    parent: Path

    @property
    def mounts(self) -> Path:
        return self.parent / "mounts"

    @property
    def temp(self) -> Path:
        return self.parent / "temp"


def job_places(task: Path, job_path: str) -> JobPlaces:
    parts = [part for part in PurePosixPath(job_path).parts if part not in ("/", "..")]
    return JobPlaces(task.joinpath("jobs", *(parts or ["job"])))


def file_name(identity: str) -> str:
    """An id as one component of a path, whatever it holds; ids of letters, digits and `-_` stay as they are.

    A leading dot would be hidden or, as `..`, climb.
    """
    name = quote(identity, safe="")
    return "%2E" + name[1:] if name.startswith(".") else name


def task_id(name: str) -> str:
    """The id that file_name made `name` of."""
    return unquote(name)
