"""Conditions, ranges, names and reader marks."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbatchai.dataplane.conditions import Conditions, Version
from openbatchai.dataplane.errors import StorageError
from openbatchai.dataplane.filenames import check_legal, fold, order, without_trailing_dots
from openbatchai.dataplane.names import check_container_name, check_path
from openbatchai.dataplane.ranges import RangeHeader, Span, incomplete_tail, is_log, parse_range
from openbatchai.dataplane.readers import ReaderMarks
from openbatchai.domain.ports import ItemRef, StorageService

WHEN = datetime(2026, 11, 20, 10, tzinfo=UTC)
CURRENT = Version('"0x1"', WHEN)
LATER, EARLIER = WHEN + timedelta(seconds=1), WHEN - timedelta(seconds=1)
REF = ItemRef(StorageService.FILE, "acct", "share", "stdout.txt")


def status_of(call) -> int:
    try:
        call()
    except StorageError as error:
        return error.code.status
    return 0


@pytest.mark.parametrize(
    ("conditions", "read", "write", "create", "absent"),
    [
        (Conditions(), 0, 0, 0, 0),
        (Conditions(if_match='"0x1"'), 0, 0, 0, 412),
        (Conditions(if_match="0x1"), 0, 0, 0, 412),
        (Conditions(if_match='"0x2"'), 412, 412, 412, 412),
        (Conditions(if_match='"0x2", "0x1"'), 0, 0, 0, 412),
        (Conditions(if_match="*"), 0, 0, 0, 412),
        (Conditions(if_none_match='"0x1"'), 304, 412, 412, 0),
        (Conditions(if_none_match="*"), 304, 412, 409, 0),
        (Conditions(if_none_match='"0x2"'), 0, 0, 0, 0),
        (Conditions(if_modified_since=WHEN), 304, 412, 412, 0),
        (Conditions(if_modified_since=EARLIER), 0, 0, 0, 0),
        (Conditions(if_unmodified_since=EARLIER), 412, 412, 412, 0),
        (Conditions(if_unmodified_since=WHEN), 0, 0, 0, 0),
    ],
)
def test_conditions(conditions, read, write, create, absent):
    assert status_of(lambda: conditions.check_read(CURRENT)) == read
    assert status_of(lambda: conditions.check_write(CURRENT)) == write
    assert status_of(lambda: conditions.check_write(CURRENT, creates=True)) == create
    assert status_of(lambda: conditions.check_write(None, creates=True)) == absent


@given(st.integers(0, 50), st.integers(0, 60), st.integers(0, 60))
def test_range_is_a_slice(size, first, length):
    wanted = RangeHeader(first, first + length)
    if first >= size:
        assert status_of(lambda: wanted.within(size)) == 416
    else:
        span, data = wanted.within(size), bytes(range(size))
        assert data[span.start : span.end] == data[first : first + length + 1] != b""


def test_range_forms():
    assert parse_range(None) is None
    assert parse_range("bytes=0-1,5-6") is None
    assert parse_range("bytes=5-") == RangeHeader(5, None)
    assert parse_range("bytes=-5").within(3) == Span(0, 3)
    for malformed in ("bytes=-", "bytes=5-4", "items=1-2", "bytes=a-b", "bytes=٣-"):
        with pytest.raises(StorageError):
            parse_range(malformed)


@given(st.text(), st.integers(0, 4))
def test_what_is_left_before_an_incomplete_tail_decodes(text, cut):
    data = text.encode("utf-8", "surrogatepass") if text.isascii() else text.encode("utf-8", "replace")
    part = data[: max(0, len(data) - cut)]
    kept = part[: len(part) - incomplete_tail(part)]
    assert data.startswith(kept)
    assert kept.decode("utf-8") == data.decode("utf-8")[: len(kept.decode("utf-8"))]
    assert incomplete_tail(data) == 0


@given(st.binary(max_size=8))
def test_at_most_three_bytes_are_held_back(data):
    assert 0 <= incomplete_tail(data) <= min(3, len(data))


def test_log_names():
    assert is_log("a/stdout.txt")
    assert is_log("stderr-0.txt")
    assert is_log("x/execution.log")
    assert not is_log("a/readme.txt")
    assert not is_log("stdout.txt/model.bin")


@pytest.mark.parametrize(
    "name", ["ab", "a" * 64, "Abc", "a--b", "-ab", "ab-", "a_b", "a.b", "..", "$other", ""]
)
def test_bad_container_names(name):
    with pytest.raises(StorageError):
        check_container_name(name)


@pytest.mark.parametrize("name", ["abc", "a-b", "0a1", "a" * 63, "$root"])
def test_good_container_names(name):
    check_container_name(name)


@pytest.mark.parametrize("path", ["a\0b", "\udcff", "a" * 1025, "\U0001f600" * 513, "a/" * 254])
def test_bad_blob_paths(path):
    with pytest.raises(StorageError):
        check_path(StorageService.BLOB, path)


@pytest.mark.parametrize(
    "path", ["/a", "a//b", "a/", ".", "..", "a/../b", "a/.", "é" * 1024, "\U0001f600" * 512]
)
def test_good_blob_paths(path):
    check_path(StorageService.BLOB, path)


@pytest.mark.parametrize("path", ["a:b", "a\\b", 'a"b', "a|b", "a<b", "a*b", "a?b", "a\tb"])
def test_names_that_smb_does_not_know(path):
    with pytest.raises(StorageError) as refused:
        check_legal(path)
    assert refused.value.code.code == "InvalidResourceName"
    check_path(StorageService.FILE, path)
    check_path(StorageService.BLOB, path)


@pytest.mark.parametrize(
    "path", ["a//b", ".", "a/..", "", "a\0b", "\udcff", "a" * 256, "é" * 128, "a/" * 1024 + "a"]
)
def test_bad_file_paths(path):
    with pytest.raises(StorageError):
        check_path(StorageService.FILE, path)


@pytest.mark.parametrize(
    ("path", "expected"),
    [("a.", "a"), ("a../b.", "a/b"), ("a.b", "a.b"), (".a", ".a"), ("", ""), ("a/...", "a/.")],
)
def test_trailing_dots(path, expected):
    assert without_trailing_dots(path) == expected


@pytest.mark.parametrize(
    ("one", "other"), [("a", "A"), ("é", "É"), ("ж/x", "Ж/X"), ("ß", "ß"), ("µ", "Μ"), ("ÿ", "Ÿ"), ("ǆ", "Ǆ")]
)
def test_names_that_are_one(one, other):
    assert fold(one) == fold(other)


@pytest.mark.parametrize(
    ("one", "other"), [("ß", "ss"), ("ß", "SS"), ("ı", "I"), ("ſ", "s"), ("ﬁ", "fi"), ("é", "e"), ("𐐨", "𐐀")]
)
def test_names_that_are_two(one, other):
    assert fold(one) != fold(other)


@settings(deadline=None)
@given(st.text(max_size=20))
def test_folding_is_idempotent_and_keeps_the_length(name):
    assert fold(fold(name)) == fold(name)
    assert len(fold(name)) == len(name)
    assert fold(name) == "".join(map(fold, name))


def test_order_of_a_share():
    assert sorted(["b", "A", "a", "_", "B", "é", "É"], key=order) == ["A", "a", "B", "b", "_", "É", "é"]


class Moment:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_reader_marks_follow_what_was_told():
    moment = Moment()
    marks = ReaderMarks(moment)
    moment.now += 100
    assert not marks.unread_since(REF, 10, 3)
    marks.fetched(REF)
    assert marks.unread_since(REF, 10, 3)
    marks.told(REF, 10)
    assert not marks.unread_since(REF, 10, 3)
    assert marks.unread_since(REF, 11, 3)
    moment.now += 4
    assert not marks.unread_since(REF, 11, 3)


def test_a_new_process_presumes_readers_for_the_window():
    moment = Moment()
    marks = ReaderMarks(moment)
    assert marks.unread_since(REF, 1, 3)
    assert not marks.unread_since(REF, 0, 3)
    moment.now += 3
    assert not marks.unread_since(REF, 1, 3)


def test_marks_are_forgotten_after_a_minute():
    moment = Moment()
    marks = ReaderMarks(moment)
    marks.told(REF, 5)
    moment.now += 61
    marks.fetched(ItemRef(StorageService.FILE, "acct", "share", "other"))
    assert len(marks._marks) == 1
