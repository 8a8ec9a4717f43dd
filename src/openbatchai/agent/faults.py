"""How a task can end badly, in the words of the service (batchai-service.md section 6).

The codes are domain.errors.Fault; the agent imports nothing of ours, so a test holds the two together.
"""

JOB_FAILED = "JobFailed"
JOB_PREPARATION_FAILED = "JobPreparationFailed"
JOB_TERMINATED = "JobTerminated"
WALL_CLOCK_EXCEEDED = "MaxWallClockTimeExceeded"
UNMANAGED_MOUNT = "UnmanagedMountError"
CONTAINER_START = "FailedStartingContainer"
NODE_PREPARATION_FAILED = "NodePreparationFailed"
TASK_SETUP = "TaskSetupFailed"
OUTPUT_LIMIT = "OutputLimitExceeded"

Details = list[tuple[str, str]]


class TaskFailed(Exception):  # noqa: N818 (an end of the task, not an error of the agent)
    """The task is over; `exit_code` is that of the deciding process, if one decided."""

    def __init__(
        self, code: str, message: str, details: Details | None = None, exit_code: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details or []
        self.exit_code = exit_code


def terminated() -> TaskFailed:
    """The agent is told to stop, not why: the story of the job has the reason."""
    return TaskFailed(
        JOB_TERMINATED,
        "The service stopped the task: its job is terminated or queued again (`batchai events` says why)",
    )


def too_long(seconds: float) -> TaskFailed:
    return TaskFailed(
        WALL_CLOCK_EXCEEDED,
        "The job was stopped because it exceeded its maximum wall clock time",
        [("MaxWallClockTimeSeconds", f"{seconds:g}")],
    )


def too_much_output(path: str, limit: int) -> TaskFailed:
    return TaskFailed(
        OUTPUT_LIMIT,
        "The job was stopped because it printed more than the configuration of the service allows",
        [("Path", path), ("MaxOutputBytes", str(limit))],
    )


def step_failed(step: str, exit_code: int, last_words: Details) -> TaskFailed:
    if step == "jobPreparation":
        message = "Job preparation task failed with non-zero exit code"
        return TaskFailed(JOB_PREPARATION_FAILED, message, exit_code=exit_code)
    if step == "setup":
        message = f"The setup task failed with exit code {exit_code}"
        details = [("ExitCode", str(exit_code)), *last_words]
        return TaskFailed(NODE_PREPARATION_FAILED, message, details, exit_code)
    return TaskFailed(JOB_FAILED, "Job failed with non-zero exit code", exit_code=exit_code)
