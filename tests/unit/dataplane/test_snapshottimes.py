"""The names of snapshots."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbatchai.dataplane.snapshottimes import is_snapshot_time, snapshot_time

SECONDS = st.integers(0, 3_000_000_000)
MOMENTS = st.builds(datetime.fromtimestamp, SECONDS, tz=st.just(UTC))


def test_the_form():
    assert (
        snapshot_time(datetime(2026, 11, 20, 10, 0, 5, 123456, tzinfo=UTC)) == "2026-11-20T10:00:05.1234560Z"
    )


@given(MOMENTS, MOMENTS)
def test_a_later_one_has_another_name_whatever_the_clock_says(first, second):
    earlier = snapshot_time(first)
    later = snapshot_time(second, earlier)
    assert is_snapshot_time(earlier)
    assert is_snapshot_time(later)
    assert later > earlier


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "../x",
        "2026-11-20",
        "2026-11-20T10:00:05Z",
        "2026-11-20T10:00:05.1234560Z/..",
        "2026-11-20T10:00:05.1234560Z\n",
    ],
)
def test_what_is_no_name(text):
    assert not is_snapshot_time(text)
