"""Trainer checkpoints that CNTK wrote, continued; and written again, read and continued."""

from __future__ import annotations

from pathlib import Path

import cntk as C
import numpy as np

from .compare import close, same
from .corpus import Case, Corpus

TOLERANCE = 1e-4


def replay(corpus: Corpus, case: Case, folder: Path) -> None:
    scope = corpus.scope(case)
    model = scope[case["model"]]
    data = {scope[e["name"]]: corpus.data(case, e) for e in case["inputs"]}
    rows = len(next(iter(data.values())))
    size = case["minibatch_size"]

    def trainer() -> C.Trainer:
        loss, metric = (corpus.evaluate(case[key], scope) for key in ("loss", "metric"))
        return C.Trainer(model, (loss, metric), [corpus.evaluate(e, scope) for e in case["learners"]])

    first = trainer()
    state = first.restore_from_checkpoint(str(corpus.folder / case["checkpoint_file"]))
    same("external state", state, case["restored_external_state"])
    ours = str(folder / "ours")
    first.save_checkpoint(ours, state)
    for name in (str(corpus.folder / case["checkpoint_file"]), ours):
        again = trainer()
        same("external state", again.restore_from_checkpoint(name), case["restored_external_state"])
        same("samples", again.total_number_of_samples_seen, case["total_samples_after_restore"])
        for parameter, entry in zip(model.parameters, case["parameters"], strict=True):
            close("restored", parameter.value, corpus.array(case, entry["at_checkpoint"]), 0.0)
        before = case["minibatches_before"]
        for i in range(before, before + case["minibatches_after"]):
            index = np.arange(i * size, (i + 1) * size) % rows
            again.train_minibatch({key: value[index] for key, value in data.items()})
            for what, mine in (
                ("loss", again.previous_minibatch_loss_average),
                ("metric", again.previous_minibatch_evaluation_average),
            ):
                close(f"{what} {i}", mine, corpus.array(case, case[f"{what}_npz"])[i], TOLERANCE)
        same("samples", again.total_number_of_samples_seen, case["total_samples_at_end"])
        for parameter, entry in zip(model.parameters, case["parameters"], strict=True):
            close("final", parameter.value, corpus.array(case, entry["final"]), TOLERANCE)
