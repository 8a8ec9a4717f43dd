"""What tasks use, as the local engine sees it."""

import pytest

from openbatchai.domain.ports import Signal, StepKind
from openbatchai.engines.limits import Limits

# A child that has ended and was collected, and one that holds memory and goes on.
GREEDY = """
bash -c 'for ((i = 0; i < 300000; i++)); do :; done'
exec python -c 'import time; kept = bytearray(64 * 2**20); open("ready", "w"); time.sleep(1000)'
"""


@pytest.fixture
def quick(open_engine, bench_of):
    return bench_of(open_engine(limits=Limits(sample_s=0.02)))


def test_a_running_task_is_looked_at_again_and_again(quick, build):
    quick.engine.start(build.task(GREEDY))

    quick.wait(lambda: any(s.memory_bytes > 64 * 2**20 for s in quick.engine.samples("task-1", 0)))
    quick.engine.signal("task-1", Signal.TERMINATE)
    quick.end()

    found = quick.engine.samples("task-1", 0)
    assert found[-1].cpu_seconds > 0
    assert [s.at for s in found] == sorted(s.at for s in found)
    assert found[-1].gpu_percent is None
    assert quick.engine.samples("task-1", 1) == found[1:]
    assert quick.engine.samples("task-1", -1) == found[-1:]


def test_samples_outlive_the_engine_and_go_with_the_task(quick, build, open_engine):
    quick.engine.start(build.task("sleep 1000"))
    quick.until_step(StepKind.TOOLKIT)
    quick.wait(lambda: bool(quick.engine.samples("task-1", 0)))
    quick.engine.close()
    before = quick.engine.samples("task-1", 0)

    quick.engine = second = open_engine(limits=Limits(sample_s=0.02))

    quick.wait(lambda: len(second.samples("task-1", 0)) > len(before))
    second.signal("task-1", Signal.TERMINATE)
    quick.end()
    second.forget("task-1")
    assert second.samples("task-1", 0) == []
