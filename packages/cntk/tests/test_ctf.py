"""The CNTK text format: grammar, errors, and the fast path beside the row parser."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from cntk.io.ctf import Field, StreamData, _parse_rows, _parse_uniform, parse_file
from hypothesis import given, settings
from hypothesis import strategies as st

X, Y = Field("x", 2, False), Field("y", 3, False)


def parse(tmp_path: Path, text: str, fields: list[Field]) -> list[StreamData]:
    path = tmp_path / "data.txt"
    path.write_bytes(text.encode())
    return parse_file(str(path), fields)


def test_rows_fields_and_numbers(tmp_path: Path) -> None:
    x, y = parse(tmp_path, "|x 1 2 |y 1 0 0\n|y 0 1 0|x -1.5\t+2.25\r\n|x 1e2 4. |# note |y 0 0 1\n", [X, Y])
    np.testing.assert_array_equal(x.samples, [[1, 2], [-1.5, 2.25], [100, 4]])
    np.testing.assert_array_equal(y.samples, np.eye(3))


def test_unknown_fields_are_skipped_and_short_samples_filled(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (x,) = parse(tmp_path, "|x 7 |q some text 5\n|q |x 1 2\n", [X])
    np.testing.assert_array_equal(x.samples, [[7, 0], [1, 2]])
    path = tmp_path / "data.txt"
    assert capfd.readouterr().err == (
        f"WARNING: A dense sample at offset 0 in the input file ({path}) has a sparse suffix "
        "(expected size = 2, actual size = 1).\n"
    )


def test_sparse_samples(tmp_path: Path) -> None:
    (s,) = parse(tmp_path, "|s 1:2 3:-1\n|s\n|s 0:4\n", [Field("s", 4, True)])
    np.testing.assert_array_equal(s.gather(np.arange(3)), [[0, 2, 0, -1], [0, 0, 0, 0], [4, 0, 0, 0]])


def test_sequences_by_id(tmp_path: Path) -> None:
    text = "0 |x 1 1 |y 1 0 0\n0 |x 2 2\n5 |x 3 3 |y 0 1 0\n|x 4 4\n0 |x 5 5 |y 0 0 1\n"
    x, y = parse(tmp_path, text, [X, Y])
    # Rows without an id continue; an id that comes back later starts a new sequence.
    assert x.lengths.tolist() == [2, 2, 1]
    assert y.lengths.tolist() == [1, 1, 1]


BAD_ROWS = ["|x 1 2 3", "|x 1 abc", "|x .5 1", "|x nan 1", "|x inf 1", "|x 1 2 |x 3 4"]
EMPTY_ROWS = ["", "   ", "|# only a comment", "1 2", "| 1 2", "|q 1"]


@pytest.mark.parametrize("row", BAD_ROWS + EMPTY_ROWS)
def test_bad_rows(tmp_path: Path, row: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        parse(tmp_path, f"|x 1 2\n{row}\n|x 3 4\n", [X])
    where = tmp_path / "data.txt"
    assert str(caught.value) == (
        f"Reached the maximum number of allowed errors while reading the input file ({where})."
    )


@pytest.mark.parametrize("sample", ["4:1", "1", "1:x", "-1:2"])
def test_bad_sparse_values(tmp_path: Path, sample: str) -> None:
    with pytest.raises(RuntimeError, match="Reached the maximum number of allowed errors"):
        parse(tmp_path, f"|s {sample}\n", [Field("s", 4, True)])


def test_a_missing_stream(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match=r"^Malformed input file\. Bailing out\.$"):
        parse(tmp_path, "|x 1 2\n|x 3 4 |y 0 0 1\n", [X, Y])
    assert "ERROR: Input ('y') is empty in sequence (id = 0) at offset 0" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Input file is empty"),
        ("\n\n", "Input file is empty"),
        ("hello\n", "Expected a sequence id at the offset 0, none was found."),
    ],
)
def test_bad_starts(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        parse(tmp_path, text, [X])
    assert str(caught.value) == message


def test_a_missing_file() -> None:
    with pytest.raises(RuntimeError, match=r"^Input file 'nowhere\.txt' is not open\.$"):
        parse_file("nowhere.txt", [X])


def test_a_missing_newline_at_the_end(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (x,) = parse(tmp_path, "|x 1 2\n|x 3 4", [X])
    assert x.samples.tolist() == [[1, 2], [3, 4]]
    assert "WARNING" in capfd.readouterr().err


numbers = st.one_of(
    st.integers(0, 999).map(str),
    st.integers(-(10**6), 10**6).map(str),
    st.floats(-1e6, 1e6, allow_nan=False).map(lambda v: f"{v:.4f}"),
    st.sampled_from(["1e3", "+2", "3.", "4E-2", "007"]),
)


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(numbers, numbers, st.integers(0, 2)), min_size=1, max_size=20),
    blanks=st.booleans(),
)
def test_the_fast_path_reads_what_the_row_parser_reads(
    rows: list[tuple[str, str, int]], blanks: bool
) -> None:
    gap = "  \t" if blanks else " "
    text = "".join(
        f"|y {' '.join('1' if i == k else '0' for i in range(3))} |x {a}{gap}{b}\n" for a, b, k in rows
    ).encode()
    fast = _parse_uniform(text, [X, Y])
    slow = _parse_rows(text, "file", [X, Y])
    assert fast is not None
    for left, right in zip(fast, slow, strict=True):
        np.testing.assert_array_equal(left.samples, right.samples)


@settings(deadline=None)
@given(
    rows=st.lists(
        st.text(alphabet="|xy #.-+e0123456789:na\t", min_size=1, max_size=24), min_size=1, max_size=6
    )
)
def test_the_fast_path_accepts_nothing_the_grammar_refuses(rows: list[str]) -> None:
    text = ("|x 1 2 |y 1 0 0\n" + "\n".join(rows) + "\n").encode()
    fast = _parse_uniform(text, [X, Y])
    if fast is not None:
        slow = _parse_rows(text, "file", [X, Y])
        for left, right in zip(fast, slow, strict=True):
            np.testing.assert_array_equal(left.samples, right.samples)


def test_the_fast_path_reads_a_pixel_file_in_several_chunks(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4000, 784))
    text = "".join(f"|labels 0 1 |features {' '.join(map(str, row))}\n" for row in pixels)
    fields = [Field("features", 784, False), Field("labels", 2, False)]
    assert len(text) > 8 << 20
    result = _parse_uniform(text.encode(), fields)
    assert result is not None
    np.testing.assert_array_equal(result[0].samples, pixels)
    np.testing.assert_array_equal(result[1].samples, np.tile([0.0, 1.0], (4000, 1)))


def test_a_subset_of_a_large_file_is_read_in_bounded_memory(tmp_path: Path) -> None:
    """Unbound fields send a file to the row parser, which must not keep a Python number per value."""
    path = tmp_path / "data.txt"
    row = " ".join(str(i % 256) for i in range(784))
    path.write_text(f"|labels 0 1 |features {row}\n" * 2000)
    tracemalloc.start()
    try:
        (features,) = parse_file(str(path), [Field("features", 784, False)])
        assert tracemalloc.get_traced_memory()[1] < 8 * path.stat().st_size
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(features.samples, np.tile(np.arange(784) % 256, (2000, 1)))


def test_numbers_of_many_digits(tmp_path: Path) -> None:
    (x,) = parse(tmp_path, f"|q 1 |x {'0' * 5000}7 1e-99\n", [X])
    assert x.samples.tolist() == [[7, 0]]
    (s,) = parse(tmp_path, f"|s {'0' * 5000}3:2\n", [Field("s", 4, True)])
    assert s.gather(np.arange(1)).tolist() == [[0, 0, 0, 2]]
    with pytest.raises(RuntimeError, match="Reached the maximum number of allowed errors"):
        parse(tmp_path, f"|s {'1' * 5000}:2\n", [Field("s", 4, True)])


@pytest.mark.parametrize("end", ["\n\n", "\n\n\n", "\r\n\r\n", " \n\n"])
def test_blank_rows_at_the_end(tmp_path: Path, end: str) -> None:
    (x,) = parse(tmp_path, f"|x 1 2\n|x 3 4{end}", [X])
    assert x.samples.tolist() == [[1, 2], [3, 4]]
