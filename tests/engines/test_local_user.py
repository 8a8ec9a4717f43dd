"""With root: tasks that run as an unprivileged user, and what that user can and cannot reach."""

import os
import signal
import stat
import subprocess
import tempfile
from pathlib import Path

import psutil
import pytest

from openbatchai.domain.errors import Fault
from openbatchai.domain.ports import Container, MountKind, NodeRequest, Signal, StepKind, TaskKind
from openbatchai.engines import user

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run tasks as another user")

# Of these tests, which may run by an interpreter of root alone, jobs need none.
PYTHON: list[Path] = []


@pytest.fixture
def tmp_path():
    """One that others can reach; pytest's own is closed to them."""
    with tempfile.TemporaryDirectory(prefix="openbatchai-tests-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture
def nobody(tmp_path):
    found = user.choose("nobody", tmp_path, PYTHON)
    assert found.user is not None
    return found.user


@pytest.fixture
def local(request, open_engine, shares, nobody, root):
    """A bench whose engine runs tasks as nobody, on shares that are theirs, too."""
    user.share(shares.root, nobody)
    bench_of = request.getfixturevalue("bench_of")
    bench = bench_of(open_engine(user=nobody))
    root.chmod(0o700)
    user.let_pass([root], nobody)
    return bench


@pytest.fixture
def out(shares):
    return shares.path()


def printed(out):
    return (out / "stdout.txt").read_text()


def test_processes_have_the_users_rights_and_nothing_of_roots(local, build, out, nobody):
    local.run(
        build.task(
            "id -u; id -g; id -G; umask; grep -E 'Uid|Gid|CapPrm|SigBlk' /proc/self/status; echo $USER"
        )
    )

    uid, gid = nobody.uid, nobody.gid
    expected = [str(uid), str(gid), " ".join(map(str, nobody.groups)), "0002", *(
        f"{name}:\t{number}\t{number}\t{number}\t{number}" for name, number in (("Uid", uid), ("Gid", gid))
    ), "SigBlk:\t0000000000000000", "CapPrm:\t0000000000000000", "nobody"]  # fmt: skip
    assert printed(out).splitlines() == expected


def test_service_and_job_write_to_the_same_trees(local, build, out, nobody):
    (out / "theirs").write_text("of the service\n")
    os.chown(out / "theirs", 0, nobody.gid)
    (out / "theirs").chmod(0o664)

    end = local.run(
        build.task(
            'cd "$AZ_BATCHAI_JOB_MOUNT_ROOT/out"; echo and job >> theirs; mkdir -p new; echo x > new/x'
        )
    )

    assert end.fault is None, (out / "stderr.txt").read_text()
    assert (out / "theirs").read_text() == "of the service\nand job\n"
    assert stat.filemode((out / "new").stat().st_mode) == "drwxrwsr-x"
    assert stat.filemode((out / "new" / "x").stat().st_mode) == "-rw-rw-r--"
    assert (out / "new" / "x").stat().st_gid == nobody.gid


def test_directories_of_the_task_can_be_written(local, build, out):
    lines = 'for place in "$HOME" "$TMPDIR" "$AZ_BATCHAI_JOB_TEMP" "$AZ_BATCHAI_JOB_TEMP_DIR" .'
    more = '"$AZ_BATCHAI_SHARED_JOB_TEMP" "$AZ_BATCHAI_JOB_MOUNT_ROOT" "$AZ_BATCHAI_MOUNT_ROOT"'

    end = local.run(
        build.task(f'{lines} {more}; do touch "$place/x" || exit 1; done; touch "$HOME/../python/bin/x"')
    )

    assert end.fault is None


def test_output_may_lie_in_the_bare_mount_root(local, build, root):
    places = {name: f"$AZ_BATCHAI_MOUNT_ROOT/{name}.txt" for name in ("stdout", "stderr")}

    end = local.run(build.task(build.step("echo there", **places)))

    assert end.fault is None
    assert (root / "nodes" / "node-1" / "mounts" / "stdout.txt").read_text() == "there\n"


def test_what_is_the_agents_stays_out_of_reach(local, build, out, root):
    """Also the secrets of the task itself, while it runs."""
    own = 'task="$(dirname "$HOME")"; cat "$task/task.json"; ls "$task"; rm "$task/events.jsonl"; '
    own += 'touch "$task/exit.json"'
    links = (
        'rm "$AZ_BATCHAI_JOB_MOUNT_ROOT/out" || mv "$AZ_BATCHAI_JOB_MOUNT_ROOT" x; ls "$(dirname "$task")/.."'
    )

    local.run(build.task(f"{own}; {links}; kill -9 $PPID; echo done", secrets={"S": "hush"}))

    assert printed(out) == "done\n"
    assert "hush" not in (out / "stderr.txt").read_text()
    assert (out / "stderr.txt").read_text().count("denied") + (out / "stderr.txt").read_text().count(
        "permitted"
    ) >= 6
    assert local.events()[-1].fault is None


def test_an_output_that_became_a_link_leads_the_agent_nowhere(local, build, out, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hush\n")
    secret.chmod(0o600)
    replace = f'cd "$AZ_BATCHAI_JOB_MOUNT_ROOT/out"; rm -f stdout.txt; ln -s {secret} stdout.txt'

    end = local.run(build.task(build.step(replace, StepKind.JOB_PREPARATION), "echo mine; exit 1"))

    assert end.fault.code == Fault.TASK_SETUP
    assert secret.read_text() == "hush\n"
    assert "hush" not in str(end)


def test_last_words_are_read_with_the_users_rights(local, build, out, tmp_path, root):
    """Of a task whose agent was killed: the service reads them in its place."""
    secret = tmp_path / "secret"
    secret.write_text("hush\n")
    secret.chmod(0o600)
    replace = f'cd "$AZ_BATCHAI_JOB_MOUNT_ROOT/out"; echo a word >&2; ln -sf {secret} stdout.txt; '
    replace += "touch ready; sleep 1000"
    local.engine.start(build.task(replace))
    local.wait((out / "ready").exists)

    os.kill(int((root / "tasks" / "task-1" / "started").read_text().split()[0]), signal.SIGKILL)

    end = local.end()
    assert end.fault.details == (("stderr.txt", "a word"),)


def test_a_setup_tasks_last_words_are_read_with_the_users_rights(local, build, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hush\n")
    secret.chmod(0o600)
    places = {name: f"$HOME/{name}" for name in ("stdout", "stderr")}
    step = build.step(f'ln -sf {secret} "$HOME/stdout"; echo a word >&2; exit 1', StepKind.SETUP, **places)

    end = local.run(build.task(step, kind=TaskKind.NODE_PREPARATION))

    assert end.fault.details == (("ExitCode", "1"), ("stderr", "a word"))


def test_a_command_that_cannot_be_run_says_so(local, build):
    end = local.run(build.task("x" * 3_000_000))

    assert end.fault.code == Fault.TASK_SETUP
    assert "Argument list too long" in end.fault.message


def test_termination_ends_the_users_processes(local, build, out):
    stubborn = 'trap "" TERM; while :; do sleep 1; done'
    line = f"cd \"$AZ_BATCHAI_JOB_MOUNT_ROOT/out\"; setsid bash -c '{stubborn}' & echo $! > pid; wait"
    local.engine.start(build.task(line))
    local.wait(lambda: (out / "pid").exists() and (out / "pid").read_text().endswith("\n"))

    local.engine.signal("task-1", Signal.TERMINATE)

    assert local.end().fault.code == Fault.JOB_TERMINATED
    assert not psutil.pid_exists(int((out / "pid").read_text()))


def test_tasks_of_several_nodes_share_their_runs_directory(local, build, out):
    local.engine.provision([NodeRequest("node-2", 1, 0)])
    file = {"$AZ_BATCHAI_SHARED_JOB_TEMP/hosts": "a\n"}

    for number in (1, 2):
        line = f'cat "$AZ_BATCHAI_SHARED_JOB_TEMP"/*; echo {number} > "$AZ_BATCHAI_SHARED_JOB_TEMP/n{number}"'
        task = build.task(line, id=f"task-{number}", node_id=f"node-{number}", files=file, fresh_output=True)
        assert local.run(task).fault is None

    assert printed(out) == "a\na\n1\n"


def test_a_task_goes_on_where_the_one_before_left_off(local, build, out):
    """Whatever that one did to its places; what is the agent's own is made anew."""
    one = 'echo kept > ~/x; rmdir "$AZ_BATCHAI_JOB_TEMP"; ln -s /etc "$AZ_BATCHAI_JOB_TEMP"'
    local.run(build.task(build.step(one, StepKind.JOB_PREPARATION), id="task-1"))

    end = local.run(build.task("cat ~/x; touch passwd", id="task-2", continues="task-1"))

    assert end.fault.code == Fault.JOB_FAILED
    assert printed(out) == "kept\n"
    assert os.stat("/etc").st_uid == 0  # noqa: PTH116


class TestChoice:
    def test_a_closed_home_is_named(self, tmp_path):
        (tmp_path / "closed").mkdir(mode=0o700)
        home = tmp_path / "closed" / "home"

        found = user.choose("", home, PYTHON)

        assert found.user is None
        assert found.reason == f"the user nobody cannot get at {tmp_path / 'closed'}"
        with pytest.raises(user.NoSuchUserError, match="cannot get at"):
            user.choose("nobody", home, PYTHON)

    def test_a_closed_interpreter_is_named(self, tmp_path):
        packages = tmp_path / "site-packages"
        packages.mkdir(mode=0o700)

        assert str(packages) in user.choose("", tmp_path, [*PYTHON, packages]).reason

    def test_root_may_be_chosen(self, tmp_path):
        assert user.choose("root", tmp_path, PYTHON).user is None

    def test_nobody_of_that_name(self, tmp_path):
        with pytest.raises(user.NoSuchUserError, match="no user no-such-user"):
            user.choose("no-such-user", tmp_path, PYTHON)

    def test_without_root_there_is_no_choice(self, tmp_path):
        python = Path("/usr/bin/python3")
        if not python.exists():
            pytest.skip("needs an interpreter that anybody can run")
        source = Path(user.__file__).parents[2]
        probe = f"import sys; sys.path.insert(0, {str(source)!r}); from openbatchai.engines import user\n"
        probe += "from pathlib import Path; print(user.choose('', Path('/'), []))\n"
        probe += "try: user.choose('root', Path('/'), [])\nexcept user.NoSuchUserError as error: print(error)"
        answer = subprocess.run(
            [python, "-c", probe], user=65534, group=65534, capture_output=True, text=True, check=True
        )
        assert answer.stdout.splitlines() == [
            "Choice(user=None, reason='the service does not run as root')",
            "only root can run tasks as root",
        ]


def test_trees_of_the_time_before_are_shared_once(tmp_path, nobody):
    storage = tmp_path / "storage"
    (storage / "acct" / "file" / "share").mkdir(parents=True)
    (storage / "acct" / ".meta").mkdir(mode=0o700)
    (storage / "acct" / ".meta" / "side.db").touch(mode=0o600)
    (storage / "acct" / "file" / "share" / "old").touch(mode=0o644)
    secret = tmp_path / "secret"
    secret.touch(mode=0o644)
    (storage / "acct" / "file" / "share" / "link").symlink_to(secret)

    user.share(storage, nobody)
    (storage / "acct" / "file" / "share" / "new").touch()

    def seen(path):
        found = path.stat()
        return stat.filemode(found.st_mode), found.st_gid

    assert seen(storage / "acct" / "file" / "share") == ("drwxrwsr-x", nobody.gid)
    assert seen(storage / "acct" / "file" / "share" / "old") == ("-rw-rw-r--", nobody.gid)
    assert seen(storage / "acct" / "file" / "share" / "new")[1] == nobody.gid
    assert seen(storage / "acct" / ".meta")[0] == "drwx--S---"
    assert seen(storage / "acct" / ".meta" / "side.db")[0] == "-rw-------"
    assert seen(secret) == ("-rw-r--r--", 0)


def test_what_leads_to_the_shares_is_the_services(tmp_path, nobody):
    """Who may write there may put a link in the place of a share, or of the side store."""
    storage = tmp_path / "storage"
    share = storage / "acct" / "file" / "share"
    share.mkdir(parents=True)
    for folder in (storage, storage / "acct"):
        folder.chmod(0o700)
    uploads = storage / "acct" / ".staging" / "uploads"
    uploads.mkdir(parents=True)
    uploads.parent.chmod(0o700)
    # As a version before left it.
    (storage / "acct" / "file").chmod(0o2775)

    user.share(storage, nobody)

    tries = f"touch {share}/x && echo share; touch {storage}/acct/file/x; touch {storage}/acct/x; "
    tries += f"mv {storage}/acct/.staging {storage}/acct/s; touch {uploads}/x; ls {storage}"
    done = subprocess.run(
        ["sh", "-c", tries],
        user=nobody.uid,
        group=nobody.gid,
        extra_groups=nobody.groups,
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr.count("denied")) == ("share\n", 5)
    # What is made there and renamed into a share is the group's.
    (uploads / "new").touch()
    assert (uploads / "new").stat().st_gid == nobody.gid

    (storage / "acct" / "file").chmod(0o2775)
    user.share(storage, nobody)
    assert stat.filemode((storage / "acct" / "file").stat().st_mode) == "drwxr-sr-x"


def test_what_mounts_as_root_runs_nothing_of_the_jobs(local, build, out, root, tmp_path):
    """The programs on a job's PATH and its ~/.bashrc are its user's."""
    mount = build.mount(kind=MountKind.UNMANAGED, relative_path="own", command="mount -t tmpfs none")
    trap = f"id -u >> {tmp_path}/met"
    (tmp_path / "met").touch(mode=0o666)
    (tmp_path / "met").chmod(0o666)
    lines = [f"echo '{trap}' > ~/.bashrc"]
    for name in ("mount", "umount"):
        place = f'"$HOME/../python/bin/{name}"'
        lines.append(f"printf '#!/bin/sh\\n{trap}\\n' > {place}; chmod 755 {place}")

    first = build.task("; ".join(lines), id="task-1", mounts=(build.mount(), mount))
    assert local.run(first).fault is None
    then = build.task("true", id="task-2", continues="task-1", mounts=(build.mount(), mount))
    assert local.run(then).fault is None

    assert set((tmp_path / "met").read_text().split()) == {str(user.choose("nobody", tmp_path, []).user.uid)}


def test_a_link_of_a_job_shows_no_container_what_it_names(local, build, tmp_path, monkeypatch):
    """In containers jobs are root."""
    podman = tmp_path / "podman"
    podman.write_text('#!/bin/sh\necho "$@" >> "$0.calls"\n')
    podman.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    local.run(build.task('ln -s /var/spool "$AZ_BATCHAI_MOUNT_ROOT/mine"'))

    end = local.run(build.task("true", id="task-2", container=Container("private/thing:1")))

    assert end.fault is None
    assert "private/thing" in (tmp_path / "podman.calls").read_text()
    assert "/var/spool" not in (tmp_path / "podman.calls").read_text()


def test_tasks_of_others_cannot_be_found(local, build, out):
    local.run(build.task('ls "$HOME/../.." || ls "$HOME/../../../nodes" || echo closed'))

    assert printed(out) == "closed\n"
