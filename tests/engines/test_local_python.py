"""The Python of a task: isolated from the environment it stands on, and images that map to it."""

import json
import os
import signal
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from openbatchai.domain.errors import Fault
from openbatchai.domain.ports import Container, Signal, StepKind, TaskKind
from openbatchai.engines.interpreters import inspect

MAPPED = Container("mapped/image:1")


@pytest.fixture
def out(shares):
    return shares.path()


def printed(out) -> str:
    return (out / "stdout.txt").read_text()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Without the `$` of the other tests: scripts that pip writes cannot stand one in their path."""
    return tmp_path / "a home's (ümläut)"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A wheel with a module and a script."""
    place = tmp_path / "tinypkg_of_test-1.0-py3-none-any.whl"
    metadata = {
        "METADATA": "Metadata-Version: 2.1\nName: tinypkg-of-test\nVersion: 1.0\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "entry_points.txt": "[console_scripts]\ntiny-of-test = tinypkg_of_test:main\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(place, "w") as wheel:
        wheel.writestr("tinypkg_of_test.py", "WORD = 'tiny'\ndef main():\n    print(WORD, 'script')\n")
        for name, text in metadata.items():
            wheel.writestr(f"tinypkg_of_test-1.0.dist-info/{name}", text)
    return place


def installing(package: Path, how: str) -> str:
    return f"{how} --quiet --no-deps --no-index '{package}'"


@pytest.mark.parametrize("container", [None, MAPPED])
def test_pip_install_lands_in_the_run(local, build, out, package, root, container):
    preparation = build.step(installing(package, "pip install"), StepKind.JOB_PREPARATION)
    command = "python -c 'import tinypkg_of_test as t; print(t.__file__, t.WORD)'; tiny-of-test"

    end = local.run(build.task(preparation, command, container=container))

    assert end.exit_code == 0, (out / "stderr-job_prep.txt").read_text()
    assert printed(out).startswith(str(root / "tasks" / "task-1" / "python"))
    assert "tiny script" in printed(out)
    seen = subprocess.run([sys.executable, "-c", "import tinypkg_of_test"], capture_output=True, check=False)
    assert seen.returncode != 0


def test_pip_install_for_the_user_lands_in_the_run(local, build, out, package, root):
    command = (
        installing(package, "python3 -m pip install --user")
        + "; python -c 'import tinypkg_of_test as t; print(t.__file__)'"
    )

    end = local.run(build.task(command))

    assert end.exit_code == 0, (out / "stderr.txt").read_text()
    assert str(root / "tasks" / "task-1" / "home") in printed(out)


def test_pip_uninstall_cannot_reach_the_mapped_environment(local, build, out):
    local.run(build.task("pip uninstall -y pytest; python -c 'import pytest; print(pytest.__name__)'"))

    assert "pytest" in printed(out).splitlines()[-1]
    assert Path(pytest.__file__).exists()


def test_packages_of_the_setup_task_are_there_for_jobs_of_the_node(local, build, out, package, root):
    step = build.step(installing(package, "pip install"), StepKind.SETUP, stdout="o.txt", stderr="e.txt")
    prepared = local.run(build.task(step, id="setup", kind=TaskKind.NODE_PREPARATION, mounts=()))
    assert prepared.fault is None, prepared.fault

    local.run(build.task("python -c 'import tinypkg_of_test as t; print(t.__file__)'; tiny-of-test"))

    assert printed(out).startswith(str(root / "nodes" / "node-1" / "python"))
    assert "tiny script" in printed(out)


def test_what_the_mapped_environment_has_can_be_imported(local, build, out):
    end = local.run(
        build.task("python -c 'import pytest, sys; print(sys.version_info[:2])'", container=MAPPED)
    )

    assert end.exit_code == 0, (out / "stderr.txt").read_text()
    assert printed(out).strip() == str(sys.version_info[:2])


def test_the_execution_log_says_what_an_image_is_mapped_to(local, build):
    local.run(build.task("true", container=MAPPED))

    log = local.engine.fetch("task-1", "execution.log", 0).decode()
    assert f"Image mapped/image:1 is mapped to the environment of {sys.executable}" in log


def test_interpreters_of_retired_images_are_the_mapped_one(local, build, out, root):
    command = (
        "source /cntk/activate-cntk; "
        "/root/anaconda3/envs/cntk-py35/bin/python -c 'import sys; print(sys.prefix)'; "
        "'/root/anaconda3/envs/cntk-py36/bin/python3' -c 'print(2)'"
    )

    local.run(build.task(command, container=MAPPED))

    assert printed(out).splitlines() == [str(root / "tasks" / "task-1" / "python"), "2"]


def test_an_image_may_map_to_another_interpreter(open_engine, local, build, out, tmp_path):
    other = tmp_path / "other env"
    venv.create(other, symlinks=True)
    script = other / "bin" / "only-there"
    script.write_text(f"#!{other}/bin/python\nimport sys\nprint(sys.prefix)\n")
    script.chmod(0o755)
    module = next((other / "lib").iterdir()) / "site-packages" / "only_there.py"
    module.write_text("WHERE = 'other'\n")
    local.engine = open_engine(images={"x/*": str(other / "bin" / "python")})

    local.run(
        build.task(
            "python -c 'import only_there; print(only_there.WHERE)'; only-there", container=Container("x/y")
        )
    )

    first, second = printed(out).splitlines()
    assert first == "other"
    assert second.endswith("/tasks/task-1/python")


def test_packages_of_the_base_interpreter_are_not_the_environments(open_engine, local, build, out, tmp_path):
    other = tmp_path / "other"
    venv.create(other, symlinks=True)
    (next((other / "lib").iterdir()) / "site-packages" / "pip").mkdir()
    local.engine = open_engine(images={"x/*": str(other / "bin" / "python")})
    ask = "import json, site, sys; print(json.dumps([site.getsitepackages(), sys.path]))"
    base = inspect(Path(sys.executable)).base
    asked = subprocess.run([base, "-c", ask], capture_output=True, check=True, env={})

    local.run(build.task(f"python -c '{ask}'", container=Container("x/y")))

    places, seen = json.loads(printed(out))
    assert not set(json.loads(asked.stdout)[0]) & {*places, *seen}


def test_an_image_mapped_to_nothing_that_runs_fails_to_start(open_engine, local, build):
    local.engine = open_engine(images={"x/*": "/no/such/python"})

    end = local.run(build.task("true", container=Container("x/y")))

    assert (end.exit_code, end.fault.code) == (-1, Fault.CONTAINER_START)
    assert "/no/such/python" in str(end.fault.details)


RUNTIME = """#!/bin/bash
# Stands for podman: the "container" is a process of this machine with an environment of its own.
echo "$@" >> "$0.calls"
case "$1" in
run)
  [ -e "$0.broken" ] && { echo "Cannot connect to the test runtime" >&2; exit 125; }
  exit 0;;
exec)
  shift
  names=()
  while :; do case "$1" in
    --workdir) cd "$2"; shift 2;;
    --env-file) mapfile -t names < "$2"; shift 2;;
    --env) names+=("$2=${!2}"); shift 2;;
    *) shift; break;;
  esac; done
  [ "$3" = "kill -TERM -1" ] && exit 0
  exec env -i PATH=/usr/bin:/bin HOME="$0.home" "${names[@]}" "$@";;
esac
"""


@pytest.fixture
def runtime(tmp_path, monkeypatch):
    programs = tmp_path / "programs"
    (programs / "podman.home").mkdir(parents=True)
    path = programs / "podman"
    path.write_text(RUNTIME)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    return path


def test_another_image_runs_in_a_container(runtime, local, build, out):
    preparation = build.step("echo 'export PREPARED=yes' >> ~/.bashrc", StepKind.JOB_PREPARATION)
    image = Container("private/thing:1", "https://r.example.com", "user", "pass-word", shm_size="2g")
    task = build.task(
        preparation,
        'echo "$PREPARED $OWN $TOKEN $HOME"; exit 4',
        container=image,
        environment={"OWN": "own\nlines"},
        secrets={"TOKEN": "to-ken"},
    )

    end = local.run(task)

    assert (end.exit_code, end.fault.code) == (4, Fault.JOB_FAILED)
    assert printed(out) == f"yes own\nlines to-ken {runtime}.home\n"
    calls = Path(f"{runtime}.calls").read_text().splitlines()
    assert "r.example.com/private/thing:1" in calls[0]
    assert "--network=host" in calls[0]
    assert "--shm-size 2g" in calls[0]
    assert calls[-1].startswith("rm --force")
    assert not any("pass-word" in call or "to-ken" in call for call in calls)


def test_the_preparation_of_several_nodes_is_done_in_the_jobs_own_container(runtime, local, build):
    preparation = build.step("true", StepKind.JOB_PREPARATION)
    local.engine.start(build.task(preparation, "true", container=Container("private/thing:1"), waits=True))
    local.until_step(StepKind.JOB_PREPARATION)

    local.engine.signal("task-1", Signal.GO_ON)

    assert local.end().fault is None
    calls = [line.split()[0] for line in Path(f"{runtime}.calls").read_text().splitlines()]
    # The last `exec` ends what is left in it.
    assert calls == ["run", "exec", "exec", "exec", "rm"]


def test_a_runtime_that_fails_is_quoted(runtime, local, build, root):
    Path(f"{runtime}.broken").touch()
    image = Container("private/thing:1", "", "user", "pass-word")

    end = local.run(build.task("true", container=image))

    assert (end.exit_code, end.fault.code) == (-1, Fault.CONTAINER_START)
    details = dict(end.fault.details)
    assert details["imageName"] == "private/thing:1"
    assert "Cannot connect to the test runtime" in details["Info"]
    assert not list((root / "tasks" / "task-1").glob("private/*"))


def test_without_a_runtime_the_job_says_what_was_looked_for(local, build, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))

    end = local.run(build.task("true", container=Container("private/thing:1")))

    assert end.fault.code == Fault.CONTAINER_START
    assert "podman nor docker" in str(end.fault.details)


def test_a_container_is_removed_when_its_time_is_over(runtime, local, build):
    end = local.run(build.task("sleep 1000", container=Container("private/thing:1"), wall_clock_s=0.5))

    assert end.fault.code == Fault.WALL_CLOCK_EXCEEDED
    assert Path(f"{runtime}.calls").read_text().splitlines()[-1].startswith("rm --force")


def test_a_container_is_removed_in_place_of_a_killed_agent(runtime, local, build, root):
    local.engine.start(build.task("sleep 1000", container=Container("private/thing:1")))
    local.until_step(StepKind.TOOLKIT)
    pid = int((root / "tasks" / "task-1" / "started").read_text().split()[0])

    os.kill(pid, signal.SIGKILL)

    assert local.end().fault.code == Fault.NODE_AGENT_LOST
    assert Path(f"{runtime}.calls").read_text().splitlines()[-1].startswith("rm --force")
    assert not list((root / "tasks" / "task-1").glob("private/*"))
