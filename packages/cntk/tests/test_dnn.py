"""Model files, looked at with a protobuf reader of their own."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import cntk as C
import numpy as np
import pytest
from cntk.internal import proto


def fields(data: bytes) -> list[tuple[int, Any]]:
    """(field number, value) of one protobuf message, straight from the wire format's definition."""
    found, at = [], 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value += (byte % 128) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = number()
        if key % 8 == 0:
            found.append((key // 8, number()))
        elif key % 8 == 2:
            size = number()
            assert at + size <= len(data)
            found.append((key // 8, data[at : at + size]))
            at += size
        else:
            size = {1: 8, 5: 4}[key % 8]
            found.append((key // 8, struct.unpack({1: "<d", 5: "<f"}[key % 8], data[at : at + size])[0]))
            at += size
    return found


def value(data: bytes) -> Any:
    """A DictionaryValue, with its type taken from field 2 and its payload from the matching field."""
    message = dict(fields(data))
    assert message[1] == 2  # every value carries version 2
    kind = message[2]
    payload = message[{1: 3, 2: 4, 3: 5, 5: 7, 6: 8, 7: 9, 8: 10, 9: 11, 10: 12, 11: 13}[kind]]
    if kind in (1, 2, 3, 5):
        return payload
    if kind == 6:
        return payload.decode()
    if kind == 7:
        return packed(payload)
    if kind == 8:
        return dict(fields(payload))
    if kind == 9:
        return [value(item) for field, item in fields(payload) if field == 1]
    if kind == 10:
        return dictionary(payload)
    array = dict(fields(payload))
    assert array[1] == 1
    floats = np.frombuffer(dict(fields(array[4]))[1], "<f4")
    return packed(array[3]), floats


def packed(data: bytes) -> list[int]:
    numbers, current, shift = [], 0, 0
    for byte in dict(fields(data)).get(1, b""):
        current += (byte % 128) << shift
        shift += 7
        if byte < 128:
            numbers.append(current)
            current = shift = 0
    return numbers


def dictionary(data: bytes) -> dict[str, Any]:
    parts = fields(data)
    assert parts[0] == (1, 2)
    entries = [dict(fields(part)) for field, part in parts[1:] if field == 2]
    return {entry[1].decode(): value(entry[2]) for entry in entries}


@pytest.fixture(scope="module")
def convnet() -> C.Function:
    x = C.input_variable((1, 28, 28), name="pixels")
    with C.layers.default_options(activation=C.relu, pad=False):
        net = C.layers.Convolution2D((5, 5), 32, pad=True)(C.element_times(C.constant(0.00390625), x))
        net = C.layers.MaxPooling((3, 3), (2, 2))(net)
        net = C.layers.Convolution2D((3, 3), 48)(net)
        net = C.layers.MaxPooling((3, 3), (2, 2))(net)
        net = C.layers.Convolution2D((3, 3), 64)(net)
        net = C.layers.Dropout(0.5)(C.layers.Dense(96)(net))
        return C.layers.Dense(10, activation=None)(net)


@pytest.fixture
def saved(convnet: C.Function, tmp_path: Path) -> Path:
    path = tmp_path / "new" / "folder" / "model.dnn"
    convnet.save(str(path))
    assert [p.name for p in path.parent.iterdir()] == ["model.dnn"]
    return path


def test_the_file_as_bytes(convnet: C.Function, saved: Path) -> None:
    data = saved.read_bytes()
    assert data[:3] == b"\x08\x02\x12"
    assert 409_000 < len(data) < 410_000  # real CNTK: 409,576
    model = dictionary(data)
    assert (model["version"], model["type"]) == (3, "CompositeFunction")
    assert len(model["inputs"]) == 20
    assert len(model["primitive_functions"]) == 26

    functions = {entry["uid"]: entry for entry in model["primitive_functions"]}
    assert all((f["version"], f["type"]) == (24, "PrimitiveFunction") for f in functions.values())
    assert list(functions)[-1] == model["root"]
    root = functions[model["root"]]
    assert (root["op"], root["block_function_op_name"]) == (57, "Dense")
    names = [f["block_function_op_name"] for f in functions.values() if f["op"] == 57]
    assert names == [
        "Convolution",
        "MaxPooling",
        "Convolution",
        "MaxPooling",
        "Convolution",
        "Dense",
        "Dropout",
        "Dense",
    ]

    # Every reference resolves, and to something earlier in the file.
    known = {entry["uid"] for entry in model["inputs"]}
    for uid, function in functions.items():
        assert set(function["inputs"]) <= known
        if function["op"] == 57:
            assert function["block_function_composite"]["root"] in functions
            assert set(function["block_function_composite_arguments_map_keys"]) <= known
            assert set(function["block_function_composite_arguments_map_values"]) <= known
        known.add(f"{uid}_Output_0")

    parameters = [entry for entry in model["inputs"] if entry["kind"] == 2]
    for entry, parameter in zip(parameters, convnet.parameters, strict=True):
        shape, floats = entry["value"]
        assert entry["shape"] == shape == list(reversed(parameter.shape))
        assert entry["name"] == parameter.name
        assert entry["needs_gradient"] == 1
        np.testing.assert_array_equal(floats.reshape(parameter.shape), parameter.value)

    (convolution,) = [
        f for f in functions.values() if f["op"] == 33 and f["attributes"]["kernelShape"] == [5, 5, 1]
    ]
    assert convolution["attributes"]["autoPadding"] == [1, 1, 0]
    assert convolution["attributes"]["strides"] == [1, 1, 1]
    assert convolution["attributes"]["groups"] == 1
    (times,) = [
        f for f in functions.values() if f["op"] == 31 and f["inputs"][0] == convnet.parameters[0].uid
    ]
    assert times["attributes"] == {"outputRank": 1, "inferInputRankToMap": 0}
    (given,) = [entry for entry in model["inputs"] if entry["kind"] == 0]
    assert given["name"] == "pixels"
    assert given["shape"] == [28, 28, 1]
    assert given["dynamic_axis"] == [{1: 2147483647, 2: b"defaultBatchAxis"}]


def test_saved_and_loaded_it_computes_the_same(convnet: C.Function, saved: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 1, 28, 28)).astype(np.float32)
    loaded = C.Function.load(str(saved))
    np.testing.assert_array_equal(loaded.eval(images), convnet.eval(images))
    assert [p.uid for p in loaded.parameters] == [p.uid for p in convnet.parameters]
    assert loaded.arguments[0].name == "pixels"
    # Two models of one file in one graph share uids; the file made of them must not.
    both = C.combine([loaded, C.load_model(saved.read_bytes())])
    both.save(str(saved))
    again = C.load_model(str(saved))
    assert len({p.uid for p in again.parameters}) == 20


def test_a_shared_layer_and_a_loss_survive(tmp_path: Path) -> None:
    x, y = C.input_variable(4), C.input_variable(3)
    layer = C.layers.Dense(3, activation=C.tanh)
    z = layer(x) + layer(x * 2)
    function = C.combine(
        [z, C.cross_entropy_with_softmax(z, y), C.classification_error(z, y), C.squared_error(z, y)]
    )
    assert len(function.parameters) == 2
    function.save(str(tmp_path / "f.dnn"))
    loaded = C.load_model(str(tmp_path / "f.dnn"))
    assert len(loaded.parameters) == 2
    rng = np.random.default_rng(1)
    data = [rng.normal(size=(5, 4)).astype(np.float32), np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1]]]
    mine, theirs = (f.eval(dict(zip(f.arguments, data, strict=True))) for f in (function, loaded))
    for left, right in zip(mine.values(), theirs.values(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_layer_without_its_input_can_be_saved(tmp_path: Path) -> None:
    layer = C.layers.Sequential([C.layers.Dense(3, input_rank=1), C.layers.Dropout(0.5)])
    layer(C.input_variable(4))  # fixes the shape of the shared weights
    layer.save(str(tmp_path / "layer.dnn"))
    loaded = C.load_model(str(tmp_path / "layer.dnn"))
    assert len(loaded.placeholders) == 1
    x = np.ones((2, 4), np.float32)
    applied = [f(C.input_variable(4)).eval(x) for f in (layer, loaded)]
    np.testing.assert_array_equal(applied[0], applied[1])


def test_restore_takes_values_over_and_refuses_another_model(convnet: C.Function, saved: Path) -> None:
    copy = convnet.clone("clone")
    for parameter in copy.parameters:
        parameter.value = np.zeros(parameter.shape)
    copy.restore(str(saved))
    for mine, theirs in zip(copy.parameters, convnet.parameters, strict=True):
        np.testing.assert_array_equal(mine.value, theirs.value)
    with pytest.raises(ValueError, match="is not equivalent"):
        C.layers.Dense(2)(C.input_variable(3)).restore(str(saved))


def test_bad_files(tmp_path: Path, saved: Path) -> None:
    for content in (b"", b"not a model", saved.read_bytes()[:-200]):
        (tmp_path / "bad.dnn").write_bytes(content)
        with pytest.raises(RuntimeError, match=r"Failed to parse Dictionary from the input stream\."):
            C.load_model(str(tmp_path / "bad.dnn"))
    with pytest.raises(
        ValueError, match=r"Cannot load the model nowhere\.dnn that is neither a file nor a byte"
    ):
        C.load_model("nowhere.dnn")
    model = proto.load(saved.read_bytes())
    model["primitive_functions"][0]["op"] = proto.SizeT(49)
    with pytest.raises(NotImplementedError, match="the operation OptimizedRNNStack"):
        C.load_model(proto.dump(model))
    del model["root"]
    with pytest.raises(RuntimeError, match="Required key 'root' is not found in the dictionary"):
        C.load_model(proto.dump(model))


def test_the_codec_keeps_every_kind_of_value() -> None:
    given = {
        "flag": False,
        "int": -3,
        "size": proto.SizeT(2**64 - 1),
        "float": proto.Float(0.5),
        "double": 0.1,
        "text": "größe",
        "shape": proto.Shape([2, proto.INFERRED_DIMENSION]),
        "axis": proto.AxisValue(-2, "staticAxisIdx=-2", True),
        "list": [proto.SizeT(1), [], {"inner": ""}],
        "array": np.arange(6, dtype=np.float32).reshape(1, 2, 3),
        "scalar": np.array(2.5),
    }
    back = proto.load(proto.dump(given))
    assert {k: v for k, v in back.items() if k not in ("array", "scalar")} == {
        k: v for k, v in given.items() if k not in ("array", "scalar")
    }
    assert isinstance(back["size"], proto.SizeT)
    for key in ("array", "scalar"):
        assert back[key].dtype == given[key].dtype
        np.testing.assert_array_equal(back[key], given[key])


def test_what_is_no_plain_file_is_not_replaced(convnet: C.Function, tmp_path: Path) -> None:
    (tmp_path / "real.dnn").write_bytes(b"old")
    (tmp_path / "link.dnn").symlink_to("real.dnn")
    convnet.save(str(tmp_path / "link.dnn"))
    assert (tmp_path / "link.dnn").is_symlink()
    assert len(C.load_model(str(tmp_path / "real.dnn")).parameters) == 10
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        C.layers.Dense(2)(C.input_variable(3)).save(str(tmp_path / "pipe"))
        assert os.read(reader, 3) == b"\x08\x02\x12"
    finally:
        os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "folder").mkdir()
    with pytest.raises(RuntimeError, match=r"^Cannot open file '.*folder' for writing\.$"):
        convnet.save(str(tmp_path / "folder"))
    assert {p.name for p in tmp_path.iterdir()} == {"real.dnn", "link.dnn", "pipe", "folder"}


def test_the_state_of_a_checkpoint(tmp_path: Path) -> None:
    """What the format's description lists for a `.ckp`, read by the reader above."""
    x, y = C.input_variable(3), C.input_variable(2)
    z = C.layers.Dense(2)(x)
    rate = C.learning_parameter_schedule_per_sample([0.1, 0.05], epoch_size=4)
    trainer = C.Trainer(z, C.squared_error(z, y), C.adam(z.parameters, rate, 0.9))
    trainer.train_minibatch({x: np.ones((4, 3), np.float32), y: np.zeros((4, 2), np.float32)})
    trainer.save_checkpoint(str(tmp_path / "c"), {"epoch": 3})
    state = dictionary((tmp_path / "c.ckp").read_bytes())
    assert set(state) == {"Version", "Learners", "ExternalState", "DistributedState"}
    (learner,) = state["Learners"]
    assert learner["sample_count"] == 4
    assert learner["minibatchCount"] == 1
    assert learner["learnig_rate_schedule"]["schedule"] == {"4": 0.1, "8": 0.05}
    # Stored shapes are reversed: for W (3, 2) two matrices [2, 3] side by side.
    assert [list(shape) for shape, _ in learner["smoothed_gradients"]] == [[2, 6], [2, 2]]
    assert learner["smoothed_count"] == 1.0
    assert state["ExternalState"] == {"epoch": 3}
    assert dictionary((tmp_path / "c").read_bytes())["root"].startswith("Combine")
