"""MinibatchSource: sweeps, sizes, order, positions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cntk as C
import numpy as np
import pytest


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    path = tmp_path / "ten.txt"
    path.write_text("".join(f"|x {i} {i} |y {int(i % 2 == 0)} {int(i % 2)}\n" for i in range(10)))
    return path


def source(path: Path, **options: Any) -> C.io.MinibatchSource:
    streams = C.io.StreamDefs(x=C.io.StreamDef(field="x", shape=2), y=C.io.StreamDef(field="y", shape=2))
    return C.io.MinibatchSource(C.io.CTFDeserializer(str(path), streams), **options)


def take(reader: C.io.MinibatchSource, size: int, **options: Any) -> tuple[list[int], bool]:
    minibatch = reader.next_minibatch(size, **options)
    if not minibatch:
        return [], False
    x = minibatch[reader.streams.x]
    y = minibatch[reader.streams.y].asarray()[:, 0, 1]
    values = x.asarray()[:, 0, 0].astype(int).tolist()
    assert y.astype(int).tolist() == [v % 2 for v in values]  # the streams stay together
    assert x.num_samples == x.num_sequences == len(x) == len(values)
    return values, x.end_of_sweep


def test_file_order_crosses_sweeps(ten: Path) -> None:
    reader = source(ten, randomize=False)
    assert take(reader, 4) == ([0, 1, 2, 3], False)
    assert take(reader, 4) == ([4, 5, 6, 7], False)
    assert take(reader, 4) == ([8, 9, 0, 1], True)
    assert take(reader, 25) == ([(2 + i) % 10 for i in range(25)], True)
    assert reader.current_position == 37


def test_one_sweep_ends(ten: Path) -> None:
    reader = source(ten, randomize=False, max_sweeps=1)
    assert [take(reader, 4) for _ in range(4)] == [
        ([0, 1, 2, 3], False), ([4, 5, 6, 7], False), ([8, 9], True), ([], False),
    ]  # fmt: skip
    assert reader.next_minibatch(4, input_map={}) == {}


def test_max_samples(ten: Path) -> None:
    reader = source(ten, randomize=False, max_samples=13)
    assert [len(take(reader, 4)[0]) for _ in range(5)] == [4, 4, 4, 1, 0]


def test_randomised_sweeps_are_permutations_and_reproducible(ten: Path) -> None:
    reader = source(ten)
    sweeps = [take(reader, 10)[0] for _ in range(4)]
    assert all(sorted(sweep) == list(range(10)) for sweep in sweeps)
    assert len({tuple(sweep) for sweep in sweeps}) == 4
    again = source(ten)
    # The same whatever the minibatch size is.
    assert [v for _ in range(10) for v in take(again, 4)[0]] == [v for sweep in sweeps for v in sweep]
    assert take(source(ten, randomization_seed=1), 10)[0] != sweeps[0]


def test_restoring_a_position(ten: Path) -> None:
    reader = source(ten)
    take(reader, 7)
    take(reader, 7)
    state = reader.get_checkpoint_state()
    assert state == {"minibatchSourcePosition": 14}
    expected = [take(reader, 7) for _ in range(3)]
    other = source(ten)
    other.restore_from_checkpoint(state)
    assert [take(other, 7) for _ in range(3)] == expected


def test_sequences_are_packed_whole(tmp_path: Path) -> None:
    path = tmp_path / "sequences.txt"
    rows = [(0, 3), (1, 1), (2, 2), (3, 5)]
    path.write_text("".join(f"{i} |x {i} {k} |y 1 0\n" for i, n in rows for k in range(n)))
    reader = source(path, randomize=False, max_sweeps=1)
    got = []
    while minibatch := reader.next_minibatch(4):
        data = minibatch[reader.streams.x]
        got.append([len(s) for s in data.as_sequences()])
    # A sequence longer than the size comes alone.
    assert got == [[3, 1], [2], [5]]


def test_workers_share_each_minibatch(ten: Path) -> None:
    parts = []
    for worker in range(2):
        reader = source(ten, randomize=False)
        parts.append([take(reader, 4, num_data_partitions=2, partition_index=worker)[0] for _ in range(3)])
    assert parts == [[[0, 2], [4, 6], [8, 0]], [[1, 3], [5, 7], [9, 1]]]


def test_a_flat_stream_feeds_an_input_of_another_shape(ten: Path) -> None:
    reader = source(ten, randomize=False)
    x = C.input_variable((1, 2, 1))
    minibatch = reader.next_minibatch(3, input_map={x: reader.streams.x})
    np.testing.assert_array_equal((x * 2).eval(minibatch)[:, 0, :, 0], [[0, 0], [2, 2], [4, 4]])
    assert repr(minibatch[x]) == "MinibatchData(data=Value([3 x 1 x 2], CPU), samples=3, seqs=3)"


def test_mistakes(ten: Path) -> None:
    with pytest.raises(ValueError, match="Requested minibatch size must be > 0"):
        source(ten).next_minibatch(0)
    with pytest.raises(RuntimeError, match="mutually exclusive"):
        source(ten, max_samples=5, max_sweeps=1)
    with pytest.raises(AttributeError, match="record has no attribute 'nosuch'"):
        _ = source(ten).streams.nosuch
    with pytest.raises(RuntimeError, match="truncation and frame mode are mutually exclusive"):
        source(ten, truncation_length=2, frame_mode=True)
    with pytest.raises(ValueError, match="partition 2 of 2 does not exist"):
        source(ten).next_minibatch(4, num_data_partitions=2, partition_index=2)


def first_values(reader: Any, size: int, **options: Any) -> list[int]:
    data = reader.next_minibatch(size, **options)[reader.streams.x]
    return [int(v) for v in data.asarray()[:, 0, 0]]


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_deliver_every_sample_once_a_sweep(ten: Path, workers: int) -> None:
    seen: list[int] = []
    for rank in range(workers):
        reader = source(ten, max_sweeps=2)
        while minibatch := reader.next_minibatch(4, num_data_partitions=workers, partition_index=rank):
            data = minibatch[reader.streams.x]
            seen.extend(int(v) for v in data.asarray()[:, 0, 0])
    assert sorted(seen) == sorted(2 * list(range(10)))


def test_a_window_bounds_how_far_samples_move(ten: Path) -> None:
    order = first_values(source(ten, randomization_window_in_samples=3), 10)
    assert sorted(order) == list(range(10)) != order
    assert all(abs(place - value) < 3 for place, value in enumerate(order))


def test_frame_mode_takes_sequences_apart(tmp_path: Path) -> None:
    file = tmp_path / "sequences.txt"
    file.write_text("0 |x 1\n0 |x 2\n0 |x 3\n1 |x 4\n")
    streams = C.io.StreamDefs(x=C.io.StreamDef(field="x", shape=1))
    reader = C.io.MinibatchSource(
        C.io.CTFDeserializer(str(file), streams), randomize=False, frame_mode=True, max_sweeps=1
    )
    assert first_values(reader, 2) == [1, 2]
    assert first_values(reader, 4) == [3, 4]


def test_arrays_as_a_source() -> None:
    rows = np.arange(10, dtype=np.float32).reshape(5, 2)
    sequences = [np.full((n, 1), n, np.float32) for n in (1, 3, 2, 1, 1)]
    reader = C.io.MinibatchSourceFromData({"rows": rows, "sequences": sequences}, max_samples=14)
    sizes = []
    while minibatch := reader.next_minibatch(4):
        data = minibatch[reader["sequences"]]
        assert minibatch[reader.streams.rows].num_samples == data.num_sequences
        assert [len(s) for s in data.as_sequences()] == [int(s[0, 0]) for s in data.as_sequences()]
        sizes.append((data.num_samples, data.end_of_sweep))
        if len(sizes) == 1:
            state = reader.get_checkpoint_state()
    # A minibatch ends with the sweep; the last sweep is cut where 14 samples would be passed.
    assert sizes == [(4, False), (4, True), (4, False), (2, False)]
    reader.restore_from_checkpoint(state)
    assert reader.next_minibatch(4)[reader["sequences"]].num_samples == 4
    with pytest.raises(TypeError, match="all data items must have the same first dimension"):
        C.io.MinibatchSourceFromData({"a": rows, "b": rows[:3]})
    with pytest.raises(ValueError, match="Checkpoint misses required fields"):
        reader.restore_from_checkpoint({"cursor": 9, "total_num_samples": 1})


@pytest.mark.parametrize("shape", [0, -1, (2, 0)])
def test_a_stream_needs_a_size(ten: Path, shape: Any) -> None:
    streams = C.io.StreamDefs(x=C.io.StreamDef(field="x", shape=shape))
    with pytest.raises(ValueError, match="the shape must be positive"):
        C.io.MinibatchSource(C.io.CTFDeserializer(str(ten), streams))


class Counting(C.io.UserDeserializer):
    """Chunks of numbers and, beside each, a sequence of as many ones."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def stream_infos(self) -> list[Any]:
        return [
            C.io.StreamInformation("n", 0, "dense", np.float32, (1,)),
            C.io.StreamInformation("ones", 1, "dense", np.float32, (1,)),
        ]

    def num_chunks(self) -> int:
        return 3

    def get_chunk(self, chunk_id: int) -> dict[str, Any]:
        self.asked.append(chunk_id)
        numbers = np.arange(1, 4, dtype=np.float32) + 3 * chunk_id
        return {"n": numbers[:, None], "ones": [np.ones((int(n), 1), np.float32) for n in numbers]}


def test_a_deserializer_of_ones_own() -> None:
    own = Counting()
    reader = C.io.MinibatchSource(own, randomize=False, max_sweeps=1)
    seen = []
    while minibatch := reader.next_minibatch(12):
        numbers, ones = minibatch[reader.streams.n], minibatch[reader.streams.ones]
        assert numbers.num_samples == ones.num_sequences
        assert [len(s) for s in ones.as_sequences()] == [int(s[0, 0]) for s in numbers.as_sequences()]
        assert ones.num_samples <= 12
        seen.extend(int(s[0, 0]) for s in numbers.as_sequences())
    assert seen == list(range(1, 10))
    assert own.asked[:3] == [0, 1, 2]


def test_two_deserializers_together(ten: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("".join(f"|z {i * i}\n" for i in range(10)))
    parts = [
        C.io.CTFDeserializer(str(ten), C.io.StreamDefs(x=C.io.StreamDef(field="x", shape=2))),
        C.io.CTFDeserializer(str(other), C.io.StreamDefs(z=C.io.StreamDef(field="z", shape=1))),
    ]
    reader = C.io.MinibatchSource(parts, max_sweeps=1)
    minibatch = reader.next_minibatch(10)
    x, z = (minibatch[reader.streams[name]].asarray()[:, 0, 0] for name in ("x", "z"))
    np.testing.assert_array_equal(x * x, z)
    other.write_text("|z 1\n")
    with pytest.raises(RuntimeError, match="different numbers of sequences: 10, 1"):
        C.io.MinibatchSource(parts).next_minibatch(1)


def test_written_rows_read_back(tmp_path: Path) -> None:
    from cntk.io import sequence_to_cntk_text_format

    sequences = [np.arange(6, dtype=np.float32).reshape(3, 2) / 4, np.ones((1, 2), np.float32)]
    labels = [np.array([[1.0], [2.0]], np.float32), np.array([[3.0]], np.float32)]
    file = tmp_path / "rows.txt"
    rows = [
        sequence_to_cntk_text_format(i, {"x": x, "y": y})
        for i, (x, y) in enumerate(zip(sequences, labels, strict=True))
    ]
    file.write_text("\n".join(rows) + "\n")
    streams = C.io.StreamDefs(x=C.io.StreamDef(field="x", shape=2), y=C.io.StreamDef(field="y", shape=1))
    reader = C.io.MinibatchSource(C.io.CTFDeserializer(str(file), streams), randomize=False, max_sweeps=1)
    minibatch = reader.next_minibatch(10)
    for name, given in (("x", sequences), ("y", labels)):
        for mine, wanted in zip(minibatch[reader.streams[name]].as_sequences(), given, strict=True):
            np.testing.assert_array_equal(mine, wanted)
    with pytest.raises(ValueError, match="alias_tensor_map is empty"):
        sequence_to_cntk_text_format(0, {})
