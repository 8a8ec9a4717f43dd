"""Several processes: how they are started, that they compute what one does, and what they save."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cntk as C
import numpy as np
import pytest
from cntk.internal.launcher import Job, environments
from cntk.internal.workers import Place, meeting_point, place_in

SCRIPT = """
import sys
import cntk as C
import numpy as np

folder, learner = sys.argv[1:3]
rng = np.random.default_rng(0)
x = rng.normal(size=(64, 5)).astype(np.float32)
y = np.eye(3, dtype=np.float32)[rng.integers(0, 3, 64)]
a, b = C.input_variable(5), C.input_variable(3)
z = C.layers.Sequential([C.layers.Dense(6, activation=C.tanh), C.layers.Dense(3)])(a)
inner = C.adam(z.parameters, 0.05, 0.9)
make = C.train.distributed
if learner == "plain":
    outer = inner
elif learner == "block":
    outer = make.block_momentum_distributed_learner(inner, block_size=32)
else:
    outer = make.data_parallel_distributed_learner(inner)
loss, metric = C.cross_entropy_with_softmax(z, b), C.classification_error(z, b)
printer = C.logging.ProgressPrinter(tag="T", log_to_file=f"{folder}/log", rank=C.Communicator.rank())
trainer = C.Trainer(z, (loss, metric), outer, printer)
C.training_session(
    trainer, (x, y), 16, None, max_samples=256, progress_frequency=128,
    checkpoint_config=C.CheckpointConfig(f"{folder}/model", frequency=128),
    test_config=C.TestConfig((x, y), 16, criterion=C.combine([loss, metric])),
).train()
np.savez(f"{folder}/end{C.Communicator.rank()}", *[p.value for p in z.parameters])
C.Communicator.finalize()
"""


def start(tmp_path: Path, launcher: list[str], learner: str) -> Path:
    folder = tmp_path / f"{learner}{len(list(tmp_path.iterdir()))}"
    folder.mkdir()
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MASTER_", "RANK", "WORLD"))
    }
    environment |= {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OMP_NUM_THREADS": "1",
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }
    done = subprocess.run(
        [*launcher, str(script), str(folder), learner],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def ends(folder: Path) -> list[list[np.ndarray]]:
    return [[array[name] for name in array.files] for array in map(np.load, sorted(folder.glob("end*.npz")))]


def log(folder: Path, rank: int) -> list[str]:
    lines = (folder / f"logrank{rank}").read_text().splitlines()
    return [line.split(" * ")[0] for line in lines if line.startswith("Finished")]


LAUNCH = [sys.executable, "-m", "cntk", "launch", "-n", "2"]


def test_two_workers_are_equal_to_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, alone = tmp_path / "one", tmp_path / "alone"
    for folder, learner in ((one, "plain"), (alone, "parallel")):
        folder.mkdir()
        C.cntk_py.reset_random_seed(1)  # the seeds a new process begins with
        monkeypatch.setattr(sys, "argv", ["train.py", str(folder), learner])
        exec(compile(SCRIPT, "train.py", "exec"), {})
    two = start(tmp_path, LAUNCH, "parallel")
    (plain,), (single,), (first, second) = ends(one), ends(alone), ends(two)
    for a, b, c, d in zip(plain, single, first, second, strict=True):
        np.testing.assert_array_equal(b, a)  # one worker: bit for bit
        np.testing.assert_allclose(c, a, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(c, d)
    assert log(two, 0) == log(two, 1)
    assert len(log(two, 0)) == 3  # two epochs and the test
    # One process saves for all, and what it saved serves one process as well.
    assert {p.name for p in two.glob("model*")} == {"model", "model.ckp"}
    loaded = C.load_model(str(two / "model"))
    np.testing.assert_array_equal(loaded.parameters[0].value, first[0])


def test_mpirun_starts_workers(tmp_path: Path) -> None:
    mpirun = shutil.which("mpirun")
    if mpirun is None:
        pytest.skip("mpirun is not installed (Debian: openmpi-bin)")
    folder = start(tmp_path, [mpirun, "--oversubscribe", "-n", "2", sys.executable], "block")
    first, second = ends(folder)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)  # the last act is to put the models together
    assert {p.name for p in folder.glob("model*")} == {"model", "model.ckp"}


@pytest.mark.slow
def test_torchrun_starts_workers(tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    first, second = ends(start(tmp_path, launcher, "parallel"))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_failing_worker_ends_the_others(tmp_path: Path) -> None:
    script = tmp_path / "fail.py"
    script.write_text(
        "import os, sys, time\nif os.environ['RANK'] == '1':\n    sys.exit(3)\ntime.sleep(100)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([*LAUNCH, str(script)], env=environment, timeout=60, check=False)
    assert done.returncode == 3


def test_places() -> None:
    assert place_in({}) == Place(0, 1, 0, 1)
    ompi = {
        "OMPI_COMM_WORLD_RANK": "3",
        "OMPI_COMM_WORLD_SIZE": "4",
        "OMPI_COMM_WORLD_LOCAL_RANK": "1",
        "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    }
    assert place_in(ompi) == Place(3, 4, 1, 2)
    assert place_in({"PMI_RANK": "1", "PMI_SIZE": "2"}) == Place(1, 2, 1, 2)
    with pytest.raises(ValueError, match="do not fit together"):
        place_in({"RANK": "2", "WORLD_SIZE": "2"})
    assert meeting_point(Place(0, 2, 0, 2), {}).startswith("file:///")
    assert meeting_point(Place(0, 2, 0, 1), {"MASTER_ADDR": "h", "MASTER_PORT": "1"}) == "tcp://h:1"
    elastic = {"MASTER_ADDR": "h", "TORCHELASTIC_RUN_ID": "none"}
    assert meeting_point(Place(0, 2, 0, 2), elastic) == "env://"
    uri = {"OMPI_MCA_orte_hnp_uri": "123.0;tcp://10.0.0.4:43221", "OMPI_MCA_ess_base_jobid": "5"}
    assert meeting_point(Place(3, 4, 1, 2), uri).startswith("tcp://10.0.0.4:")
    with pytest.raises(RuntimeError, match="set MASTER_ADDR"):
        meeting_point(Place(3, 4, 1, 2), {})


def test_a_launch_that_is_ended_ends_its_processes_and_leaves_no_file(tmp_path: Path) -> None:
    script = tmp_path / "wait.py"
    script.write_text(
        "import os, time, cntk\nfrom cntk.internal import workers\nworkers.connect()\n"
        # In one write: the lines of two workers must not mix.
        "os.write(1, f'{os.getpid()}\\n'.encode())\ntime.sleep(1000)\n"
    )
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(temporary)}
    launch = [sys.executable, "-m", "cntk", "launch", "-n", "2", str(script)]
    with subprocess.Popen(launch, env=environment, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        lines = (line.strip() for line in started.stdout)
        workers = [int(line) for line in itertools.islice(filter(str.isdecimal, lines), 2)]
        assert any(temporary.iterdir())
        started.terminate()
        assert started.wait(60) == 128 + signal.SIGTERM
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert not list(temporary.iterdir())


def test_environments_of_a_launch() -> None:
    parts = environments(Job(2, 3, 1, "10.0.0.1", 1234), {"HOME": "/h", "OMPI_COMM_WORLD_RANK": "7"})
    assert [(e["RANK"], e["WORLD_SIZE"], e["LOCAL_RANK"]) for e in parts] == [
        ("2", "6", "0"),
        ("3", "6", "1"),
    ]
    assert all(e["MASTER_ADDR"] == "10.0.0.1" and e["HOME"] == "/h" for e in parts)
    assert all("OMPI_COMM_WORLD_RANK" not in e for e in parts)


def test_distributed_learners_alone() -> None:
    """Without other processes everything works as if it were not there."""
    parameter = C.parameter((2,))
    learner = C.train.distributed.data_parallel_distributed_learner(
        C.sgd([parameter], 0.1), num_quantization_bits=1
    )
    assert learner.parameters == (parameter,)
    assert learner.communicator().is_main()
    assert [w.global_rank for w in learner.communicator().workers()] == [0]
    assert C.train.distributed.mpi_communicator().current_worker().is_main()
    with pytest.raises(ValueError, match=r"^Sync period is too small"):
        C.block_momentum_distributed_learner(C.sgd([parameter], 0.1), block_size=0)
    x, y = C.input_variable(2), C.input_variable(1)
    z = C.layers.Dense(1)(x)
    mixed = [learner, C.sgd(z.parameters, 0.1)]
    with pytest.raises(ValueError, match="either all learners are distributed"):
        C.Trainer(z, C.squared_error(z * C.reduce_sum(parameter), y), mixed)


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    from cntk.__main__ import main

    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert "CNTK API" in text
    assert "2.7" in text
    assert "CPU" in text
