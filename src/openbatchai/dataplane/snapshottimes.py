"""The times that name snapshots: UTC in .NET ticks of 100 ns, seven digits. Pure."""

import re
from datetime import UTC, datetime, timedelta

_FORM = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z", re.ASCII)
_TICKS = 10_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def is_snapshot_time(text: str) -> bool:
    """Only such a text may become part of a path on disk."""
    return _FORM.fullmatch(text) is not None


def snapshot_time(now: datetime, latest: str = "") -> str:
    """The name of a snapshot taken now; later than `latest`, the newest that the item has ("" for none)."""
    ticks = (now - _EPOCH) // timedelta(microseconds=1) * 10
    return _written(max(ticks, _ticks(latest) + 1 if latest else 0))


def _written(ticks: int) -> str:
    moment = _EPOCH + timedelta(seconds=ticks // _TICKS)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ticks % _TICKS:07d}Z"


def _ticks(text: str) -> int:
    moment = datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(seconds=1) * _TICKS + int(text[20:27])
