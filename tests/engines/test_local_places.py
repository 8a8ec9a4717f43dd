"""What a task of the local engine sees: its directories, mounts, variables, shell and secrets."""

import json
import os
import shlex
import shutil
import signal
import subprocess

import pytest

from openbatchai.domain import jobenv
from openbatchai.domain.errors import Fault
from openbatchai.domain.ports import MountKind, MountLevel, NodeRequest, StepKind, TaskKind
from openbatchai.engines.limits import Limits

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@pytest.fixture
def out(shares):
    return shares.path()


def printed(out) -> str:
    return (out / "stdout.txt").read_text()


def setup_task(build, *mounts, **changes):
    step = build.step("true", StepKind.SETUP, stdout="out.txt", stderr="err.txt")
    values = {"id": "setup", "kind": TaskKind.NODE_PREPARATION, "mounts": mounts}
    return build.task(step, **{**values, **changes})


def test_the_service_environment_does_not_leak(local, build, out, monkeypatch):
    monkeypatch.setenv("SERVICE_SECRET", "do-not-tell")

    local.run(build.task("env; cat /proc/$PPID/environ"))

    assert "do-not-tell" not in printed(out)
    assert "HTTPS_PROXY=http://127.0.0.1:9" in printed(out)


def test_variables_of_the_engine_name_directories_that_can_be_written(local, build, out):
    names = [name for name in jobenv.FROM_ENGINE if name.endswith(("ROOT", "TEMP", "TEMP_DIR", "WORK_DIR"))]
    checks = "; ".join(f'[ -d "${name}" ] || echo {name}' for name in names)

    local.run(
        build.task(checks + '; touch "$AZ_BATCHAI_JOB_TEMP/x" "$AZ_BATCHAI_SHARED_JOB_TEMP/x" "$HOME/x"; pwd')
    )

    assert (out / "stderr.txt").read_text() == ""
    assert printed(out).strip().endswith("/jobs/ws/exp/job/temp")
    assert len(printed(out).splitlines()) == 1


def test_tasks_of_one_run_share_a_directory_and_nothing_else(local, build, out):
    local.engine.provision([NodeRequest("node-2", cores=1, gpus=0)])
    local.run(build.task('touch "$AZ_BATCHAI_SHARED_JOB_TEMP/shared" "$AZ_BATCHAI_JOB_TEMP/own"'))

    local.run(
        build.task('ls "$AZ_BATCHAI_SHARED_JOB_TEMP" "$AZ_BATCHAI_JOB_TEMP"', id="task-2", node_id="node-2")
    )

    assert "shared" in printed(out)
    assert "own" not in printed(out)


def test_variables_refer_to_those_before_them(local, build, out):
    environment = {
        "AZ_BATCHAI_OUTPUT_MODEL": "$AZ_BATCHAI_JOB_MOUNT_ROOT/out/model",
        "DEEPER": "${AZ_BATCHAI_OUTPUT_MODEL}/deeper",
        "UNKNOWN": "[$NO_SUCH_NAME]",
    }
    task = build.task(
        'echo "$DEEPER|$UNKNOWN|$OWN"; ls -d "$AZ_BATCHAI_OUTPUT_MODEL"',
        environment=environment,
        directories=("$AZ_BATCHAI_OUTPUT_MODEL",),
    )
    step = build.step(task.steps[0].processes[0].command_line, environment={"OWN": "$DEEPER/x"})

    end = local.run(build.task(step, environment=environment, directories=task.directories))

    assert end.exit_code == 0
    assert "/model/deeper|[]|" in printed(out)
    assert printed(out).splitlines()[0].endswith("/out/model/deeper/x")
    assert (out / "model").is_dir()


def test_the_task_id_cannot_be_hidden(local, build, out):
    local.run(build.task("echo $OPENBATCHAI_TASK_ID", environment={"OPENBATCHAI_TASK_ID": "other"}))

    assert printed(out) == "task-1\n"


def test_without_gpus_a_job_sees_none(local, build, out):
    if local.engine.capabilities().gpus:
        pytest.skip("this machine has GPUs")

    local.run(
        build.task('echo "$AZ_BATCHAI_NUM_GPUS,${CUDA_VISIBLE_DEVICES-unset},$AZ_BATCHAI_NUM_GPUS_PER_NODE"')
    )

    assert printed(out) == "0,,0\n"


def test_a_size_larger_than_the_machine_says_so(local):
    (facts,) = local.engine.provision([NodeRequest("big", cores=10_000, gpus=0)])

    assert "10000 cores" in facts.note


def test_lines_in_bashrc_of_job_preparation_reach_the_job(local, build, out):
    line = 'export FROM_BASHRC=yes; echo "$(bash -c "echo nested")"'
    preparation = build.step(f"echo '{line}' >> ~/.bashrc", StepKind.JOB_PREPARATION)

    local.run(build.task(preparation, "echo $FROM_BASHRC; bash -c 'echo inner'; [[ $- != *i* ]]"))

    assert printed(out) == "nested\nyes\ninner\n"
    assert (out / "stderr.txt").read_text() == ""


def test_files_exist_empty_from_the_start(local, build, out):
    preparation = build.step("exit 1", StepKind.JOB_PREPARATION)

    local.run(build.task(preparation, "echo never"))

    names = {"stdout.txt", "stderr.txt", "stdout-job_prep.txt", "stderr-job_prep.txt"}
    assert {entry.name: entry.stat().st_size for entry in out.iterdir()} == dict.fromkeys(names, 0)


def test_output_is_appended_to_what_is_there(local, build, out):
    (out / "stdout.txt").write_text("before\n")

    local.run(build.task("echo after"))

    assert printed(out) == "before\nafter\n"


def test_an_output_file_that_cannot_be_made_fails_the_task(local, build, out):
    (out / "file").touch()

    end = local.run(build.task(build.step("true", stdout="$AZ_BATCHAI_JOB_MOUNT_ROOT/out/file/stdout.txt")))

    assert (end.exit_code, end.fault.code) == (None, Fault.TASK_SETUP)
    assert "stdout.txt" in end.fault.message


def test_a_command_too_long_for_the_system_fails_the_task(local, build):
    end = local.run(build.task("echo " + "x" * 3_000_000))

    assert end.fault.code == Fault.TASK_SETUP


def test_secrets_reach_the_job_and_no_record(local, build, out, root):
    secret = "hush-hush"
    task = build.task(
        f'test "$PASSWORD" = {secret} && echo right; sleep 0.2',
        secrets={"PASSWORD": secret},
        environment={"VISIBLE": "value-of-visible"},
        log="$AZ_BATCHAI_JOB_MOUNT_ROOT/out/execution.log",
    )

    local.engine.start(task)
    mode = (root / "tasks" / "task-1" / "task.json").stat().st_mode
    local.end()

    assert printed(out) == "right\n"
    assert mode & 0o777 == 0o600
    log = (out / "execution.log").read_text()
    assert "PASSWORD" in log
    assert "***" in log
    assert local.engine.fetch("task-1", "task.json", 0) == b""
    kept = [
        path for path in (root / "tasks" / "task-1").rglob("*") if path.is_file() and not path.is_symlink()
    ]
    texts = [path.read_bytes() for path in (*kept, out / "execution.log")]
    assert not any(secret.encode() in text or b"value-of-visible" in text for text in texts)


def test_last_words_hold_no_secret(local, build, out):
    step = build.step('echo "login $PASSWORD" >&2; exit 7', StepKind.SETUP, stdout="o.txt", stderr="e.txt")
    task = build.task(step, kind=TaskKind.NODE_PREPARATION, secrets={"PASSWORD": "hush-hush"})

    end = local.run(task)

    assert ("stderr", "login ***") in end.fault.details


def test_what_lies_in_the_private_folder_cannot_keep_a_task_from_its_end(local, build, out, root):
    """The programs of container runtimes make directories beside their configuration."""
    (out / "precious").touch()
    command = 'cd "$HOME/.." && mkdir -p private/a/b && touch private/a/b/c && ln -s "$OUT" private/link'

    assert local.run(build.task(command, environment={"OUT": str(out)})).exit_code == 0

    assert not list((root / "tasks" / "task-1" / "private").iterdir())
    assert (out / "precious").exists()


def test_a_job_that_removes_the_directory_of_its_task_ends_all_the_same(local, build, out, open_engine):
    command = 'task=$(cd "$HOME/.."; pwd); rm -rf "$task"/*'
    assert local.run(build.task(command)).exit_code == 0
    local.engine.forget("task-1")

    command += '; touch "$OUT/gone"; sleep 1000'
    local.engine.start(build.task(command, id="task-2", environment={"OUT": str(out)}))
    local.wait((out / "gone").exists)
    # Neither lock nor marker says any more that an agent lives: another one must not begin anew.
    local.engine = open_engine()
    assert local.end("task-2").fault is not None
    local.engine.forget("task-2")


def test_what_is_no_task_does_not_keep_an_engine_from_its_tasks(local, build, open_engine, root):
    """A network file system leaves such a name for a file that is removed while open."""
    local.run(build.task("true"))
    (root / "tasks" / ".nfs000000000a").touch()
    (root / "tasks" / "damaged").mkdir()
    (root / "tasks" / "damaged" / "task.json").write_text("{}")

    local.engine = open_engine()

    assert local.ended()


def test_the_execution_log_tells_what_was_done(local, build, out):
    log = "$AZ_BATCHAI_JOB_MOUNT_ROOT/out/logs/execution.log"

    local.run(build.task(build.step("true", StepKind.JOB_PREPARATION), "exit 3", log=log))

    text = (out / "logs" / "execution.log").read_text()
    assert text.encode() == local.engine.fetch("task-1", "execution.log", 0)
    for part in ("Azure file share data of acct", "jobPreparation", "exit 3", "exit code 3", "JobFailed"):
        assert part in text


def test_job_mounts_go_and_cluster_mounts_stay(local, build, out, root):
    cluster = build.mount(level=MountLevel.CLUSTER, relative_path="deep/er", kind=MountKind.BLOB_CONTAINER)
    local.run(setup_task(build, cluster))

    local.run(
        build.task('ls -d "$AZ_BATCHAI_MOUNT_ROOT/deep/er" && touch "$AZ_BATCHAI_MOUNT_ROOT/deep/er/file"')
    )

    assert not list((root / "tasks" / "task-1" / "jobs" / "ws" / "exp" / "job" / "mounts").iterdir())
    assert (root / "nodes" / "node-1" / "mounts" / "deep" / "er" / "file").exists()


def test_release_and_forget_leave_the_files_on_shares(local, build, out, root):
    local.run(setup_task(build, build.mount(level=MountLevel.CLUSTER)))
    local.run(
        build.task(
            'cd "$AZ_BATCHAI_MOUNT_ROOT"; ln -s "$PWD/out" "$AZ_BATCHAI_JOB_TEMP/link"; echo kept > out/f'
        )
    )

    local.engine.release(["node-1"])
    local.engine.forget("task-1")

    assert (out / "f").read_text() == "kept\n"
    assert not (root / "nodes" / "node-1").exists()
    assert not (root / "tasks" / "task-1").exists()


def test_a_run_keeps_its_shared_directory_until_its_last_task_is_forgotten(local, build, root):
    for task_id in ("task-1", "task-2"):
        local.run(build.task("true", id=task_id))

    local.engine.forget("task-1")
    assert (root / "runs" / "run-1" / "shared").is_dir()
    local.engine.forget("task-2")
    assert not (root / "runs" / "run-1").exists()


@pytest.mark.parametrize("path", ["../out", "a/../../b", "", "."])
def test_a_mount_cannot_leave_its_root(local, build, path):
    end = local.run(build.task("true", mounts=(build.mount(relative_path=path),)))

    assert end.fault.code == Fault.FILE_MOUNT


def test_a_mount_below_another_is_refused(local, build, out):
    end = local.run(build.task("true", mounts=(build.mount(), build.mount(relative_path="out/inner"))))

    assert end.fault.code == Fault.FILE_MOUNT
    assert not list(out.iterdir())


def unmanaged(build, command, **changes):
    values = {
        "kind": MountKind.UNMANAGED,
        "relative_path": "own",
        "account": "",
        "container": "",
        "account_key": "",
    }
    return build.mount(command=command, **{**values, **changes})


@needs_root
def test_an_unmanaged_file_system_is_mounted_for_the_job_only(local, build, out, root):
    mount = unmanaged(build, "mount -t tmpfs -o size=1m tmpfs")

    end = local.run(build.task('mountpoint "$AZ_BATCHAI_JOB_MOUNT_ROOT/own"', mounts=(build.mount(), mount)))

    assert end.exit_code == 0, printed(out)
    assert not (root / "tasks/task-1/jobs/ws/exp/job/mounts/own").is_mount()


@needs_root
def test_a_directory_of_the_same_disk_is_mounted_for_the_job_only(local, build, out, root):
    (out / "own").mkdir()
    (out / "own" / "there").touch()
    mount = unmanaged(build, f"mount --bind {shlex.quote(str(out / 'own'))}")

    end = local.run(build.task('ls "$AZ_BATCHAI_JOB_MOUNT_ROOT/own"', mounts=(build.mount(), mount)))

    assert printed(out) == "there\n"
    assert end.fault is None
    assert not (root / "tasks/task-1/jobs/ws/exp/job/mounts/own/there").exists()


@needs_root
@pytest.mark.parametrize("continues", ["", "task-1"])
def test_an_unmanaged_file_system_of_a_job_goes_with_a_killed_agent(local, build, root, continues):
    """Also that of a later phase, which goes on in the places of the first."""
    mounts = (build.mount(), unmanaged(build, "mount -t tmpfs -o size=1m tmpfs"))
    if continues:
        local.run(build.task("true", mounts=mounts))
    local.engine.start(build.task("sleep 1000", id="task-2", mounts=mounts, continues=continues))
    local.until_step(StepKind.TOOLKIT, "task-2")
    place = root / f"tasks/{continues or 'task-2'}/jobs/ws/exp/job/mounts/own"
    assert place.is_mount()

    os.kill(int((root / "tasks/task-2/started").read_text().split()[0]), signal.SIGKILL)

    assert local.end("task-2").fault.code == Fault.NODE_AGENT_LOST
    assert not place.is_mount()


@needs_root
def test_an_unmanaged_file_system_of_the_node_is_unmounted_at_its_release(local, build, root):
    local.run(
        setup_task(build, unmanaged(build, "mount -t tmpfs -o size=1m tmpfs", level=MountLevel.CLUSTER))
    )
    place = root / "nodes/node-1/mounts/own"
    assert place.is_mount()

    local.engine.release(["node-1"])

    assert not place.exists()


def test_a_mount_command_that_fails_is_told_without_its_text(local, build):
    mount = unmanaged(build, "echo no such server >&2; false password=hidden")

    end = local.run(build.task("true", mounts=(build.mount(), mount)))

    assert (end.exit_code, end.fault.code) == (-1, Fault.UNMANAGED_MOUNT)
    assert "no such server" in str(end.fault.details)
    assert b"hidden" not in local.engine.fetch("task-1", "execution.log", 0)


def test_a_daemon_of_a_cluster_mount_outlives_its_setup_task(local, build, root):
    """As FUSE file systems have."""
    script = "sh -c 'setsid sleep 30 > /dev/null 2>&1 & echo $! > \"$0/pid\"'"
    local.run(setup_task(build, unmanaged(build, script, level=MountLevel.CLUSTER)))
    pid = int((root / "nodes/node-1/mounts/own/pid").read_text())

    os.kill(pid, 9)


def test_a_setup_task_that_fails_tells_its_last_words(local, build):
    step = build.step("echo cannot find it >&2; exit 7", StepKind.SETUP, stdout="o.txt", stderr="e.txt")

    end = local.run(build.task(step, kind=TaskKind.NODE_PREPARATION))

    assert (end.exit_code, end.fault.code) == (7, Fault.NODE_PREPARATION_FAILED)
    assert end.fault.details == (("ExitCode", "7"), ("stderr", "cannot find it"))


def test_events_are_one_json_object_per_line(local, build, root):
    local.run(build.task("true"))

    lines = (root / "tasks" / "task-1" / "events.jsonl").read_text().splitlines()

    assert [json.loads(line)["sequence"] for line in lines] == [1, 2, 3]


def test_the_temporary_directory_leaves_room_for_sockets(local, build, out, root):
    command = "import tempfile, socket as s; s.socket(s.AF_UNIX).bind(tempfile.mkdtemp() + '/' + 'x' * 40)"

    end = local.run(build.task(f'python -c "{command}"; ls "$TMPDIR"; readlink "$TMPDIR"'))

    assert end.exit_code == 0, (out / "stderr.txt").read_text()
    assert printed(out).splitlines()[-1] == str(root / "tasks" / "task-1" / "tmp")


def test_short_names_of_temporary_directories_go_with_the_task(local, build, out):
    local.run(build.task('echo "$TMPDIR"'))

    assert not os.path.lexists(printed(out).strip())


def test_a_setup_task_may_write_to_a_mount_of_its_cluster(local, build, out):
    step = build.step(
        "echo done", StepKind.SETUP, stdout="$AZ_BATCHAI_MOUNT_ROOT/out/a/b/stdout.txt", stderr="e"
    )

    end = local.run(
        build.task(step, kind=TaskKind.NODE_PREPARATION, mounts=(build.mount(level=MountLevel.CLUSTER),))
    )

    assert end.fault is None
    assert (out / "a" / "b" / "stdout.txt").read_text() == "done\n"


def test_files_that_a_task_brings_are_there_before_its_steps(local, build, out):
    local.run(
        build.task(
            'cat "$AZ_BATCHAI_SHARED_JOB_TEMP/hosts"', files={"$AZ_BATCHAI_SHARED_JOB_TEMP/hosts": "a\nb\n"}
        )
    )

    assert printed(out) == "a\nb\n"


def test_waiting_threads_soon_sleep_unless_the_job_says_otherwise(local, build, out):
    local.run(build.task("echo $GOMP_SPINCOUNT"))
    local.run(build.task("echo $GOMP_SPINCOUNT", id="task-2", environment={"GOMP_SPINCOUNT": "infinite"}))

    assert printed(out) == "20000\ninfinite\n"


@pytest.mark.parametrize(("fresh", "expected"), [(True, "new\n"), (False, "old\nnew\n")])
def test_output_begins_empty_only_when_the_task_says_so(local, build, out, fresh, expected):
    local.run(build.task("echo old"))

    local.run(build.task("echo new", id="task-2", fresh_output=fresh))

    assert printed(out) == expected


def test_the_tasks_of_a_run_empty_their_common_output_once(local, build, out):
    """Also under a path of its own on each node."""
    local.run(build.task("echo old"))
    local.engine.provision([NodeRequest("node-2", cores=1, gpus=0)])

    local.run(build.task("echo one", id="task-2", run_id="run-2", fresh_output=True))
    local.run(build.task("echo two", id="task-3", run_id="run-2", fresh_output=True, node_id="node-2"))
    local.run(build.task("echo three", id="task-4", run_id="run-3", fresh_output=True))

    assert printed(out) == "three\n"


def test_each_task_of_a_run_keeps_what_the_others_wrote(local, build, out):
    local.run(build.task("echo old"))
    local.engine.provision([NodeRequest("node-2", cores=1, gpus=0)])

    for task_id, node_id in (("task-2", "node-1"), ("task-3", "node-2")):
        local.run(
            build.task(f"echo {task_id}", id=task_id, run_id="run-2", fresh_output=True, node_id=node_id)
        )

    assert printed(out) == "task-2\ntask-3\n"


def test_a_node_sees_its_own_gpus_and_no_others(with_gpus, build, out):
    with_gpus.engine.provision([NodeRequest("node-2", 1, 1), NodeRequest("node-3", 1, 1)])

    for node_id in ("node-1", "node-2", "node-3"):
        line = 'echo "$AZ_BATCHAI_NUM_GPUS: $CUDA_VISIBLE_DEVICES ($CUDA_DEVICE_ORDER)"'
        with_gpus.run(build.task(line, id=f"on-{node_id}", node_id=node_id))

    assert printed(out) == "0:  (PCI_BUS_ID)\n1: 0 (PCI_BUS_ID)\n1: 1 (PCI_BUS_ID)\n"


def test_with_too_little_disk_no_run_may_start(open_engine, root):
    """2 % of a small disk is the most that is kept free."""
    free = shutil.disk_usage(root.parent).free

    assert open_engine(limits=Limits(disk_reserve=0)).hold() == ""
    if free < shutil.disk_usage(root.parent).total * 0.02:
        pytest.skip("this disk is nearly full")
    assert open_engine(limits=Limits(disk_reserve=2**60)).hold() == ""


@needs_root
def test_a_full_disk_is_named_with_what_is_left(tmp_path, open_engine, root):
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(root)], check=True)
    try:
        engine = open_engine()
        (root / "filler").write_bytes(bytes(8 * 2**20 - 2**17))
        assert f"the disk of {root} has 0 MiB left" in engine.hold()
        (root / "filler").unlink()
        assert engine.hold() == ""
    finally:
        engine.close()
        subprocess.run(["umount", "-l", str(root)], check=True)
