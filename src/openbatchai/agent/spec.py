"""The shape of `task.json`, written by an engine:

id, kind, node_id, run_id          which task this is
notes                              lines for the execution log: what the engine decided and why
user                               whom the steps' processes run as (uid, gid, groups), or null for the
                                   agent's own, as mount commands and the container runtime always do
bash, cwd, cpus                    the shell; the commands' directory; CPUs to stay on, or null
output_bytes                       the most an output file may hold, or null
cgroup                             the control group to make and join, or null
wall_clock_s, grace_s              limit of the whole task, or null; time between TERM and KILL
wake                               a FIFO that engines listen at
host_environment                   variables for processes on this machine only (PATH, HOME, ...)
environment                        variables of the engine, for containers too
task_environment                   the user's, in order; may refer to all before them
secrets                            the user's, verbatim; in no log
identity                           set last, by which processes of a lost agent are found
mounts                             level, path, what (for the log), target (or null: run `command`)
directories, files, log            to be made; their paths may refer to variables
emptied                            output files begin empty: where the run notes which did; or null
waits                              no step after the first begins before the engine says so
steps                              kind, processes: command_line, stdout, stderr, environment, service
container                          null, or name, image, runtimes, client_environment (of the runtime's
                                   own program), volumes, gpus, shm_size, login
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]
else:
    # Importing typing would cost every task 2.5 ms.
    Json = dict
