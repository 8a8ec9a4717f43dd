"""Sparse data: the same numbers as dense data, without the dense matrices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cntk as C
import numpy as np
from cntk.internal.sparse import SparseRows, SparseValue
from scipy.sparse import csr_matrix

WIDTH, CLASSES = 30, 5


def _criterion(sparse: bool) -> Any:
    C.cntk_py.reset_random_seed(5)
    x = C.sequence.input_variable(WIDTH, is_sparse=sparse)
    y = C.sequence.input_variable(CLASSES, is_sparse=sparse)
    embedded = C.layers.Embedding(7)(x)
    # The sum takes x dense, beside the products that take it sparse.
    z = C.layers.Dense(CLASSES)(embedded) + C.layers.Dense(CLASSES)(x) + C.reduce_sum(x * 2)
    return C.combine([C.cross_entropy_with_softmax(z, y), C.classification_error(z, y)])


def test_sparse_data_gives_what_dense_data_gives() -> None:
    rng = np.random.default_rng(1)
    words = [rng.integers(0, WIDTH, n) for n in (4, 1, 6)]
    classes = [rng.integers(0, CLASSES, n) for n in (4, 1, 6)]
    several = [row + np.roll(row, 3, axis=1) * 0.5 for row in (np.eye(WIDTH)[i] for i in words)]
    labels = [np.eye(CLASSES)[i] for i in classes]
    for rows in ([np.eye(WIDTH)[i] for i in words], several):
        found = []
        for sparse in (False, True):
            both = _criterion(sparse)
            x, y = both.arguments
            kind = csr_matrix if sparse else np.asarray
            given = {v: [kind(row.astype(np.float32)) for row in r] for v, r in ((x, rows), (y, labels))}
            loss, error = both.outputs
            slopes, value = C.combine([loss]).grad(given, both.parameters, [loss])
            found.append([*value, *C.combine([error]).eval(given), *(slopes[p] for p in both.parameters)])
        assert len(found[0]) == 6 + 5
        for dense, thin in zip(*found, strict=True):
            np.testing.assert_allclose(thin, dense, rtol=1e-5, atol=1e-6)


def test_rows_without_values() -> None:
    matrix = csr_matrix(np.array([[0, 2, 0, 1], [0, 0, 0, 0], [1, 1, 0, 0]], np.float32))
    x = C.input_variable(4, is_sparse=True)
    weight = np.arange(12, dtype=np.float32).reshape(4, 3)
    product = C.times(x, weight)
    np.testing.assert_array_equal(product.eval({x: matrix}), matrix.toarray() @ weight)
    both = C.combine([product, x * 1]).eval({x: matrix})
    np.testing.assert_array_equal(list(both.values())[1], matrix.toarray())


def test_a_large_vocabulary_is_never_dense(tmp_path: Path, monkeypatch: Any) -> None:
    width = 69_000
    file = tmp_path / "words.txt"
    rows = [
        f"{s}\t|x {(s * 997 + i) % width}:1 |y {i % CLASSES}:1" for s in range(40) for i in range(s % 7 + 1)
    ]
    file.write_text("\n".join(rows) + "\n")
    streams = C.io.StreamDefs(
        x=C.io.StreamDef(field="x", shape=width, is_sparse=True),
        y=C.io.StreamDef(field="y", shape=CLASSES, is_sparse=True),
    )
    source = C.io.MinibatchSource(C.io.CTFDeserializer(str(file), streams), randomize=False)
    x = C.sequence.input_variable(width, is_sparse=True)
    y = C.sequence.input_variable(CLASSES, is_sparse=True)
    model = C.layers.Sequential(
        [C.layers.Embedding(4), C.layers.Recurrence(C.layers.LSTM(4)), C.layers.Dense(CLASSES)]
    )(x)
    criterion = C.cross_entropy_with_softmax(model, y), C.classification_error(model, y)
    trainer = C.Trainer(model, criterion, C.sgd(model.parameters, 0.1))
    wanted: list[tuple[int, ...]] = []
    made = SparseRows.dense
    monkeypatch.setattr(SparseRows, "dense", lambda rows: wanted.append(rows.shape) or made(rows))
    minibatch = source.next_minibatch(100, input_map={x: source.streams.x, y: source.streams.y})
    assert isinstance(minibatch[x].data, SparseValue)
    assert minibatch[x].shape == (26, 7, width)
    assert trainer.train_minibatch(minibatch)
    assert np.isfinite(trainer.previous_minibatch_loss_average)
    assert wanted == []
    # Who asks for the numbers gets them.
    first = minibatch[y].as_sequences()[1].toarray()  # sparse, as in CNTK
    np.testing.assert_array_equal(first, np.eye(CLASSES, dtype=np.float32)[:2])
    assert wanted == [(26, 7, CLASSES)]
