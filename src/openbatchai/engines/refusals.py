"""Why a task cannot even be handed to an agent, in the words the service used (section 6 of its facts)."""

from openbatchai.domain.errors import Fault
from openbatchai.domain.ports import Container, Mount, MountKind, TaskFault

# The exit code that the real service reported when a job's file system could not be mounted.
EXIT_CODE = -1

_MOUNTS = {
    MountKind.FILE_SHARE: (Fault.FILE_MOUNT, "Unable to mount Azure File"),
    MountKind.BLOB_CONTAINER: (Fault.BLOB_MOUNT, "Unable to mount blob fuse"),
    MountKind.FILE_SERVER: (Fault.FILE_SERVER_MOUNT, "Unable to mount the file server"),
    MountKind.UNMANAGED: (Fault.UNMANAGED_MOUNT, "Unable to mount the unmanaged file system"),
}


class TaskRefusedError(Exception):
    """Carries the fault with which a task ends before its first command."""

    def __init__(self, fault: TaskFault, exit_code: int | None = EXIT_CODE) -> None:
        super().__init__(fault.message)
        self.fault = fault
        self.exit_code = exit_code


def mount_refused(mount: Mount, reason: str) -> TaskRefusedError:
    code, message = _MOUNTS[mount.kind]
    details = [("Info", reason)]
    if mount.account:
        details += [("accountName", mount.account), (_container_word(mount.kind), mount.container)]
    details.append(("relativeMountPath", mount.relative_path))
    return TaskRefusedError(TaskFault(code, message, tuple(details)))


def container_refused(container: Container, reason: str) -> TaskRefusedError:
    details = (("imageName", container.image), ("Info", reason))
    message = "Unable to start the container of the job"
    return TaskRefusedError(TaskFault(Fault.CONTAINER_START, message, details))


def setup_refused(message: str) -> TaskRefusedError:
    return TaskRefusedError(TaskFault(Fault.TASK_SETUP, message), exit_code=None)


def _container_word(kind: MountKind) -> str:
    return "shareName" if kind is MountKind.FILE_SHARE else "containerName"
