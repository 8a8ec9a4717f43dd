"""Mounts of a task: links to directories the engine found, or a command of the user (unmanaged).

Cluster mounts stay on the node until the engine releases it; job mounts go with the job, so that a later
job does not see them (batchai-service.md section 8.5).
"""

import contextlib
import os

from openbatchai.agent import faults
from openbatchai.agent.outputs import last_lines
from openbatchai.agent.processes import Processes
from openbatchai.agent.report import Report
from openbatchai.agent.spec import Json

_ROOTS = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}


def make(
    mounts: list[Json],
    processes: Processes,
    environment: dict[str, str],
    report: Report,
    spec: Json,
) -> None:
    for mount in mounts:
        os.makedirs(os.path.dirname(mount["path"]), exist_ok=True)
        if mount["target"] is not None:
            _link(mount["target"], mount["path"])
            report.say(f"Mounted {mount['what']} at {mount['path']}")
        else:
            _run_command(mount, processes, environment, report, spec)
    if any(mount["target"] is None for mount in mounts):
        processes.spare_present()


def remove(
    mounts: list[Json], processes: Processes, environment: dict[str, str], report: Report, spec: Json
) -> None:
    """Take job mounts away again; what cannot be taken away is said, and does not change the result."""
    for mount in reversed(mounts):
        if mount["level"] != "job":
            continue
        if mount["target"] is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(mount["path"])
        elif _is_mounted(mount["path"]):
            _unmount(mount["path"], processes, environment, report, spec)
    if not any(mount["target"] is None and mount["level"] == "cluster" for mount in mounts):
        processes.end_spared()


def _is_mounted(path: str) -> bool:
    """Also by a bind mount of the same disk, which os.path.ismount takes for a directory."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        points = [line.split(" ")[4] for line in file]
    for written in ("\\", " ", "\t", "\n"):
        path = path.replace(written, f"\\{ord(written):03o}")
    return path in points


def _link(target: str, path: str) -> None:
    if os.path.islink(path):
        os.unlink(path)
    os.symlink(target, path)


def _run_command(
    mount: Json, processes: Processes, environment: dict[str, str], report: Report, spec: Json
) -> None:
    """The service runs the command with the mount path appended. The command may hold a password, so it
    is never logged; what it prints is."""
    path = mount["path"]
    os.makedirs(path, exist_ok=True)
    if os.path.realpath(path) != os.path.normpath(path):
        # What mounts may be root, and others may add to the directory that this is in.
        details = [("Info", f"{path} is a link, or behind one")]
        message = "Unable to mount the unmanaged file system"
        raise faults.TaskFailed(faults.UNMANAGED_MOUNT, message, details, exit_code=-1)
    output = os.path.join(spec["directory"], "mount.txt")
    script = mount["command"] + ' "$OPENBATCHAI_MOUNT_PATH"'
    variables = {**_of_command(environment, spec), "OPENBATCHAI_MOUNT_PATH": path}
    code = processes.run([spec["bash"], "-c", script], variables, output)
    words = last_lines(output)
    report.say(f"The mount command of the unmanaged file system at {path} ended with exit code {code}")
    if code != 0:
        details = [("Info", f"The mount command ended with exit code {code}"), ("Output", words)]
        raise faults.TaskFailed(
            faults.UNMANAGED_MOUNT, "Unable to mount the unmanaged file system", details, exit_code=-1
        )


def _unmount(
    path: str, processes: Processes, environment: dict[str, str], report: Report, spec: Json
) -> None:
    output = os.path.join(spec["directory"], "mount.txt")
    for options in ("", "-l "):
        command = f'umount {options}"$OPENBATCHAI_MOUNT_PATH"'
        variables = {**_of_command(environment, spec), "OPENBATCHAI_MOUNT_PATH": path}
        if processes.run([spec["bash"], "-c", command], variables, output) == 0:
            report.say(f"Unmounted {path}")
            return
    report.say(f"Unable to unmount {path}: {last_lines(output)}")


def _of_command(environment: dict[str, str], spec: Json) -> dict[str, str]:
    """What runs with more rights than the job must meet nothing of the job's: its user can write programs on
    its PATH, its ~/.bashrc and libraries that its own variables name."""
    if spec["user"] is None:
        return environment
    kept = {name: environment[name] for name in environment if name.startswith("AZ_BATCH")}
    return {**kept, **spec["identity"], **_ROOTS, "LANG": environment.get("LANG", "C.UTF-8")}
