"""From a task to the directory its agent works on: mounts resolved, environment made, image mapped.

The directory is made under another name and renamed when it is complete, so that a task directory that
exists can always be carried out.
"""

import base64
import hashlib
import json
import os
import pwd
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from openbatchai.domain import jobenv
from openbatchai.domain.ports import (
    Container,
    ItemRef,
    Mount,
    MountKind,
    MountLevel,
    MountRefusedError,
    StorageContent,
    StorageService,
    Task,
    TaskKind,
)
from openbatchai.engines import images, interpreters
from openbatchai.engines.cgroups import ControlGroups
from openbatchai.engines.layout import JobPlaces, Layout, job_places
from openbatchai.engines.nodes import Node, Nodes
from openbatchai.engines.refusals import (
    container_refused,
    mount_refused,
    setup_refused,
)
from openbatchai.engines.user import JobUser, own

STANDARD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
RUNTIMES = ("podman", "docker")
_TEMP_NAME_BYTES = 50
_RUNTIME_VARIABLES = frozenset(
    {"PATH", "HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "DOCKER_HOST", "DOCKER_CONTEXT"}
    | {"CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF", "CONTAINERS_REGISTRIES_CONF", "CONTAINER_HOST"}
)

# Read by the bash of each step and by no shell below it, which would run a line of ~/.bashrc that starts a
# shell for ever. PS1 is set meanwhile, because a usual .bashrc returns at once without it.
_BASH_ENV = """unset BASH_ENV
if [ -r ~/.bashrc ]; then
  PS1='$ '
  . ~/.bashrc
  unset PS1
fi
"""


@dataclass(frozen=True)
class Places:
    """Where one task has its things. `home` and `python` of a setup task belong to the node."""

    directory: Path
    node: Path
    home: Path
    python: Path
    jobs: Path
    job: JobPlaces
    shared: Path

    @property
    def emptied(self) -> Path:
        """Where the agents of a run note which output files they emptied."""
        return self.shared.parent / "agents" / "emptied"

    @property
    def temp(self) -> Path:
        return self.directory / "tmp"

    @property
    def short_temp(self) -> Path:
        """`temp` under a name that leaves room for a socket: its path may have 107 bytes, of which Open MPI
        and multiprocessing use about 50."""
        name = os.fsencode(self.temp)
        if len(name) <= _TEMP_NAME_BYTES:
            return self.temp
        return Path("/tmp") / f"openbatchai-{hashlib.sha256(name).hexdigest()[:12]}"


class Preparation:
    def __init__(
        self,
        layout: Layout,
        nodes: Nodes,
        storage: StorageContent,
        catalogue: images.ImageCatalogue,
        client_environment: Callable[[], Mapping[str, str]],
        grace_s: float,
        own_python: Path,
        user: JobUser | None,
        groups: ControlGroups | None,
        output_bytes: int,
    ) -> None:
        self._layout = layout
        self._nodes = nodes
        self._storage = storage
        self._catalogue = catalogue
        self._client_environment = client_environment
        self._grace_s = grace_s
        self._own_python = own_python
        self._user = user
        self._groups = groups
        self._output_bytes = output_bytes
        (layout.shell / "bash_env").write_text(_BASH_ENV, encoding="utf-8")

    def places(self, task: Task) -> Places:
        directory = self._layout.task(task.id)
        node = self._layout.node(task.node_id)
        own = self._layout.task(task.continues or task.id)
        owner = node if task.kind is TaskKind.NODE_PREPARATION else own
        return Places(
            directory=directory,
            node=node,
            home=owner / "home",
            python=owner / "python",
            jobs=own / "jobs",
            job=job_places(own, task.job_path),
            shared=self._layout.run(task.run_id or task.id) / "shared",
        )

    def specification(self, task: Task) -> dict[str, Any]:
        """What the agent is to do. Raises refusals.TaskRefusedError when it cannot be done."""
        node = self._nodes.find(task.node_id)
        if node is None:
            raise setup_refused(f"There is no node {task.node_id}")
        bash = shutil.which("bash", path=STANDARD_PATH)
        if bash is None:
            raise setup_refused(f"There is no bash in {STANDARD_PATH}")
        places = self.places(task)
        interpreter, notes = self._interpreter(task)
        mounts = self._mounts(task, places)
        links = [*mounts]
        if places.short_temp != places.temp:
            what = "the temporary directory under a name short enough for sockets"
            links.append(_link_or_command(MountLevel.JOB, places.short_temp, what, str(places.temp)))
        return {
            "id": task.id,
            "kind": task.kind,
            "node_id": task.node_id,
            "run_id": task.run_id,
            "notes": [*self._notes(node), *notes],
            "user": self._user.to_task() if self._user else None,
            "output_bytes": self._output_bytes or None,
            "cgroup": str(self._groups.of(places.directory.name)) if self._groups else None,
            "bash": bash,
            "cwd": str(places.job.temp),
            "cpus": list(node.cpus) if node.cpus else None,
            "wall_clock_s": task.wall_clock_s,
            "waits": task.waits,
            "grace_s": self._grace_s,
            "wake": str(self._layout.wake),
            "host_environment": self._host_environment(places, interpreter, of_node=task.container is None),
            "environment": self._environment(task, node, places),
            "task_environment": dict(task.environment),
            "secrets": dict(task.secrets),
            "identity": {jobenv.TASK_ID: task.id},
            "mounts": links,
            "directories": list(task.directories),
            "files": dict(task.files),
            "emptied": str(places.emptied) if task.fresh_output else None,
            "log": task.log,
            "steps": _steps(task, mapped=interpreter is not None),
            "container": None if interpreter else self._container(task, node, places, mounts),
        }

    def _notes(self, node: Node) -> list[str]:
        found = [f"Node {node.node_id}: {node.note}"] if node.note else []
        return [*found, f"Processes run as {self._user.name}"] if self._user else found

    def fill(self, staging: Path, task: Task) -> None:
        """Make the task's directories, in `staging` what will be in its directory, elsewhere in place."""
        places = self.places(task)
        interpreter, _ = self._interpreter(task)

        def staged(path: Path) -> Path:
            if not path.is_relative_to(places.directory):
                return path
            return staging / path.relative_to(places.directory)

        job = places.job
        # What an earlier task left stays as it is; it may have been changed in any way.
        made = () if task.continues else (places.home, job.mounts, job.temp)
        for path in (places.temp, places.shared, *made):
            staged(path).mkdir(parents=True, exist_ok=True)
        if interpreter and not task.continues:
            earlier = self._packages_of_node(task, places, interpreter)
            interpreters.make_environment(staged(places.python), interpreter, earlier)
        if task.fresh_output:
            places.emptied.parent.mkdir(exist_ok=True)
        if self._user:
            self._hand_over(places, staged, self._user, continues=bool(task.continues))

    def _hand_over(
        self, places: Places, staged: Callable[[Path], Path], user: JobUser, *, continues: bool
    ) -> None:
        """The user passes through the task's directory and has what is made for it to write in. In the mount
        roots and beside them it may add, but not touch what is there."""
        given = [places.temp, places.shared, places.emptied.parent]
        roots = [places.node / "mounts"]
        if not continues:
            given += [places.home, places.python, places.job.temp]
            roots += [staged(places.job.parent), staged(places.job.mounts)]
        for path in given:
            if staged(path).exists():
                own(staged(path), user)
        for path in roots:
            os.chown(path, -1, user.gid)
            path.chmod(0o1770)
        directory = staged(places.directory)
        os.chown(directory, -1, user.gid)
        directory.chmod(0o710)

    def _interpreter(self, task: Task) -> tuple[interpreters.Interpreter | None, list[str]]:
        """What `python` is for the task; None when that is the business of a real container."""
        container = task.container
        try:
            if container is None:
                return interpreters.inspect(self._own_python), []
            python = self._catalogue.interpreter_for(container)
            if python is None:
                return None, [f"Image {container.image} is mapped to nothing on this machine"]
            note = f"Image {container.image} is mapped to the environment of {python}; no container is used"
            return interpreters.inspect(python), [note]
        except (images.ImageUnavailableError, interpreters.InterpreterError) as error:
            if container is None:
                raise setup_refused(str(error)) from error
            raise container_refused(container, str(error)) from error

    def _packages_of_node(
        self, task: Task, places: Places, interpreter: interpreters.Interpreter
    ) -> list[Path]:
        """What the node's setup task installed is there for jobs without a container, as on a real node."""
        if task.kind is TaskKind.NODE_PREPARATION or task.container is not None:
            return []
        packages = interpreters.environment_packages(places.node / "python", interpreter)
        return [packages] if packages.is_dir() else []

    def _mounts(self, task: Task, places: Places) -> list[dict[str, Any]]:
        found = []
        taken: list[PurePosixPath] = []
        for mount in task.mounts:
            relative = _relative(mount)
            place = PurePosixPath(mount.level) / relative
            if any(place.is_relative_to(other) or other.is_relative_to(place) for other in taken):
                raise mount_refused(mount, "Another file system is mounted there")
            taken.append(place)
            base = places.job.mounts if mount.level is MountLevel.JOB else places.node / "mounts"
            target = self._target(mount)
            found.append(
                _link_or_command(mount.level, base / relative, _description(mount), target, mount.command)
            )
        return found

    def _target(self, mount: Mount) -> str | None:
        """The directory that a mount shows; None for one that a command makes."""
        if mount.kind is MountKind.UNMANAGED:
            return None
        if mount.kind is MountKind.FILE_SERVER:
            return self._directory_of_server(mount)
        return self._located(mount)

    def _directory_of_server(self, mount: Mount) -> str:
        root = self._layout.file_server(mount.file_server).resolve()
        if not root.is_dir():
            raise mount_refused(mount, "The file server does not exist")
        found = (root / mount.source).resolve()
        if not found.is_relative_to(root) or not found.is_dir():
            raise mount_refused(mount, f"The file server has no directory '{mount.source}'")
        return str(found)

    def _located(self, mount: Mount) -> str:
        file_share = mount.kind is MountKind.FILE_SHARE
        service = StorageService.FILE if file_share else StorageService.BLOB
        try:
            return self._storage.locate(ItemRef(service, mount.account, mount.container), mount.account_key)
        except MountRefusedError as error:
            raise mount_refused(mount, str(error)) from error

    def _host_environment(
        self, places: Places, interpreter: interpreters.Interpreter | None, of_node: bool
    ) -> dict[str, str]:
        """For processes on this machine: minimal, and with every place to write inside the run."""
        programs = [STANDARD_PATH]
        if interpreter:
            own = interpreters.environment_programs(places.python)
            scripts = interpreters.shared_programs(self._layout.programs, interpreter)
            programs = [str(own), str(scripts), str(interpreter.programs), STANDARD_PATH]
        if of_node:
            # The setup task's own programs, but never its python instead of the run's.
            programs.insert(1, str(interpreters.environment_programs(places.node / "python")))
        user = self._user.name if self._user else _user()
        return {
            "PATH": ":".join(programs),
            "HOME": str(places.home),
            "TMPDIR": str(places.short_temp),
            "PYTHONUSERBASE": str(places.home / ".local"),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INPUT": "1",
            "USER": user,
            "LOGNAME": user,
            "SHELL": "/bin/bash",
            "LANG": "C.UTF-8",
        }

    def _environment(self, task: Task, node: Node, places: Places) -> dict[str, str]:
        gpus = str(len(node.gpus))
        variables = {
            **self._client_environment(),
            # bash expands the value of BASH_ENV, so that a path with a `$` must come from a variable.
            "OPENBATCHAI_SHELL": str(self._layout.shell),
            "BASH_ENV": "$OPENBATCHAI_SHELL/bash_env",
            # Output goes to a file; without this a script's prints would appear at its end.
            "PYTHONUNBUFFERED": "1",
            # Nodes share the machine's cores. OpenMP threads that spin for milliseconds while they wait, the
            # default, starve each other there; asleep at once, they cost a quarter on an idle machine. This
            # many turns are some 20 us: as fast as either on an idle machine, faster on a busy one.
            "GOMP_SPINCOUNT": "20000",
            # Numbered as NVML numbers them, or a node's index would mean another GPU to CUDA.
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "CUDA_VISIBLE_DEVICES": ",".join(map(str, node.gpus)),
            jobenv.MOUNT_ROOT: str(places.node / "mounts"),
            jobenv.NUM_GPUS: gpus,
            jobenv.NUM_GPUS_PER_NODE: gpus,
        }
        if os.geteuid() == 0 and (self._user is None or task.container):
            # Open MPI refuses to run as root otherwise; on a real node jobs did.
            variables |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        if task.kind is TaskKind.RUN:
            variables |= {
                jobenv.JOB_MOUNT_ROOT: str(places.job.mounts),
                jobenv.JOB_TEMP: str(places.job.temp),
                jobenv.JOB_TEMP_DIR: str(places.job.parent),
                jobenv.JOB_WORK_DIR: str(places.job.temp),
                jobenv.SHARED_JOB_TEMP: str(places.shared),
            }
        return variables

    def _container(
        self, task: Task, node: Node, places: Places, mounts: list[dict[str, Any]]
    ) -> dict[str, Any]:
        container = task.container
        if container is None:
            raise ValueError("a task without an interpreter has a container")
        runtimes = [found for name in RUNTIMES if (found := shutil.which(name)) is not None]
        if not runtimes:
            reason = "Neither podman nor docker was found on PATH, and the image is mapped to nothing here"
            raise container_refused(container, reason)
        # Links lead out of the mount roots; where they lead must be there inside, too.
        outside = [mount["target"] for mount in mounts if mount["target"]]
        mount_root = places.node / "mounts"
        outside += [str(link.resolve()) for link in _links_below(mount_root)]
        volumes = [mount_root, places.jobs, self._layout.shell, places.shared]
        return {
            "name": f"openbatchai-{places.directory.name}"[:120],
            "image": images.full_name(container),
            "runtimes": runtimes,
            "client_environment": _of_runtime_clients(),
            "volumes": list(dict.fromkeys([*map(str, volumes), *outside])),
            "gpus": list(node.gpus),
            "shm_size": container.shm_size,
            "login": _login(container),
        }


def stage(layout: Layout, preparation: Preparation, task: Task) -> Path:
    """Make the complete directory of a task under a name of its own. Raises refusals.TaskRefusedError."""
    staging = new_staging(layout, task.id)
    try:
        specification = preparation.specification(task)
        preparation.fill(staging, task)
        write_task(staging, specification)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return staging


def new_staging(layout: Layout, task_id: str) -> Path:
    """A hidden directory, no task's: a leading dot cannot begin the name of one (layout.file_name)."""
    staging = layout.tasks / f".new-{os.getpid()}-{os.urandom(6).hex()}"
    staging.mkdir(mode=0o700)
    return staging


def write_task(staging: Path, specification: Mapping[str, Any]) -> None:
    file = os.open(staging / "task.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "w", encoding="utf-8") as stream:
        json.dump(specification, stream)
        stream.flush()
        os.fsync(stream.fileno())


def _steps(task: Task, mapped: bool) -> list[dict[str, Any]]:
    def line(text: str) -> str:
        return images.translated(text) if mapped and task.container else text

    return [
        {
            "kind": step.kind,
            "processes": [
                {
                    "command_line": line(process.command_line),
                    "stdout": process.stdout,
                    "stderr": process.stderr,
                    "environment": dict(process.environment),
                    "service": process.service,
                }
                for process in step.processes
            ],
        }
        for step in task.steps
    ]


def _link_or_command(
    level: MountLevel, path: Path, what: str, target: str | None, command: str = ""
) -> dict[str, Any]:
    return {"level": level, "path": str(path), "what": what, "target": target, "command": command}


def _relative(mount: Mount) -> PurePosixPath:
    path = PurePosixPath(mount.relative_path.strip("/"))
    if ".." in path.parts or path == PurePosixPath("."):
        raise mount_refused(mount, "The relative mount path must name a directory below the mount root")
    return path


def _description(mount: Mount) -> str:
    words = {
        MountKind.FILE_SHARE: f"Azure file share {mount.container} of {mount.account}",
        MountKind.BLOB_CONTAINER: f"blob container {mount.container} of {mount.account}",
        MountKind.FILE_SERVER: f"directory '{mount.source}' of a file server",
        MountKind.UNMANAGED: "an unmanaged file system",
    }
    return words[mount.kind]


def _links_below(root: Path) -> list[Path]:
    """Those of agents: a link of a job would show it, as root of its container, whatever it names."""
    found = []
    for folder, folders, files in os.walk(root):
        links = (Path(folder, name) for name in (*folders, *files) if Path(folder, name).is_symlink())
        found += [link for link in links if link.lstat().st_uid == os.geteuid()]
    return found


def _user() -> str:
    """The owner's name; a number where the machine has no name for it."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _of_runtime_clients() -> dict[str, str]:
    """podman and docker act for the user of the service, with that user's storage and settings; what runs
    inside a container sees none of these."""
    own = {name: value for name, value in os.environ.items() if name in _RUNTIME_VARIABLES}
    return {"PATH": STANDARD_PATH, **own}


def _login(container: Container) -> dict[str, str] | None:
    if not container.username:
        return None
    pair = f"{container.username}:{container.password}".encode()
    return {"server": images.registry(container), "auth": base64.b64encode(pair).decode()}
