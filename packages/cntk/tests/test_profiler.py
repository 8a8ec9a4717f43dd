"""The profiler."""

from __future__ import annotations

from pathlib import Path

import cntk as C
import pytest


def test_the_profiler_writes_what_took_the_time(tmp_path: Path) -> None:
    x = C.input_variable(3)
    z = C.layers.Dense(4)(x)
    C.debugging.start_profiler(tmp_path / "profile")
    with pytest.raises(RuntimeError, match="Profiler already initialized"):
        C.debugging.start_profiler()
    z.eval([[1.0, 2.0, 3.0]])
    C.debugging.stop_profiler()
    C.debugging.stop_profiler()  # once is enough
    assert "mm" in (tmp_path / "profile" / "summary_0.txt").read_text()
    assert (tmp_path / "profile" / "trace_0.json").stat().st_size > 0
