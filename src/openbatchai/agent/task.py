"""One task from claim to end: mounts, directories and output files, container, steps, and the end of all.

The order is DESIGN.md section 4, "Agents outlive the service"; what a job may rely on is
batchai-service.md sections 8.4, 8.5, 10.3, 12 and 13.
"""

import json
import os

from openbatchai.agent import expansion, faults, mounts, outputs
from openbatchai.agent.claim import claim
from openbatchai.agent.containers import Container
from openbatchai.agent.processes import Processes, block_signals
from openbatchai.agent.report import EXIT, TASK, Report
from openbatchai.agent.spec import Json
from openbatchai.agent.tree import become_subreaper
from openbatchai.agent.user import acting_as

OUTPUTS = "outputs.json"
TERMINATE = "terminate"
GO_ON = "go-on"


def carry_out(directory: str) -> None:
    """Carry out the task of a directory, unless somebody else does or did."""
    block_signals()
    if not claim(directory) or os.path.exists(os.path.join(directory, EXIT)):
        return
    become_subreaper()
    with open(os.path.join(directory, TASK), encoding="utf-8") as file:
        spec = json.load(file)
    spec["directory"] = directory
    Run(spec).carry_out()


def _ending(fault: tuple[str, str, faults.Details] | None) -> str:
    if fault is None:
        return "The task succeeded"
    code, message, _ = fault
    return message if code == faults.JOB_TERMINATED else f"The task failed: {code}: {message}"


class Run:
    def __init__(self, spec: Json) -> None:
        self._spec = spec
        self._directory: str = spec["directory"]
        self._processes = Processes(spec["wall_clock_s"], spec["grace_s"])
        self._report = Report(self._directory, spec["wake"], list(spec["secrets"].values()))
        self._host: dict[str, str] = spec["host_environment"]
        variables = expansion.extended(self._all_of_engine(), spec["task_environment"])
        variables.update(spec["secrets"])
        # Last, whatever the user set: by it the processes of a lost agent are found.
        variables.update(spec["identity"])
        self._variables = variables
        self._user: Json | None = spec["user"]
        self._container: Container | None = None
        self._outputs: list[str] = []

    def carry_out(self) -> None:
        exit_code: int | None = None
        fault: tuple[str, str, faults.Details] | None = None
        try:
            exit_code = self._do()
        except faults.TaskFailed as failed:
            exit_code, fault = failed.exit_code, (failed.code, failed.message, failed.details)
        except Exception as error:
            # The boundary of the process: whatever happened, the task gets an end that says so.
            what = f"{type(error).__name__}: {error}"
            fault = (faults.TASK_SETUP, f"The task could not be carried out: {what}", [])
        self._report.say(_ending(fault))
        if fault:
            for name, value in fault[2]:
                self._report.say(f"  {name}: {value}")
        self._leave_nothing_behind()
        self._report.end(exit_code, fault)

    def _do(self) -> int | None:
        spec = self._spec
        self._report.say(f"Task {spec['id']} ({spec['kind']}) on node {spec['node_id']}")
        for note in spec["notes"]:
            self._report.say(note)
        self._report.event("started")
        if os.path.exists(os.path.join(self._directory, TERMINATE)):
            raise faults.terminated()
        if spec["cgroup"]:
            self._join(spec["cgroup"])
        if spec["cpus"]:
            os.sched_setaffinity(0, spec["cpus"])
        os.chdir(spec["cwd"])
        mounts.make(spec["mounts"], self._processes, self._variables, self._report, spec)
        steps = [self._prepared(step) for step in spec["steps"]]
        self._make_places(steps)
        names = ", ".join(sorted(self._variables.keys() - self._host.keys()))
        self._report.say(f"Environment variables: {names}")
        if spec["container"]:
            self._container = Container(spec, self._processes, self._report)
            self._container.start()
        if spec["output_bytes"]:
            self._processes.look_each_second(self._check_output)
        exit_code: int | None = None
        for number, step in enumerate(steps):
            if number and spec.get("waits"):
                self._report.say("Waiting for the preparation of the job's other nodes")
                # Nothing else would tell it that this one is ready before it looks by itself.
                self._report.poke()
                self._processes.wait_for(os.path.join(self._directory, GO_ON))
            exit_code = self._carry_out_step(step)
        return exit_code

    def _join(self, group: str) -> None:
        try:
            os.makedirs(group, exist_ok=True)
            with open(os.path.join(group, "cgroup.procs"), "w") as members:
                members.write("0")
        except OSError as error:
            # Without it everything goes on; only whoever survives a killed agent may be harder to find.
            self._report.say(f"Unable to join the control group {group}: {error}")

    def _all_of_engine(self) -> dict[str, str]:
        return {**self._host, **self._spec["environment"]}

    def _prepared(self, step: Json) -> Json:
        """The step with its variables and paths expanded."""
        processes = []
        for process in step["processes"]:
            variables = expansion.extended(self._variables, process["environment"])
            paths = {name: self._place(process[name], variables) for name in ("stdout", "stderr")}
            processes.append({**process, **paths, "environment": variables})
        return {"kind": step["kind"], "processes": processes}

    def _place(self, path: str, variables: dict[str, str]) -> str:
        """A path of the task; a relative one counts from the commands' working directory."""
        return os.path.join(self._spec["cwd"], expansion.expand(path, variables))

    def _make_places(self, steps: list[Json]) -> None:
        path = ""
        try:
            with acting_as(self._user):
                for directory in self._spec["directories"]:
                    path = self._place(directory, self._variables)
                    os.makedirs(path, exist_ok=True)
                    self._report.say(f"Directory {path}")
                for name, content in self._spec["files"].items():
                    path = self._place(name, self._variables)
                    outputs.write(path, content)
                paths = [
                    process[name]
                    for step in steps
                    for process in step["processes"]
                    for name in ("stdout", "stderr")
                ]
                for path in paths:
                    outputs.create(path, self._spec["emptied"])
                if self._spec["log"]:
                    path = self._place(self._spec["log"], self._variables)
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    self._report.log_also_to(path)
                    paths.append(path)
        except OSError as error:
            details = [("Path", path), ("Info", str(error.strerror or error))]
            raise faults.TaskFailed(
                faults.TASK_SETUP, f"Unable to create {path}: {error.strerror or error}", details
            ) from error
        self._outputs = paths
        with open(os.path.join(self._directory, OUTPUTS), "w", encoding="utf-8") as file:
            json.dump(paths, file)

    def _carry_out_step(self, step: Json) -> int:
        """Run the step's processes side by side; raises TaskFailed at the first non-zero exit."""
        kind = step["kind"]
        self._processes.go_on()
        self._report.event("stepStarted", kind)
        deciding: dict[int, Json] = {}
        services: set[int] = set()
        for process in step["processes"]:
            pid = self._start(process, kind)
            if process["service"]:
                services.add(pid)
            else:
                deciding[pid] = process
        self._report.poke()
        while deciding:
            pid, code = self._processes.next_exit(set(deciding))
            process = deciding.pop(pid)
            self._report.say(f"Process {pid} of {kind} ended with exit code {code}")
            if code != 0:
                self._report.event("stepEnded", kind, code)
                with acting_as(self._user):
                    last_words = _last_words(process)
                raise faults.step_failed(kind, code, last_words)
        if services:
            self._processes.end(services)
        self._report.event("stepEnded", kind, 0)
        return 0

    def _check_output(self) -> None:
        limit = self._spec["output_bytes"]
        for path in self._outputs:
            with acting_as(self._user):
                size = outputs.size(path)
            if size > limit:
                raise faults.too_much_output(path, limit)

    def _start(self, process: Json, kind: str) -> int:
        line = process["command_line"]
        arguments = [self._spec["bash"], "-c", line]
        environment = process["environment"]
        if self._container:
            inside = {name: value for name, value in environment.items() if self._host.get(name) != value}
            arguments, environment = self._container.command(line, inside)
        try:
            pid = self._processes.start(
                arguments,
                environment,
                process["stdout"],
                process["stderr"],
                files_of=self._user,
                user=None if self._container else self._user,
            )
        except (OSError, ValueError) as error:
            details = [("Info", str(error))]
            message = f"Unable to start a process of the step {kind}: {error}"
            raise faults.TaskFailed(faults.TASK_SETUP, message, details) from error
        role = "service process" if process["service"] else "process"
        self._report.say(f"Started {role} {pid} of {kind}: {line}")
        return pid

    def _leave_nothing_behind(self) -> None:
        self._processes.begin_cleanup()
        try:
            if self._container:
                self._container.remove()
            ended = self._processes.end_all()
            if ended:
                self._report.say(f"Ended {len(ended)} processes that were still running")
            mounts.remove(self._spec["mounts"], self._processes, self._variables, self._report, self._spec)
        except (OSError, faults.TaskFailed) as error:
            self._report.say(f"While cleaning up: {error}")
        with acting_as(self._user):
            outputs.flush(self._outputs)


def _last_words(process: Json) -> faults.Details:
    pairs = [("stderr", process["stderr"]), ("stdout", process["stdout"])]
    return [(name, words) for name, path in pairs if (words := outputs.last_lines(path))]
