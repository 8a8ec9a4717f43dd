"""Event files, read back by a reader of the format and, where it is installed, by TensorBoard itself."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import cntk as C
import numpy as np
import pytest
from cntk.logging.events import masked_crc32c, png


def fields(data: bytes) -> list[tuple[int, Any]]:
    """(number, value) of a protobuf message's fields."""
    found, at = [], 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            value: Any = varint()
        elif key & 7 == 1:
            value, at = struct.unpack("<d", data[at : at + 8])[0], at + 8
        elif key & 7 == 5:
            value, at = struct.unpack("<f", data[at : at + 4])[0], at + 4
        else:
            size = varint()
            value, at = data[at : at + size], at + size
        found.append((key >> 3, value))
    return found


def events(folder: Path) -> list[dict[int, Any]]:
    result = []
    for file in sorted(folder.glob("events.out.tfevents.*")):
        data = file.read_bytes()
        while data:
            (size,) = struct.unpack("<Q", data[:8])
            assert struct.unpack("<I", data[8:12])[0] == masked_crc32c(data[:8])
            body = data[12 : 12 + size]
            assert struct.unpack("<I", data[12 + size : 16 + size])[0] == masked_crc32c(body)
            result.append(dict(fields(body)))
            data = data[16 + size :]
    return result


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for event in events(folder):
        if 5 in event:
            entry = dict(fields(dict(fields(event[5]))[1]))
            if 2 in entry:
                found.setdefault(entry[1].decode(), []).append((event[2], entry[2]))
    return found


def test_the_checksum_of_the_record_format() -> None:
    # CRC-32C of 32 zero bytes is 0x8A9136AA (RFC 3720); masked: rotated by 15 and a constant added.
    crc = 0x8A9136AA
    assert masked_crc32c(bytes(32)) == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def train(folder: Path, rank: int | None = None) -> C.logging.TensorBoardProgressWriter:
    x, y = C.input_variable(2, name="x"), C.input_variable(1)
    z = C.layers.Dense(1, name="top")(x)
    writer = C.logging.TensorBoardProgressWriter(freq=2, log_dir=folder, rank=rank, model=z)
    loss = C.squared_error(z, y)
    trainer = C.Trainer(z, (loss, loss), C.sgd(z.parameters, 0.01), writer)
    data = {x: np.ones((4, 2), np.float32), y: np.zeros((4, 1), np.float32)}
    averages = []
    for _ in range(4):
        trainer.train_minibatch(data)
        averages.append(trainer.previous_minibatch_loss_average)
    trainer.summarize_training_progress()
    trainer.test_minibatch(data)
    trainer.summarize_test_progress()
    writer.expected = averages
    return writer


def test_what_a_training_writes(tmp_path: Path) -> None:
    writer = train(tmp_path / "new" / "log")
    writer.write_value("own", 0.25, 7)
    writer.write_image("picture", {"any": np.full((1, 3, 4, 5), 200, np.float32)}, 2)
    writer.close()
    folder = tmp_path / "new" / "log"
    first, graph, *_ = events(folder)
    assert first[3] == b"brain.Event:2"
    nodes = [dict(fields(value)) for number, value in fields(graph[4]) if number == 1]
    operations = {node[2] for node in nodes}
    assert {b"Times", b"Plus", b"Parameter", b"Input"} <= operations
    names = {node[1] for node in nodes}
    assert len(names) == len(nodes)
    found = scalars(folder)
    a, b, c, d = writer.expected
    assert [step for step, _ in found["minibatch/avg_loss"]] == [2, 4]
    np.testing.assert_allclose([v for _, v in found["minibatch/avg_loss"]], [(a + b) / 2, (c + d) / 2])
    assert found["summary/avg_loss"] == [(1, pytest.approx((a + b + c + d) / 4))]
    assert found["summary/avg_metric"] == found["summary/avg_loss"]
    ((step, tested),) = found["minibatch/test_avg_metric"]
    assert step == 4
    assert tested < d
    assert found["own"] == [(7, 0.25)]
    with pytest.raises(RuntimeError, match=r"^Attempting to use a closed TensorBoardProgressWriter"):
        writer.flush()


def test_only_the_first_rank_writes(tmp_path: Path) -> None:
    train(tmp_path, rank=1).close()
    assert list(tmp_path.iterdir()) == []


def test_two_writers_in_a_second_have_files_of_their_own(tmp_path: Path) -> None:
    train(tmp_path).close()
    train(tmp_path).close()
    assert len(list(tmp_path.iterdir())) == 2


def test_png() -> None:
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    data = png(pixels)
    start = data.index(b"IDAT")
    (size,) = struct.unpack(">I", data[start - 4 : start])
    rows = np.frombuffer(zlib.decompress(data[start + 4 : start + 4 + size]), np.uint8).reshape(2, 10)
    np.testing.assert_array_equal(rows[:, 1:].reshape(2, 3, 3), pixels)


def test_epoch_callback() -> None:
    calls: list[tuple[Any, ...]] = []
    writer = C.logging.TrainingSummaryProgressCallback(10, lambda *values: calls.append(values))
    writer.update_training(4, 2.0, 1.0)
    writer.update_training(6, 1.0, 1.0)
    writer.write_training_summary()
    writer.write_training_summary()
    assert calls == [(0, 3.0, 2.0, 10), (1, 0.0, 0.0, 0)]


def test_tensorboard_reads_it(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(tmp_path).close()
    reader = accumulator.EventAccumulator(str(tmp_path))
    reader.Reload()
    assert set(reader.Tags()["scalars"]) >= {"minibatch/avg_loss", "summary/avg_metric"}
    assert reader.Tags()["graph"] is True
    assert len(reader.Graph().node) > 3
