"""The processes of a distributed training: who they are, how they find each other, and sums over them.

Every process learns its place from the launcher's environment: Open MPI's mpirun, an MPI with PMI (MPICH,
Intel MPI), torchrun, or `python -m cntk launch`.  PyTorch's gloo (CPU) or NCCL (GPU) carries the data.
"""

from __future__ import annotations

import os
import re
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .launcher import MEETING_FILE
from .native import write_stderr

_VARIABLES = (  # rank, size, rank on this machine, processes on this machine
    ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    (
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
    ),
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
)


@dataclass(frozen=True)
class Place:
    """A process among the processes of a job."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1


def place_in(environment: Mapping[str, str]) -> Place:
    """Which process this is.  Raises ValueError when the launcher's variables contradict each other."""
    for names in _VARIABLES:
        if names[0] not in environment or names[1] not in environment:
            continue
        rank, size = int(environment[names[0]]), int(environment[names[1]])
        if not 0 <= rank < size:
            raise ValueError(f"{names[0]}={rank} and {names[1]}={size} do not fit together")
        local_rank = int(environment.get(names[2], rank))
        return Place(rank, size, local_rank, int(environment.get(names[3], size)))
    return Place()


def _started(pid: int) -> str:
    """When a process was started, in its own clock: with the id this names it for good."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def meeting_point(place: Place, environment: Mapping[str, str]) -> str:
    """Where the processes meet, as an init method of torch.distributed.

    Raises RuntimeError when nothing says on which machine the first process runs.
    """
    address = environment.get("MASTER_ADDR")
    if address and "TORCHELASTIC_RUN_ID" in environment:
        return "env://"  # torchrun has a store of its own at that address
    if address:
        return f"tcp://{address}:{environment.get('MASTER_PORT', '29500')}"
    job = environment.get("PMIX_NAMESPACE") or environment.get("OMPI_MCA_ess_base_jobid") or ""
    if place.local_size == place.size:
        # One machine: a file of our launcher, or one that only this job's launcher can name.
        if MEETING_FILE in environment:
            return f"file://{environment[MEETING_FILE]}"
        parent = os.getppid()
        job = re.sub(r"[^0-9A-Za-z]", "_", job)
        name = f"openbatchai-cntk-{os.getuid()}-{job}-{parent}-{_started(parent)}"
        return f"file://{Path(tempfile.gettempdir()) / name}"
    uri = environment.get("PMIX_SERVER_URI4") or environment.get("OMPI_MCA_orte_hnp_uri") or ""
    match = re.search(r"tcp4?://(\d+\.\d+\.\d+\.\d+)", uri)
    if not match:
        raise RuntimeError(
            "the workers are on several machines: set MASTER_ADDR to the address of the first one (and "
            "MASTER_PORT to a free port there)"
        )
    return f"tcp://{match[1]}:{20000 + zlib.crc32(job.encode()) % 20000}"


class _State:
    place: Place | None = None
    ours = False  # whether the process group was made here


def place() -> Place:
    if _State.place is None:
        _State.place = place_in(os.environ)
    return _State.place


def connect() -> Place:
    """Join the other processes, once; nothing to do for a single one."""
    here = place()
    if here.size == 1:
        return here
    from torch import distributed

    if not distributed.is_initialized():
        from ..device import use_default_device

        hosts = "a single host" if here.local_size == here.size else "several hosts"
        write_stderr(
            f"ping [requestnodes (before change)]: {here.size} nodes pinging each other\n"
            f"ping [requestnodes (after change)]: {here.size} nodes pinging each other\n"
            f"requestnodes [MPIWrapperMpi]: using {here.size} out of {here.size} MPI nodes on {hosts} "
            f"({here.size} requested); we ({here.rank}) are in (participating)\n"
            f"ping [mpihelper]: {here.size} nodes pinging each other\n"
        )
        gpu = use_default_device().type() == 1
        # NCCL for data on GPUs; gloo for what is on the CPU (counts, states).
        backend = "cpu:gloo,cuda:nccl" if gpu and distributed.is_nccl_available() else "gloo"
        distributed.init_process_group(
            backend, init_method=meeting_point(here, os.environ), rank=here.rank, world_size=here.size
        )
        _State.ours = True
    return here


def disconnect() -> None:
    """Leave, when everybody has come here."""
    if not _State.ours:
        return
    from torch import distributed

    distributed.barrier()
    distributed.destroy_process_group()
    _State.ours = False


def barrier() -> None:
    if connect().size > 1:
        from torch import distributed

        distributed.barrier()


def sum_in_place(tensors: Sequence[torch.Tensor]) -> None:
    """Replace every tensor by its sum over the workers; all have the same result, bit for bit."""
    if connect().size == 1:
        return
    from torch import distributed

    groups: dict[tuple[torch.dtype, torch.device], list[torch.Tensor]] = {}
    for tensor in tensors:
        groups.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    for group in groups.values():
        # One message for all of them.
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in group])
        distributed.all_reduce(flat)
        start = 0
        for tensor in group:
            tensor.copy_(flat[start : start + tensor.numel()].view(tensor.shape))
            start += tensor.numel()


def gather_numbers(values: Sequence[float]) -> list[list[float]]:
    """Every worker's numbers, in the order of the ranks."""
    if connect().size == 1:
        return [list(values)]
    from torch import distributed

    mine = torch.tensor(values, dtype=torch.float64)
    parts = [torch.empty_like(mine) for _ in range(place().size)]
    distributed.all_gather(parts, mine)
    return [[float(v) for v in part] for part in parts]


def gather_bytes(data: bytes) -> list[bytes]:
    """Every worker's bytes, in the order of the ranks."""
    sizes = [int(size[0]) for size in gather_numbers([len(data)])]
    if len(sizes) == 1:
        return [data]
    from torch import distributed

    mine = torch.zeros(max(sizes), dtype=torch.uint8)
    mine[: len(data)] = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else mine[:0]
    parts: list[Any] = [torch.empty_like(mine) for _ in sizes]
    distributed.all_gather(parts, mine)
    return [bytes(part[:size].numpy()) for part, size in zip(parts, sizes, strict=True)]
