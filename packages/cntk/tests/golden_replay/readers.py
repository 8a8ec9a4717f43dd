"""Files in the CNTK text format and the minibatches they become."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cntk as C
import numpy as np

from .compare import Different, close, same, same_error
from .corpus import Case, Corpus


def _sequences(data: Any) -> list[np.ndarray]:
    """The sequences of a stream, those of a sparse one made dense."""
    return [s.toarray() if hasattr(s, "toarray") else s for s in data.as_sequences()]


def replay(corpus: Corpus, case: Case, folder: Path) -> None:
    if (corpus.folder / case["ctf"]).exists():
        shutil.copy(corpus.folder / case["ctf"], folder)
    recorded = case.get("raises")
    try:
        _read(corpus, case)
    except (RuntimeError, ValueError, OSError, TypeError) as error:
        if recorded is None or isinstance(error, NotImplementedError):
            raise
        same_error(error, recorded)
        return
    if recorded is not None:
        raise Different(f"accepted, instead of {recorded}")


def _read(corpus: Corpus, case: Case) -> None:
    streams = C.io.StreamDefs(**{name: corpus.evaluate(e, {}) for name, e in case["streams"].items()})
    options = {name: corpus.evaluate(e, {}) for name, e in case["minibatch_source_kwargs"].items()}
    source = C.io.MinibatchSource(C.io.CTFDeserializer(Path(case["ctf"]).name, streams), **options)
    state: dict[str, int] = {}
    if case.get("raises"):
        source.next_minibatch(0 if "zero_size" in case["id"] else 2)
    for i, call in enumerate(case["calls"]):
        size = call["size"]
        if isinstance(size, dict) and "save" in size:
            state = source.get_checkpoint_state()
            same("state", state, call["state"])
            continue
        if isinstance(size, dict) and "restore" in size:
            source.restore_from_checkpoint(state)
            continue
        partition = size if isinstance(size, dict) else {"size": size}
        minibatch = source.next_minibatch(
            partition["size"],
            num_data_partitions=partition.get("num_data_partitions"),
            partition_index=partition.get("partition_index"),
        )
        if call.get("empty"):
            same(f"call {i}", minibatch, {})
        else:
            for info, data in minibatch.items():
                entry = call["streams"][info.m_name]
                for key in ("num_samples", "num_sequences", "end_of_sweep", "is_sparse"):
                    same(f"call {i}, {info.m_name}, {key}", getattr(data, key), entry[key])
                same("shape", data.shape, tuple(entry["shape"]))
                same("number of sequences", len(data), entry["len"])
                same("lengths", [len(s) for s in _sequences(data)], entry["lengths"])
                if "randomized" not in case["id"]:
                    expected = corpus.array(case, entry["npz"])
                    close("values", np.concatenate(_sequences(data)).reshape(expected.shape), expected)
        if "state_after" in call:
            same("state", source.get_checkpoint_state(), call["state_after"])
