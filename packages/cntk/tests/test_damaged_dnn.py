"""Model files that are damaged, foreign or made to harm: a clear error, in bounded time and memory."""

from __future__ import annotations

import copy
import os
import pickle
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cntk as C
import numpy as np
import pytest
from cntk.internal import proto, uids
from cntk.internal.opcodes import Op
from hypothesis import given, settings
from hypothesis import strategies as st

PARSE_FAILED = r"^Failed to parse Dictionary from the input stream\.$"


def _small_model() -> bytes:
    """One of every operation that has attributes."""
    x = C.input_variable((1, 4, 4))
    net = C.layers.Convolution2D((2, 2), 2, pad=True)(x)
    net = C.layers.MaxPooling((2, 2), (2, 2))(C.layers.BatchNormalization(map_rank=1)(net))
    net = C.layers.Dropout(0.5)(C.layers.Dense(4, activation=C.relu)(net))
    parts = [net, C.reduce_sum(C.reshape(net, (2, 2)), axis=0), C.times_transpose(net, C.constant([1.0] * 4))]
    with tempfile.TemporaryDirectory() as folder:
        C.combine(parts).save(f"{folder}/model.dnn")
        return Path(folder, "model.dnn").read_bytes()


MODEL = _small_model()


def read(data: bytes) -> bool:
    """Load and, when that goes, evaluate; nothing but CNTK's two kinds of errors may come."""
    try:
        function = C.load_model(data)
        function.eval({v: np.zeros((2, *v.shape)) for v in function.arguments if max((0, *v.shape)) < 99})
    except (RuntimeError, ValueError) as error:
        assert str(error)  # noqa: PT017 - there must be a text, whatever it is
        return False
    return True


def test_the_model_itself_is_fine() -> None:
    assert read(MODEL)


@settings(deadline=None)
@given(st.integers(0, len(MODEL) - 1))
def test_a_truncated_file(size: int) -> None:
    with pytest.raises(RuntimeError):
        C.load_model(MODEL[:size])


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(MODEL) - 1), st.integers(1, 255)), min_size=1, max_size=6))
def test_flipped_bits(changes: list[tuple[int, int]]) -> None:
    data = bytearray(MODEL)
    for where, bits in changes:
        data[where] ^= bits
    read(bytes(data))


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes(data: bytes) -> None:
    assert not read(data)


def test_foreign_files(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "executed"),)

    for content in (pickle.dumps(Harmful()), b"PK\x03\x04" + bytes(60), b"BCN\x00" * 9, b"|x 1 2\n"):
        with pytest.raises(RuntimeError, match=PARSE_FAILED):
            C.load_model(content)
    assert not (tmp_path / "executed").exists()


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    for key, item in (
        value.items() if isinstance(value, dict) else enumerate(value) if type(value) is list else ()
    ):
        yield from places(item, (*path, key))


STRUCTURE = proto.load(MODEL)
PLACES = list(places(STRUCTURE))
_UIDS = [entry["uid"] for part in ("inputs", "primitive_functions") for entry in STRUCTURE[part]]
VALUES = st.one_of(
    st.sampled_from(_UIDS),
    st.sampled_from([f"{uid}_Output_0" for uid in _UIDS]),
    st.sampled_from([proto.SizeT(n) for n in (0, 1, 2, 44, 57, 2**31, 2**64 - 1)]),
    st.sampled_from([-1, 0, 7, True, False, "", 0.0, -1.0, float("nan"), proto.Float(0.5), [], {}]),
    st.sampled_from([proto.Shape(dims) for dims in ([], [0], [1], [2, 2], [2**64 - 1] * 2, [2**63, 1, 1])]),
    st.sampled_from([proto.AxisValue(n, "a", True) for n in (0, -1, 9, 2**31 - 1, 2**31 - 2, 2**31 - 5)]),
    st.sampled_from([np.zeros((), np.float32), np.ones((2, 2)), [True], [True, False], ["x"]]),
)


@settings(max_examples=600, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), st.none() | VALUES), min_size=1, max_size=3))
def test_other_values_in_the_structure(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    model = copy.deepcopy(STRUCTURE)
    for path, value in changes:
        holder = model
        try:
            for key in path[:-1]:
                holder = holder[key]
            if value is None:
                del holder[path[-1]]
            else:
                holder[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took that place away
    read(proto.dump(model))


def wrapped(kind: int, field: int, payload: bytes) -> bytes:
    value = proto._int_field(1, 2) + proto._int_field(2, kind) + proto._bytes_field(field, payload)
    return proto._bytes_field(2, proto._bytes_field(1, b"k") + proto._bytes_field(2, value))


def packed_shape(*dims: int) -> bytes:
    return proto._bytes_field(1, b"".join(proto._varint(dim) for dim in dims))


@pytest.mark.parametrize(
    "content",
    [
        wrapped(11, 13, proto._int_field(1, 1) + proto._bytes_field(3, packed_shape(2**40, 2**20))),
        wrapped(11, 13, proto._int_field(1, 1) + proto._bytes_field(3, packed_shape(0, 2**63))),
        wrapped(7, 9, packed_shape(*[2**63] * 100_000)),
        b"\x12" + proto._varint(2**62) + b"x",
        b"\x12" + b"\xff" * 40,
    ],
)
def test_lengths_that_are_not_there(content: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(RuntimeError, match=PARSE_FAILED):
            C.load_model(content)
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("kind", "field"), [(10, 12), (9, 11)])
def test_messages_in_messages(kind: int, field: int) -> None:
    content = b""
    for _ in range(3000):
        inner = content if kind == 10 else proto._bytes_field(1, content)
        content = (
            wrapped(10, 12, content)
            if kind == 10
            else proto._int_field(2, kind) + proto._bytes_field(field, inner)
        )
    content = content if kind == 10 else wrapped(9, 11, proto._bytes_field(1, content))
    with pytest.raises(RuntimeError, match=PARSE_FAILED):
        C.load_model(content)


def variable(uid: str, kind: int, *, shape: tuple[int, ...] = (2,)) -> dict[str, Any]:
    return {
        "version": proto.SizeT(1), "type": "Variable", "uid": uid, "kind": proto.SizeT(kind),
        "data_type": proto.SizeT(1), "dynamic_axis": [proto.AxisValue(2**31 - 1, "defaultBatchAxis", False)],
        "is_sparse": False, "needs_gradient": False, "shape": proto.Shape(shape),
    }  # fmt: skip


def function(op: Op, uid: str, *inputs: str, **more: Any) -> dict[str, Any]:
    return {
        "version": proto.SizeT(24), "type": "PrimitiveFunction", "uid": uid, "op": proto.SizeT(op),
        "inputs": list(inputs), "attributes": {}, **more,
    }  # fmt: skip


def block(uid: str, root: str, arguments: dict[str, str]) -> dict[str, Any]:
    return function(
        Op.Block,
        uid,
        *arguments.values(),
        block_function_op_name="B",
        block_function_composite={"version": proto.SizeT(3), "root": root},
        block_function_composite_arguments_map_keys=list(arguments),
        block_function_composite_arguments_map_values=list(arguments.values()),
    )


def model_of(variables: list[dict[str, Any]], functions: list[dict[str, Any]]) -> bytes:
    return proto.dump(
        {
            "version": proto.SizeT(3), "type": "CompositeFunction", "uid": "CompositeFunction1",
            "root": functions[-1]["uid"], "inputs": variables, "primitive_functions": functions,
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    "functions",
    [
        [function(Op.NoOp, "NoOp1", "NoOp2_Output_0"), function(Op.NoOp, "NoOp2", "NoOp1_Output_0")],
        [function(Op.NoOp, "NoOp2", "NoOp2_Output_0")],
        [function(Op.Plus, "Plus1", "x", "NoOp2_Output_0"), function(Op.NoOp, "NoOp2", "Plus1_Output_0")],
        [function(Op.NoOp, "NoOp1", "p"), block("NoOp2", "NoOp1", {"p": "p"})],
        [function(Op.NoOp, "NoOp1", "p"), block("NoOp2", "NoOp1", {"p": "NoOp1_Output_0"})],
    ],
)
def test_values_that_depend_on_themselves(functions: list[dict[str, Any]]) -> None:
    variables = [variable("x", 0), variable("p", 4), variable("NoOp2_Output_0", 4)]
    with pytest.raises(RuntimeError, match="depends on itself"):
        C.load_model(model_of(variables, functions))


def test_blocks_that_multiply() -> None:
    functions = [function(Op.NoOp, "R0", "x")]
    for level in range(1, 40):
        inner = f"R{level - 1}"
        functions += [block(f"L{level}", inner, {}), block(f"M{level}", inner, {})]
        functions.append(function(Op.Plus, f"R{level}", f"L{level}_Output_0", f"M{level}_Output_0"))
    with pytest.raises(RuntimeError, match="nested too deeply"):
        C.load_model(model_of([variable("x", 0)], functions))


def test_a_uid_does_not_move_the_counter_out_of_reach() -> None:
    before = uids._Uids.next
    uid = "Input" + "9" * 5000
    loaded = C.load_model(model_of([variable(uid, 0)], [function(Op.NoOp, "NoOp1", uid)]))
    assert loaded.arguments[0].uid == uid
    assert uids._Uids.next < before + 9
    C.load_model(model_of([variable("1" * 300_000 + "x", 0)], [function(Op.NoOp, "a", "1" * 300_000 + "x")]))


def test_a_file_of_an_older_cntk() -> None:
    """Without the attributes that came later: dilation, groups, sequential, includePad, ..."""
    model = copy.deepcopy(STRUCTURE)
    for entry in model["primitive_functions"]:
        for key in ("dilation", "groups", "sequential", "outputShape", "includePad", "ceilOutDim"):
            entry["attributes"].pop(key, None)
    x = np.random.default_rng(0).normal(size=(3, 1, 4, 4)).astype(np.float32)
    old, new = (list(C.load_model(proto.dump(m)).eval(x).values()) for m in (model, STRUCTURE))
    for left, right in zip(old, new, strict=True):
        np.testing.assert_array_equal(left, right)
