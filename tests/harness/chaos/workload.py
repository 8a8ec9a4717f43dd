"""The jobs of a campaign: what each one is asked to do, and the script by which it tells the oracle.

The oracle is one file. A job appends a line when one of its processes starts, after each line of output, and
when it ends by itself:

    S KEY PHASE ATTEMPT NODE PID      E KEY PHASE ATTEMPT NODE CODE LINES
    P KEY PHASE ATTEMPT NODE NUMBER

KEY is the job's own also where a name is used again; PHASE is `prep` or `run`. Starts and ends are flushed.
"""

import random
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

KEY = "CHAOS_KEY"

SCRIPT = """
who="$CHAOS_KEY $1 $OPENBATCHAI_RETRY_COUNT $AZ_BATCH_NODE_ID"
echo "S $who $$" >> "$CHAOS_ORACLE"
sync -d "$CHAOS_ORACLE"
# What leaves its session, and perhaps does not listen to TERM: it must go with the job.
case "$CHAOS_STRAY" in
    leaves) setsid sleep 600 & ;;
    stays) (trap '' TERM; exec setsid sleep 600) & ;;
esac
i=0
while [ "$i" -lt "$3" ]; do
    echo "$who $i"
    echo "P $who $i" >> "$CHAOS_ORACLE"
    i=$((i+1))
    sleep "$CHAOS_PAUSE"
done
# Who says that it has ended, ends by itself: only KILL is between this line and the last.
trap '' TERM
echo "E $who $2 $i" >> "$CHAOS_ORACLE"
sync -d "$CHAOS_ORACLE"
exit "$2"
"""


@dataclass
class Asked:
    """One incarnation of a job, what was done to it, and what came of it."""

    key: str
    name: str
    cluster: str
    nodes: int = 1
    code: int = 0
    # The exit code of its preparation; None where it has none.
    prepared: int | None = None
    lines: int = 4
    pause: float = 0.03
    stray: str = ""
    mounted: bool = False
    # What is to be done to it: "", "terminate", "delete"; and whether its name is used again after a delete.
    fate: str = ""
    again: bool = False

    terminated: bool = False
    deleted: bool = False
    agents_killed: int = 0
    processes_killed: int = 0
    # The first answer that showed it finished, and the last one: (state, exit code, error, end time).
    first: tuple[Any, ...] | None = None
    last: tuple[Any, ...] | None = None
    segment: str = ""
    # How often an agent of it saw its toolkit end, by the execution log of a job of one node.
    ends_seen: int = 0


def make(chance: random.Random, number: int, several: int, can_mount: bool) -> Asked:
    """The job of that number: most are short, of one node and good."""
    kind = chance.choices(
        ["good", "several", "failing", "unprepared", "terminate", "delete", "recreate", "preempted"],
        [30, 15, 10, 5, 10, 8, 7, 15],
    )[0]
    asked = Asked(f"k{number}", f"job{number}", "dedicated")
    asked.lines = chance.randint(1, 12)
    asked.pause = chance.choice([0.01, 0.03, 0.08])
    asked.stray = chance.choices(["", "leaves", "stays"], [78, 20, 2])[0]
    asked.mounted = can_mount and chance.random() < 0.1
    asked.prepared = 0 if chance.random() < 0.25 else None
    if kind == "several":
        asked.nodes = chance.randint(2, several)
        asked.code = chance.choice([0, 0, 0, 5])
    elif kind == "failing":
        asked.code = chance.randint(1, 100)
    elif kind == "unprepared":
        asked.prepared = chance.randint(1, 100)
        asked.nodes = chance.randint(1, several)
    elif kind == "terminate":
        asked.fate, asked.lines = "terminate", chance.choice([3, 60])
        asked.nodes = chance.choice([1, 1, several])
    elif kind in ("delete", "recreate"):
        asked.fate, asked.lines = "delete", chance.choice([3, 60])
        asked.again = kind == "recreate"
    elif kind == "preempted":
        asked.cluster, asked.lines = "low", chance.randint(5, 25)
    return asked


def body(asked: Asked, cluster: str, oracle: str) -> Json:
    """The request that creates it. `cluster` is the id of its cluster."""
    script = "sh $AZ_BATCHAI_MOUNT_ROOT/afs/script.sh"
    variables = {
        KEY: asked.key,
        "CHAOS_ORACLE": oracle,
        "CHAOS_PAUSE": str(asked.pause),
        "CHAOS_STRAY": asked.stray,
    }
    command = f"{script} run {asked.code} {asked.lines}"
    properties: Json = {
        "cluster": {"id": cluster},
        "nodeCount": asked.nodes,
        "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/afs",
        "environmentVariables": [{"name": name, "value": value} for name, value in variables.items()],
    }
    if asked.nodes == 1:
        properties["customToolkitSettings"] = {"commandLine": command}
    else:
        properties["customMpiSettings"] = {"commandLine": command, "processCount": asked.nodes}
    if asked.prepared is not None:
        properties["jobPreparation"] = {"commandLine": f"{script} prep {asked.prepared} 1"}
    if asked.mounted:
        disk = {"mountCommand": "mount -t tmpfs -o mode=777 chaos", "relativeMountPath": "disk"}
        properties["mountVolumes"] = {"unmanagedFileSystems": [disk]}
    return {"properties": properties}
