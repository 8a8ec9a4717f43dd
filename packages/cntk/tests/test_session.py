"""Checkpoints, sessions and `Function.train`, beyond what the recorded cases show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cntk as C
import numpy as np
import pytest
from cntk.internal import proto
from cntk.train.checkpoint import settle


@pytest.fixture
def ctf(tmp_path: Path) -> Path:
    """Forty rows of three values and a label of two."""
    rng = np.random.default_rng(0)
    file = tmp_path / "forty.ctf"
    rows = rng.normal(size=(40, 3))
    labels = (rows.sum(axis=1) > 0).astype(int)
    file.write_text(
        "".join(
            f"|x {' '.join(f'{v:.4f}' for v in row)} |y {1 - label} {label}\n"
            for row, label in zip(rows, labels, strict=True)
        )
    )
    return file


def source(file: Path, **options: Any) -> C.io.MinibatchSource:
    streams = C.io.StreamDefs(x=C.io.StreamDef(field="x", shape=3), y=C.io.StreamDef(field="y", shape=2))
    return C.io.MinibatchSource(C.io.CTFDeserializer(str(file), streams), **options)


class Parts:
    """A small classifier and its trainer."""

    def __init__(self, learner: Any = None, writers: Any = None):
        self.x, self.y = C.input_variable(3, name="x"), C.input_variable(2, name="y")
        self.z = C.layers.Dense(2, init=0)(self.x)
        self.loss = C.cross_entropy_with_softmax(self.z, self.y)
        self.metric = C.classification_error(self.z, self.y)
        make = learner or (lambda p: C.adam(p, 0.1, 0.9))
        self.trainer = C.Trainer(self.z, (self.loss, self.metric), make(self.z.parameters), writers)

    def session(self, reader: Any, **options: Any) -> Any:
        inputs = {self.x: reader.streams.x, self.y: reader.streams.y}
        return C.training_session(self.trainer, reader, 7, inputs, **options)


def test_an_interrupted_session_ends_where_an_uninterrupted_one_does(ctf: Path, tmp_path: Path) -> None:
    """Randomised data, minibatches that do not divide the sweep: the reader's place must be exact."""
    whole = Parts()
    whole.session(source(ctf, max_sweeps=3)).train()
    config = C.CheckpointConfig(str(tmp_path / "model"), frequency=21)
    stopped = Parts()
    stopped.session(source(ctf, max_sweeps=3), max_samples=63, checkpoint_config=config).train()
    resumed = Parts()
    resumed.session(source(ctf, max_sweeps=3), checkpoint_config=config).train()
    assert resumed.trainer.total_number_of_samples_seen == 120
    np.testing.assert_array_equal(resumed.z.W.value, whole.z.W.value)
    np.testing.assert_array_equal(resumed.z.b.value, whole.z.b.value)


def test_the_newest_of_numbered_checkpoints_is_taken(
    ctf: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = C.CheckpointConfig(str(tmp_path / "m"), frequency=10, preserve_all=True)
    Parts().session(source(ctf, max_sweeps=3), max_samples=35, checkpoint_config=config).train()
    (tmp_path / "m").unlink()
    names = {p.name for p in tmp_path.glob("m?")}
    assert {"m0", "m1", "m2"} <= names
    newest = max(names)
    again = Parts()
    again.session(source(ctf, max_sweeps=3), max_samples=40, checkpoint_config=config).train()
    assert f"from the checkpoint '{tmp_path / newest}'" in capfd.readouterr().err
    assert again.trainer.total_number_of_samples_seen == 40


@pytest.mark.parametrize("killed_before", range(4))
def test_a_checkpoint_is_the_old_one_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_before: int
) -> None:
    """Model and state are two files: killed between any two renames, both belong together."""
    parts = Parts()
    data = {parts.x: np.ones((4, 3), np.float32), parts.y: np.eye(2, dtype=np.float32)[[0, 1, 1, 1]]}
    name = str(tmp_path / "m")
    parts.trainer.train_minibatch(data)
    parts.trainer.save_checkpoint(name)
    old = parts.z.W.value
    parts.trainer.train_minibatch(data)
    new = parts.z.W.value

    class Killed(BaseException):
        pass

    done = 0
    rename = Path.replace

    def counted(self: Path, target: Any) -> Any:
        nonlocal done
        if done == killed_before:
            raise Killed
        done += 1
        return rename(self, target)

    with monkeypatch.context() as patch:  # the operating system's call, as a kill would leave it
        patch.setattr(Path, "replace", counted)
        try:
            parts.trainer.save_checkpoint(name)
        except Killed:
            assert killed_before < 3
    parts.trainer.restore_from_checkpoint(name)
    samples = parts.trainer.total_number_of_samples_seen
    assert samples == (4 if killed_before < 2 else 8)
    np.testing.assert_array_equal(parts.z.W.value, old if samples == 4 else new)
    # And the next one works on what is left.
    parts.trainer.save_checkpoint(name)
    settle(Path(name))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "m.ckp"]


def test_a_checkpoint_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    parts = Parts()
    data = {parts.x: np.ones((4, 3), np.float32), parts.y: np.eye(2, dtype=np.float32)[[0, 1, 1, 1]]}
    parts.trainer.train_minibatch(data)
    name = tmp_path / "m"
    parts.trainer.save_checkpoint(str(name), {"best": 0.5, "many": 2**40, "names": ["a", "b"]})
    parts.trainer.train_minibatch(data)
    before = parts.z.W.value
    state = name.with_name("m.ckp")
    good = state.read_bytes()
    dictionary = proto.load(good)
    for damage in (
        b"",
        good[: len(good) // 2],
        b"no dictionary",
        proto.dump({**dictionary, "Learners": []}),
        proto.dump({**dictionary, "Learners": [{}]}),
        proto.dump({**dictionary, "Learners": [{**dictionary["Learners"][0], "smoothed_gradients": []}]}),
        proto.dump({**dictionary, "Learners": "text"}),
    ):
        state.write_bytes(damage)
        with pytest.raises(RuntimeError):
            parts.trainer.restore_from_checkpoint(str(name))
        np.testing.assert_array_equal(parts.z.W.value, before)
        assert parts.trainer.total_number_of_samples_seen == 8
    state.write_bytes(good)
    external = parts.trainer.restore_from_checkpoint(str(name))
    assert external == {"best": 0.5, "many": 2**40, "names": ["a", "b"]}
    assert parts.trainer.total_number_of_samples_seen == 4
    with pytest.raises(ValueError, match="cannot convert instance of type <class 'object'>"):
        parts.trainer.save_checkpoint(str(name), {"thing": object()})


def test_a_session_that_would_never_end_is_refused(ctf: Path) -> None:
    with pytest.raises(ValueError, match=r"^Train minibatch source must have a limited number of samples"):
        Parts().session(source(ctf))
    with pytest.raises(ValueError, match=r"^Test minibatch source must have a limited number of samples"):
        Parts().session(source(ctf, max_sweeps=1), test_config=C.TestConfig(source(ctf)))


def test_arrays_in_the_place_of_sources(capsys: pytest.CaptureFixture[str]) -> None:
    parts = Parts(writers=C.logging.ProgressPrinter())
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    y = np.eye(2, dtype=np.float32)[(x.sum(axis=1) > 0).astype(int)]
    criterion = C.combine([parts.loss, parts.metric])
    C.training_session(
        parts.trainer,
        (x, y),
        5,
        None,
        max_samples=40,
        cv_config=C.CrossValidationConfig((x, y), 20, 8, criterion=criterion),
        test_config=C.TestConfig((x, y), 8, criterion=criterion),
    ).train()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Finished")]
    assert [line.split(":")[0] for line in lines] == [
        "Finished Evaluation [1]",
        "Finished Evaluation [2]",
        "Finished Epoch[1]",
        "Finished Evaluation [3]",
    ]
    assert all(line.endswith("* 20;") for line in lines if "Evaluation" in line)


def test_function_train_with_a_reader(ctf: Path) -> None:
    parts = Parts()
    criterion = C.combine([parts.loss, parts.metric])
    reader = source(ctf, max_sweeps=2)
    result = criterion.train(
        reader,
        streams=(reader.streams.x, reader.streams.y),
        minibatch_size=10,
        parameter_learners=[C.sgd(parts.z.parameters, 0.5)],
        epoch_size=40,
        callbacks=[C.TestConfig(source(ctf, max_sweeps=1), 16)],
    )
    assert [r.samples for r in result.epoch_summaries] == [40, 40]
    assert result.epoch_summaries[1].loss < result.epoch_summaries[0].loss
    assert result.test_summary.samples == 40
    assert criterion.test(source(ctf, max_sweeps=1), 16).metric == pytest.approx(result.test_summary.metric)
    with pytest.raises(ValueError, match=r"^Test minibatch source must have a limited number"):
        criterion.test(source(ctf))
