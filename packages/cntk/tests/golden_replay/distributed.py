"""Two workers training together: each rank's trace, printed lines and final parameters."""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import cntk as C
import numpy as np

from .compare import Different, close, same
from .corpus import Case, Corpus
from .printed import compare_text

TOLERANCE = 1e-4
# CNTK sends one bit per gradient element here and makes up for it later; ours sends the gradient.
TOLERANCE_QUANTISED = 0.25
TIMEOUT = 120.0


def replay(corpus: Corpus, case: Case, folder: Path) -> None:
    same("workers", case["workers"], 2)
    answers = _workers().ask({"corpus": str(corpus.folder), "case": case["id"], "folder": str(folder)})
    wrong = [f"rank {rank}: {answer}" for rank, answer in enumerate(answers) if answer != "ok"]
    if wrong:
        raise Different("; ".join(wrong))


class _Workers:
    """Two processes that replay one case after another: starting them takes longer than a case."""

    def __init__(self) -> None:
        tests = str(Path(__file__).parents[1])
        # The address is that of a file: both are children of this process.
        code = "from golden_replay.distributed import serve; serve()"
        self._processes = []
        for rank in range(2):
            environment = {
                name: value for name, value in os.environ.items() if not name.startswith("MASTER_")
            }
            environment |= {
                "RANK": str(rank),
                "WORLD_SIZE": "2",
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join([tests, *sys.path]),
            }
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-c", code],
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
            )

    def alive(self) -> bool:
        return all(process.poll() is None for process in self._processes)

    def ask(self, task: dict[str, Any]) -> list[str]:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
        answers = []
        for process in self._processes:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], TIMEOUT)
            line = process.stdout.readline() if ready else ""
            if not line:
                self.close()
                raise RuntimeError("a worker did not answer")
            answers.append(str(json.loads(line)))
        return answers

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()


_running: list[_Workers] = []


def _workers() -> _Workers:
    if not _running or not _running[0].alive():
        _running[:] = [_Workers()]
        atexit.register(_running[0].close)
    return _running[0]


def serve() -> None:
    """A worker: answers each line of input, a task, by one of output."""
    answers = sys.stdout
    corpora: dict[str, Corpus] = {}
    for line in sys.stdin:
        task = json.loads(line)
        corpus = corpora.setdefault(task["corpus"], Corpus(Path(task["corpus"])))
        os.chdir(task["folder"])
        try:
            _replay_here(corpus, corpus.cases[task["case"]])
            answer = "ok"
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        print(json.dumps(answer), file=answers, flush=True)


def _replay_here(corpus: Corpus, case: Case) -> None:
    rank = C.Communicator.rank()
    mine = case["ranks"][rank]
    scope = corpus.scope(case)
    model = scope[case["model"]]
    loss, metric = (corpus.evaluate(case[key], scope) for key in ("loss", "metric"))
    for parameter, entry in zip(model.parameters, case["parameters"], strict=True):
        parameter.value = corpus.array(case, entry["init"])
    learners = [corpus.evaluate(e, scope) for e in case["learners"]]
    if "ctf" in case:
        _session(corpus, case, scope, model, (loss, metric), learners, mine)
    else:
        _minibatches(corpus, case, scope, model, (loss, metric), learners, mine)
    tolerance = TOLERANCE_QUANTISED if "one_bit" in case["id"] else TOLERANCE
    for parameter, key in zip(model.parameters, mine["final"], strict=True):
        close(f"final {parameter.name}", parameter.value, corpus.array(case, key), tolerance)
    for constant, entry in zip(model.constants, mine["constants"], strict=True):
        close(f"final {constant.name}", constant.value, corpus.array(case, entry["npz"]), tolerance)


def _minibatches(
    corpus: Corpus, case: Case, scope: Any, model: Any, criterion: Any, learners: Any, mine: Any
) -> None:
    trainer = C.Trainer(model, criterion, learners)
    data = {scope[name]: corpus.array(case, key) for name, key in mine["data"].items()}
    rows = len(next(iter(data.values())))
    tolerance = TOLERANCE_QUANTISED if "one_bit" in case["id"] else TOLERANCE
    position = 0
    for i, sizes in enumerate(case["minibatch_sizes_per_rank"]):
        size = sizes[C.Communicator.rank()]
        index = np.arange(position, position + size) % rows
        position += size
        batch = {key: value[index] for key, value in data.items()} if size else {}
        same("returned", trainer.train_minibatch(batch), mine["returned"][i])
        same("samples", trainer.previous_minibatch_sample_count, mine["counts"][i])
        same("samples seen", trainer.total_number_of_samples_seen, mine["total_samples_seen"][i])
        close(f"loss {i}", trainer.previous_minibatch_loss_average, np.array(mine["loss"][i]), tolerance)
        if tolerance == TOLERANCE:
            average = trainer.previous_minibatch_evaluation_average
            close(f"metric {i}", average, np.array(mine["metric"][i]), tolerance)


def _session(
    corpus: Corpus, case: Case, scope: Any, model: Any, criterion: Any, learners: Any, mine: Any
) -> None:
    output = io.StringIO()
    options = case["training_session_kwargs"]
    with contextlib.redirect_stdout(output):
        printer = C.logging.ProgressPrinter(**case["printer_kwargs"])
        trainer = C.Trainer(model, criterion, learners, printer)
        streams = C.io.StreamDefs(
            x=C.io.StreamDef(field="x", shape=scope["x"].shape[0]),
            y=C.io.StreamDef(field="y", shape=scope["y"].shape[0]),
        )
        source = C.io.MinibatchSource(
            C.io.CTFDeserializer(str(corpus.folder / case["ctf"]), streams),
            randomize=False,
            max_sweeps=options["sweeps"],
        )
        C.training_session(
            trainer=trainer,
            mb_source=source,
            mb_size=options["mb_size"],
            model_inputs_to_streams={scope["x"]: source.streams.x, scope["y"]: source.streams.y},
            progress_frequency=options["progress_frequency"],
            checkpoint_config=C.CheckpointConfig(
                "checkpoint" if "single" not in case["id"] else f"checkpoint{C.Communicator.rank()}",
                frequency=options["checkpoint_frequency"],
                restore=False,
            ),
        ).train()
    same("samples seen", trainer.total_number_of_samples_seen, mine["total_samples_seen"])
    compare_text("stdout", output.getvalue(), (corpus.folder / mine["stdout"]).read_text())
