"""What engine tests share: storage on a temporary directory, builders of tasks, waiting with a deadline."""

import fcntl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from openbatchai.domain.ports import (
    Engine,
    ItemRef,
    Mount,
    MountKind,
    MountLevel,
    MountRefusedError,
    NodeRequest,
    Process,
    Step,
    StepKind,
    StorageService,
    Task,
    TaskEvent,
    TaskEventKind,
    TaskKind,
)
from openbatchai.engines import machine
from openbatchai.engines.fake import FakeEngine
from openbatchai.engines.local import LocalEngine
from openbatchai.engines.machine import Machine

DEADLINE_S = 30.0
KEY = "c2VjcmV0LWFjY291bnQta2V5"


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class Shares:
    """Storage content of one account: shares and containers as directories. Only mounting is asked of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for service in StorageService:
            (root / "acct" / service / "data").mkdir(parents=True)

    def path(self, service: StorageService = StorageService.FILE) -> Path:
        return self.root / "acct" / service / "data"

    def locate(self, ref: ItemRef, account_key: str) -> str:
        if ref.account != "acct" or account_key != KEY:
            raise MountRefusedError(f"The key of account {ref.account} is not valid for {ref.container}")
        place = self.root / "acct" / ref.service / ref.container
        if not place.is_dir():
            raise MountRefusedError(f"{ref.container} does not exist in account {ref.account}")
        return str(place)


@dataclass
class Bench:
    """An engine with one node, and what tests do with it again and again."""

    engine: Engine
    shares: Shares
    woken: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.engine.on_change(self.woken.set)
        self.engine.provision([NodeRequest("node-1", cores=1, gpus=0)])

    def wait(self, condition: Callable[[], bool], what: str = "the condition") -> None:
        """Wait for a condition: at each wake-up of the engine, and at short intervals for what it cannot
        know of."""
        give_up = time.monotonic() + DEADLINE_S
        while not condition():
            if time.monotonic() > give_up:
                raise AssertionError(f"{what} did not come about within {DEADLINE_S} s")
            self.woken.wait(0.02)
            self.woken.clear()

    def events(self, task_id: str = "task-1") -> list[TaskEvent]:
        return self.engine.observe({task_id: 0})

    def ended(self, task_id: str = "task-1") -> bool:
        return any(event.kind is TaskEventKind.ENDED for event in self.events(task_id))

    def end(self, task_id: str = "task-1") -> TaskEvent:
        """Wait for the end of a task."""
        self.wait(lambda: self.ended(task_id), f"the end of {task_id}")
        return self.events(task_id)[-1]

    def run(self, task: Task) -> TaskEvent:
        self.engine.start(task)
        return self.end(task.id)

    def until_step(self, step: StepKind, task_id: str = "task-1") -> None:
        self.wait(
            lambda: any(
                e.kind is TaskEventKind.STEP_STARTED and e.step is step for e in self.events(task_id)
            ),
            f"the start of {step}",
        )


def a_step(command: str, kind: StepKind = StepKind.TOOLKIT, **process: object) -> Step:
    """Output goes to the file share of `a_task`, named as the service names it."""
    suffix = "-job_prep" if kind is StepKind.JOB_PREPARATION else ""
    places = {name: f"$AZ_BATCHAI_JOB_MOUNT_ROOT/out/{name}{suffix}.txt" for name in ("stdout", "stderr")}
    return Step(kind, (Process(command, **{**places, **process}),))


def a_mount(**changes: object) -> Mount:
    values = {
        "kind": MountKind.FILE_SHARE,
        "level": MountLevel.JOB,
        "relative_path": "out",
        "account": "acct",
        "container": "data",
        "account_key": KEY,
    }
    return Mount(**{**values, **changes})


def a_task(*steps: Step | str, **changes: object) -> Task:
    """A run of one node whose steps are given whole or as a toolkit command."""
    values = {
        "id": "task-1",
        "kind": TaskKind.RUN,
        "node_id": "node-1",
        "steps": tuple(a_step(step) if isinstance(step, str) else step for step in steps),
        "mounts": (a_mount(),),
        "run_id": "run-1",
        "job_path": "ws/exp/job",
    }
    return Task(**{**values, **changes})


def with_two_gpus(nvml: object) -> Machine:
    """This machine, as if it had them."""
    return replace(machine.look(None), gpus=(0, 1))


@pytest.fixture(autouse=True)
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """These tests take turns, also when several processes run tests: their tasks have the same ids, and by
    those an engine finds, and ends, what was left of one."""
    with (tmp_path_factory.getbasetemp().parent / "engines.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def build() -> object:
    """The builders, as one value, since test modules cannot import each other."""

    class Builders:
        step = staticmethod(a_step)
        mount = staticmethod(a_mount)
        task = staticmethod(a_task)

    return Builders


@pytest.fixture
def shares(tmp_path: Path) -> Shares:
    return Shares(tmp_path / "storage")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """With what a home directory may be called."""
    return tmp_path / "a home's $NAME (ümläut)"


@pytest.fixture
def open_engine(root: Path, shares: Shares) -> Iterator[Callable[..., LocalEngine]]:
    """Makes local engines on one root; at the end whatever still runs on it is ended."""
    opened: list[LocalEngine] = []

    def open_one(**changes: object) -> LocalEngine:
        values = {
            "images": {"mapped/image:*": sys.executable},
            "client_environment": {"HTTPS_PROXY": "http://127.0.0.1:9"},
            "clock": SystemClock(),
            "grace_s": 0.5,
        }
        opened.append(LocalEngine(root, shares, **{**values, **changes}))
        return opened[-1]

    yield open_one
    last = open_one()
    last.release(["node-1", "node-2"])
    for engine in opened:
        engine.close()


@pytest.fixture
def local(open_engine: Callable[..., LocalEngine], shares: Shares) -> Bench:
    return Bench(open_engine(), shares)


@pytest.fixture
def bench_of(shares: Shares) -> Callable[[Engine], Bench]:
    return lambda engine: Bench(engine, shares)


@pytest.fixture
def with_gpus(open_engine: Callable[..., LocalEngine], shares: Shares) -> Bench:
    """The local engine on a machine of two GPUs; the node of a bench has none."""
    return Bench(open_engine(look=with_two_gpus), shares)


@pytest.fixture(params=["fake", "local"])
def bench(request: pytest.FixtureRequest, shares: Shares) -> Bench:
    """Every engine there is, for the conformance suite."""
    if request.param == "fake":
        return Bench(FakeEngine(SystemClock(), shares, gpus=2), shares)
    return request.getfixturevalue("with_gpus")
