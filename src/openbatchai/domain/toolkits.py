"""How a job's settings become processes on its nodes (batchai-service.md section 11).

Rank processes get the variables of Open MPI, so that scripts written for `mpirun` find their rank whether
or not an MPI is installed. Each function returns, per node, the processes that run there side by side.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import jobenv
from .ports import NodeFacts, Process

Spec = Mapping[str, Any]
Placement = list[list[Process]]

TOOL_TYPES = {
    "cntkSettings": "cntk",
    "tensorFlowSettings": "tensorflow",
    "caffeSettings": "caffe",
    "caffe2Settings": "caffe2",
    "chainerSettings": "chainer",
    "pyTorchSettings": "pytorch",
    "horovodSettings": "horovod",
    "customMpiSettings": "custommpi",
    "customToolkitSettings": "custom",
}

# Processes of one kind in one job. Each knows the addresses of all, so their sizes grow with the square.
PROCESS_LIMIT = 1000

_PARAMETER_SERVER_PORT = 2222
# torchrun's own default; each node has an address of its own, and runs one job at a time.
_RENDEZVOUS_PORT = 29500


@dataclass(frozen=True)
class _Rank:
    rank: int
    size: int
    node: int
    local_rank: int
    local_size: int


def settings_of(spec: Spec) -> tuple[str, Spec]:
    """The one settings object of a job: (property name, its content)."""
    name = next(name for name in TOOL_TYPES if spec.get(name) is not None)
    return name, spec[name]


def processes(spec: Spec, nodes: Sequence[NodeFacts]) -> Placement:
    """The toolkit processes of a job, a list per node, master first."""
    name, settings = settings_of(spec)
    return _LAUNCHERS[name](settings, nodes)


def _log(kind: str, suffix: str = "") -> str:
    return f"${jobenv.STDOUTERR_DIR}/{kind}{suffix}.txt"


def _process(
    command: str, suffix: str = "", environment: Mapping[str, str] | None = None, *, service: bool = False
) -> Process:
    return Process(command, _log("stdout", suffix), _log("stderr", suffix), environment or {}, service)


def _ranks(count: int, nodes: int) -> list[_Rank]:
    """`count` ranks spread evenly over the nodes, filled node by node as a hostfile with slots would."""
    per_node = [count // nodes + (1 if i < count % nodes else 0) for i in range(nodes)]
    ranks: list[_Rank] = []
    for node, local_size in enumerate(per_node):
        ranks += [_Rank(len(ranks) + i, count, node, i, local_size) for i in range(local_size)]
    return ranks


def _mpi_environment(rank: _Rank, nodes: Sequence[NodeFacts]) -> dict[str, str]:
    """What Open MPI and torchrun tell a process of its place."""
    return {
        "OMPI_COMM_WORLD_RANK": str(rank.rank),
        "OMPI_COMM_WORLD_SIZE": str(rank.size),
        "OMPI_COMM_WORLD_LOCAL_RANK": str(rank.local_rank),
        "OMPI_COMM_WORLD_LOCAL_SIZE": str(rank.local_size),
        "OMPI_COMM_WORLD_NODE_RANK": str(rank.local_rank),
        "RANK": str(rank.rank),
        "WORLD_SIZE": str(rank.size),
        "LOCAL_RANK": str(rank.local_rank),
        "MASTER_ADDR": nodes[0].address,
        "MASTER_PORT": str(_RENDEZVOUS_PORT),
    }


def _spread(
    count: int,
    nodes: Sequence[NodeFacts],
    make: Callable[[_Rank], Process],
) -> Placement:
    placed: Placement = [[] for _ in nodes]
    for rank in _ranks(count, len(nodes)):
        placed[rank.node].append(make(rank))
    return placed


def _mpi(command: str, count: int, nodes: Sequence[NodeFacts]) -> Placement:
    """One command in `count` ranks; all write to the same stdout.txt and stderr.txt, as under mpirun.

    A single process gets no rank variables: a script then behaves as outside any MPI.
    """
    if count == 1:
        return [[_process(command)], *([] for _ in nodes[1:])]
    return _spread(count, nodes, lambda rank: _process(command, "", _mpi_environment(rank, nodes)))


def _python(settings: Spec, args: str = "commandLineArgs") -> str:
    interpreter = settings.get("pythonInterpreterPath") or "python"
    words = [interpreter, settings["pythonScriptFilePath"], settings.get(args) or ""]
    return " ".join(word for word in words if word)


def _cntk(settings: Spec, nodes: Sequence[NodeFacts]) -> Placement:
    if settings["languageType"].lower() == "brainscript":
        command = f"cntk configFile={settings['configFilePath']} {settings.get('commandLineArgs') or ''}"
    else:
        command = _python(settings)
    return _mpi(command.strip(), settings["processCount"], nodes)


def _caffe(settings: Spec, nodes: Sequence[NodeFacts]) -> Placement:
    if settings.get("pythonScriptFilePath"):
        command = _python(settings)
    else:
        command = f"caffe train --solver={settings['configFilePath']} {settings.get('commandLineArgs') or ''}"
    return _mpi(command.strip(), settings["processCount"], nodes)


def _python_mpi(settings: Spec, nodes: Sequence[NodeFacts]) -> Placement:
    return _mpi(_python(settings), settings["processCount"], nodes)


def _custom_mpi(settings: Spec, nodes: Sequence[NodeFacts]) -> Placement:
    return _mpi(settings["commandLine"], settings["processCount"], nodes)


def _custom(settings: Spec, nodes: Sequence[NodeFacts]) -> Placement:
    return [[_process(settings.get("commandLine") or "true")], *([] for _ in nodes[1:])]


def _caffe2(settings: Spec, nodes: Sequence[NodeFacts]) -> Placement:
    def make(rank: _Rank) -> Process:
        return _process(_python(settings), f"-{rank.rank}", {jobenv.TASK_INDEX: str(rank.rank)})

    return _spread(len(nodes), nodes, make)


def _pytorch(settings: Spec, nodes: Sequence[NodeFacts]) -> Placement:
    backend = settings.get("communicationBackend") or "gloo"

    def make(rank: _Rank) -> Process:
        environment = {
            jobenv.TASK_INDEX: str(rank.rank),
            jobenv.PYTORCH_INIT_METHOD: f"file://${jobenv.SHARED_JOB_TEMP}/pytorch-init",
            jobenv.PYTORCH_BACKEND: backend,
            **_mpi_environment(rank, nodes),
        }
        return _process(_python(settings), f"-{rank.rank}", environment)

    return _spread(settings["processCount"], nodes, make)


def _tensorflow(settings: Spec, nodes: Sequence[NodeFacts]) -> Placement:
    workers, servers = settings.get("workerCount"), settings.get("parameterServerCount")
    distributed = any(
        settings.get(name) is not None
        for name in (
            "workerCount",
            "parameterServerCount",
            "workerCommandLineArgs",
            "parameterServerCommandLineArgs",
        )
    )
    if not distributed:
        task = {"cluster": {}, "task": {"type": "master", "index": 0}, "environment": "cloud"}
        environment = {jobenv.TASK_INDEX: "0", jobenv.TF_CONFIG: json.dumps(task)}
        single = _process(_python(settings, "masterCommandLineArgs"), "-wk-0", environment)
        return [[single], *([] for _ in nodes[1:])]
    return _distributed_tensorflow(settings, nodes, workers or len(nodes), 1 if servers is None else servers)


def _distributed_tensorflow(
    settings: Spec, nodes: Sequence[NodeFacts], workers: int, servers: int
) -> Placement:
    """Section 11.1: servers first, then workers, each on the next free port of its node."""
    ports = dict.fromkeys(range(len(nodes)), _PARAMETER_SERVER_PORT)

    def endpoint(node: int) -> str:
        ports[node] += 1
        return f"{nodes[node].address}:{ports[node] - 1}"

    server_nodes = [i % len(nodes) for i in range(servers)]
    server_hosts = [endpoint(node) for node in server_nodes]
    worker_nodes = [i % len(nodes) for i in range(workers)]
    worker_hosts = [endpoint(node) for node in worker_nodes]
    placed: Placement = [[] for _ in nodes]

    def place(role: str, index: int, node: int, args: str, suffix: str) -> None:
        config = {
            "cluster": {"ps": server_hosts, "worker": worker_hosts},
            "task": {"type": role, "index": index},
            "environment": "cloud",
        }
        environment = {
            jobenv.TASK_INDEX: str(index),
            jobenv.PS_HOSTS: ",".join(server_hosts),
            jobenv.WORKER_HOSTS: ",".join(worker_hosts),
            jobenv.TF_CONFIG: json.dumps(config),
        }
        placed[node].append(_process(_python(settings, args), suffix, environment, service=role == "ps"))

    for i, node in enumerate(server_nodes):
        place("ps", i, node, "parameterServerCommandLineArgs", f"-ps-{i}")
    for i, node in enumerate(worker_nodes):
        master = i == 0 and settings.get("masterCommandLineArgs")
        place("worker", i, node, "masterCommandLineArgs" if master else "workerCommandLineArgs", f"-wk-{i}")
    return placed


_LAUNCHERS: dict[str, Callable[[Spec, Sequence[NodeFacts]], Placement]] = {
    "cntkSettings": _cntk,
    "tensorFlowSettings": _tensorflow,
    "caffeSettings": _caffe,
    "caffe2Settings": _caffe2,
    "chainerSettings": _python_mpi,
    "pyTorchSettings": _pytorch,
    "horovodSettings": _python_mpi,
    "customMpiSettings": _custom_mpi,
    "customToolkitSettings": _custom,
}
