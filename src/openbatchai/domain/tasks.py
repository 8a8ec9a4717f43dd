"""Tasks of a node and of a run, built from what the store holds; the same input gives the same tasks."""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from . import jobenv
from .model import Cluster, Job
from .mounts import mounts_of
from .outputs import FLAT_LAYOUT, output_directories, path_variables
from .ports import Container, MountLevel, NodeFacts, Process, Step, StepKind, Task, TaskKind
from .toolkits import processes

Json = Mapping[str, Any]

_HOST_FILE = f"${jobenv.SHARED_JOB_TEMP}/hostfile"

_DURATION = re.compile(
    r"P(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)


def parse_duration(text: str) -> timedelta | None:
    """An ISO-8601 duration of weeks, days and times; None when it is none, or too long to count."""
    match = _DURATION.fullmatch(text)
    parts = {name: float(value) for name, value in match.groupdict().items() if value} if match else {}
    try:
        return timedelta(**parts) if parts else None
    except OverflowError:
        return None


# Where a job names no limit of its own; and what no limit exceeds, so that dates can be counted with it.
DEFAULT_LIMIT_S = 7 * 24 * 3600
_MOST_S = 10 * 365 * 24 * 3600


def limit_s(spec: Json) -> int:
    """The seconds that a run of the job may take at most, as the scheduler counts them."""
    text = (spec.get("constraints") or {}).get("maxWallClockTime")
    limit = parse_duration(text) if text else None
    return min(math.ceil(limit.total_seconds()), _MOST_S) if limit is not None else DEFAULT_LIMIT_S


def secrets_below(secrets: Json, prefix: str) -> dict[str, Any]:
    """The secrets whose path starts with `prefix.`, with the prefix removed."""
    return {
        path[len(prefix) + 1 :]: value for path, value in secrets.items() if path.startswith(prefix + ".")
    }


def _variables(spec: Json, secrets: Json) -> tuple[dict[str, str], dict[str, str]]:
    """`environmentVariables` and `secrets` of a job or setup task, by name."""
    plain = {entry["name"]: entry["value"] for entry in spec.get("environmentVariables") or ()}
    hidden = {
        entry["name"]: str(secrets[f"secrets.{i}.value"])
        for i, entry in enumerate(spec.get("secrets") or ())
        if f"secrets.{i}.value" in secrets
    }
    return plain, hidden


def node_preparation(task_id: str, node_id: str, cluster: Cluster) -> Task:
    """Cluster mounts, then the setup task (section 8.4)."""
    setup = cluster.spec.get("nodeSetup") or {}
    secrets = secrets_below(cluster.secrets, "nodeSetup")
    environment: dict[str, str] = {
        jobenv.NODE_ID: node_id,
        jobenv.CLUSTER_NAME: cluster.name,
    }
    hidden: dict[str, str] = {}
    steps: tuple[Step, ...] = ()
    directories: tuple[str, ...] = ()
    if task := setup.get("setupTask"):
        plain, hidden = _variables(task, secrets_below(secrets, "setupTask"))
        environment |= plain
        directory = f"{task['stdOutErrPathPrefix'].rstrip('/')}/{cluster.setup_suffix}"
        directories = (directory,)
        steps = (
            Step(
                StepKind.SETUP,
                (
                    Process(
                        task["commandLine"],
                        f"{directory}/stdout-{node_id}.txt",
                        f"{directory}/stderr-{node_id}.txt",
                    ),
                ),
            ),
        )
    return Task(
        id=task_id,
        kind=TaskKind.NODE_PREPARATION,
        node_id=node_id,
        steps=steps,
        mounts=mounts_of(setup, secrets, MountLevel.CLUSTER),
        environment=environment,
        secrets=hidden,
        directories=directories,
    )


def run_phases(spec: Json, node_count: int) -> tuple[tuple[StepKind, ...], ...]:
    """The steps of each phase of a run; a phase starts when all nodes have done the one before.

    One node needs one phase only: its agent does the steps in order by itself. So do those of several nodes
    with containers, which wait for each other in between: what the preparation did is there for the job only
    in the same container.
    """
    preparation = (StepKind.JOB_PREPARATION,) if spec.get("jobPreparation") else ()
    if node_count == 1 or not preparation or spec.get("containerSettings"):
        return ((*preparation, StepKind.TOOLKIT),)
    return (preparation, (StepKind.TOOLKIT,))


def nodes_of_phase(spec: Json, phase: int, nodes: Sequence[NodeFacts]) -> list[int]:
    """Positions of the nodes that have anything to do in this phase; the master always has."""
    steps = run_phases(spec, len(nodes))[phase]
    if StepKind.JOB_PREPARATION in steps:
        return list(range(len(nodes)))
    return [i for i, group in enumerate(processes(spec, nodes)) if group or i == 0]


def run_task(
    task_id: str,
    job: Job,
    phase: int,
    position: int,
    nodes: Sequence[NodeFacts],
    path: str,
    continues: str = "",
    elapsed: timedelta = timedelta(0),
) -> Task:
    """What the node at `position` (0 is the master) carries out in a phase of the job's present run.

    `path` is the job's place below a shared root, e.g. "ws/exp/job"; `continues` the node's task of the phase
    before, and `elapsed` what that has taken of the job's time.
    """
    node = nodes[position]
    plain, hidden = _variables(job.spec, job.secrets)
    variables = path_variables(job.spec, job.legacy, job.segment, job.layout)
    created = [
        path for path, create in output_directories(job.spec, job.legacy, job.segment).values() if create
    ]
    log_name = "execution.log" if len(nodes) == 1 else f"execution-{node.node_id}.log"
    steps = tuple(_step(kind, job.spec, position, nodes) for kind in run_phases(job.spec, len(nodes))[phase])
    limit = parse_duration(job.spec["constraints"]["maxWallClockTime"])
    return Task(
        id=task_id,
        kind=TaskKind.RUN,
        node_id=node.node_id,
        steps=steps,
        mounts=mounts_of(job.spec, job.secrets, MountLevel.JOB),
        environment=_run_environment(job, node, nodes) | variables | plain,
        secrets=hidden,
        directories=(f"${jobenv.STDOUTERR_DIR}", *created),
        files={_HOST_FILE: hosts(job.spec, nodes)},
        # A job of 2017-09-01-preview writes where one of the same name wrote before; the later versions
        # have a place for each job. What this job itself wrote in an earlier attempt stays.
        fresh_output=job.attempt == 1 and job.layout == FLAT_LAYOUT,
        container=_container(job.spec.get("containerSettings"), job.secrets),
        log=None if job.layout == FLAT_LAYOUT else f"${jobenv.STDOUTERR_DIR}/{log_name}",
        wall_clock_s=max(0.0, (limit - elapsed).total_seconds()) if limit else None,
        run_id=job.run_id,
        job_path=path,
        continues=continues,
        waits=len(nodes) > 1 and len(steps) > 1,
    )


def _run_environment(job: Job, node: NodeFacts, nodes: Sequence[NodeFacts]) -> dict[str, str]:
    addresses = [n.address for n in nodes]
    return {
        jobenv.NODE_ID: node.node_id,
        jobenv.HOST_LIST: ",".join(addresses),
        jobenv.MASTER_NODE: f"{addresses[0]}:6000",
        jobenv.MPI_HOST_FILE: _HOST_FILE,
        jobenv.RETRY_COUNT: str(job.attempt - 1),
    }


def hosts(spec: Json, nodes: Sequence[NodeFacts]) -> str:
    """Open MPI's hostfile: a slot per process of the toolkit, at least one."""
    slots = [max(1, len(group)) for group in processes(spec, nodes)]
    return "".join(f"{node.address} slots={count}\n" for node, count in zip(nodes, slots, strict=True))


def _step(kind: StepKind, spec: Json, position: int, nodes: Sequence[NodeFacts]) -> Step:
    if kind is StepKind.TOOLKIT:
        return Step(kind, tuple(processes(spec, nodes)[position]))
    suffix = "-job_prep" if len(nodes) == 1 else f"-job_prep-{nodes[position].node_id}"
    out = f"${jobenv.STDOUTERR_DIR}/stdout{suffix}.txt"
    err = f"${jobenv.STDOUTERR_DIR}/stderr{suffix}.txt"
    return Step(kind, (Process(spec["jobPreparation"]["commandLine"], out, err),))


def _container(settings: Json | None, secrets: Json) -> Container | None:
    if not settings:
        return None
    registry = settings["imageSourceRegistry"]
    credentials = registry.get("credentials") or {}
    return Container(
        image=registry["image"],
        server_url=registry.get("serverUrl") or "",
        username=credentials.get("username") or "",
        password=str(secrets.get("containerSettings.imageSourceRegistry.credentials.password", "")),
        shm_size=settings.get("shmSize") or "",
    )
