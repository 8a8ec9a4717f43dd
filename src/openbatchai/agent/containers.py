"""The container of a task, made by podman or docker.

One container per task stays up while the steps run as `exec` in it, because what job preparation installs
must be there for the job's own command. Values of variables never appear in an argument list. The container
is named after the task, since it outlives a client that is killed.
"""

import json
import os

from openbatchai.agent import faults
from openbatchai.agent.outputs import last_lines
from openbatchai.agent.processes import Processes
from openbatchai.agent.report import Report, write_private
from openbatchai.agent.spec import Json

NAME_FILE = "container.json"
_STAY_UP = "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"
_END_ALL = "kill -TERM -1"


class Container:
    """What `spec["container"]` asks for."""

    def __init__(self, spec: Json, processes: Processes, report: Report) -> None:
        self._spec = spec
        self._wanted: Json = spec["container"]
        self._processes = processes
        self._client: dict[str, str] = self._wanted["client_environment"]
        self._report = report
        self._output = os.path.join(spec["directory"], "container.txt")
        self._runtime = ""
        self._commands = 0

    def start(self) -> None:
        """Raises TaskFailed in the words of the runtimes when none of them can start it."""
        words = []
        for runtime in self._wanted["runtimes"]:
            _record_name(self._spec["directory"], runtime, self._wanted["name"])
            self._report.say(f"Starting a container of image {self._wanted['image']} with {runtime}")
            self._runtime = runtime
            if self._call(self._start_arguments(runtime)) == 0:
                return
            words.append(last_lines(self._output))
            self._report.say(f"{runtime}: {words[-1]}")
            # A container that could be made but not started still has the name.
            self._call([runtime, "rm", "--force", self._wanted["name"]])
        self._runtime = ""
        details = [("imageName", self._wanted["image"]), ("Info", "\n".join(words))]
        message = "Unable to start the container of the job"
        raise faults.TaskFailed(faults.CONTAINER_START, message, details, exit_code=-1)

    def command(self, command_line: str, environment: dict[str, str]) -> tuple[list[str], dict[str, str]]:
        """Arguments that run a command line in the container, and the environment to start them with.

        The client keeps its own environment, which a job's variables (PATH, LD_PRELOAD) would upset; only
        values of several lines, which no environment file can hold, go through it.
        """
        lines = {name: value for name, value in environment.items() if "\n" not in value}
        others = {name: value for name, value in environment.items() if "\n" in value}
        self._commands += 1
        content = "".join(f"{name}={value}\n" for name, value in lines.items())
        file = write_private(self._spec["directory"], f"environment-{self._commands}", content)
        arguments = [self._runtime, "exec", "--workdir", self._spec["cwd"], "--env-file", file]
        arguments += [part for name in others for part in ("--env", name)]
        return [*arguments, self._wanted["name"], "bash", "-c", command_line], {**self._client, **others}

    def remove(self) -> None:
        """TERM to every process inside, so that they may clean up, then the container itself."""
        if not self._runtime:
            return
        name = self._wanted["name"]
        self._call([self._runtime, "exec", name, "bash", "-c", _END_ALL])
        self._processes.end_all()
        code = self._call([self._runtime, "rm", "--force", name])
        self._report.say(f"Removed container {name} (exit code {code})")

    def _start_arguments(self, runtime: str) -> list[str]:
        """Host network, the same paths inside as outside (batchai-service.md section 10.3)."""
        wanted = self._wanted
        docker = os.path.basename(runtime) == "docker"
        arguments = [runtime]
        login = wanted["login"]
        if login and docker:
            arguments += ["--config", os.path.dirname(_write_login(self._spec["directory"], login))]
        arguments += ["run", "--detach", "--name", wanted["name"], "--network=host", "--user=0:0"]
        if login and not docker:
            arguments += ["--authfile", _write_login(self._spec["directory"], login)]
        if wanted["shm_size"]:
            arguments += ["--shm-size", wanted["shm_size"]]
        if wanted["gpus"]:
            arguments += _gpu_arguments(docker, wanted["gpus"])
        for volume in wanted["volumes"]:
            arguments += ["--mount", f'type=bind,"source={volume}","target={volume}"']
        return [*arguments, "--entrypoint", "bash", wanted["image"], "-c", _STAY_UP]

    def _call(self, arguments: list[str]) -> int:
        if os.path.exists(self._output):
            os.truncate(self._output, 0)
        return self._processes.run(arguments, self._client, self._output)


def _gpu_arguments(docker: bool, gpus: list[int]) -> list[str]:
    if docker:
        return ["--gpus", '"device=' + ",".join(map(str, gpus)) + '"']
    return [part for gpu in gpus for part in ("--device", f"nvidia.com/gpu={gpu}")]


def _record_name(directory: str, runtime: str, name: str) -> None:
    """For whoever ends the task in place of an agent that was killed."""
    with open(os.path.join(directory, NAME_FILE), "w", encoding="utf-8") as file:
        json.dump({"runtime": runtime, "name": name}, file)


def _write_login(directory: str, login: dict[str, str]) -> str:
    """Registry credentials as a file: an argument would show them to everybody."""
    content = {"auths": {login["server"]: {"auth": login["auth"]}}}
    return write_private(directory, "config.json", json.dumps(content))
