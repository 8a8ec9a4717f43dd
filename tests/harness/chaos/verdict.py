"""What was wrong, judged from what the jobs themselves wrote. Pure: text in, sentences out."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .workload import Asked

# KEY, PHASE, ATTEMPT, NODE: one process of a job, which is to be started once at most.
Process = tuple[str, str, int, str]
# State, exit code and the code of the first error.
Outcome = tuple[str, int | None, str]

SUCCEEDED: Outcome = ("succeeded", 0, "")


@dataclass
class Told:
    """What one process told the oracle."""

    lines: int = 0
    code: int | None = None


@dataclass
class Story:
    """What the oracle knows, and what it shows to be wrong by itself."""

    processes: dict[Process, Told] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def of(self, key: str) -> dict[Process, Told]:
        return {process: told for process, told in self.processes.items() if process[0] == key}


def read(oracle: Iterable[str]) -> Story:
    """Each process started once, told its lines in order, and had its node for itself while it lived."""
    story = Story()
    on_node: dict[str, tuple[str, int]] = {}
    for line in oracle:
        what, key, phase, attempt, node, *rest = line.split()
        process: Process = (key, phase, int(attempt), node)
        if what == "S":
            if process in story.processes:
                story.wrong.append(f"{line.strip()}: started twice")
            story.processes[process] = Told()
            on_node[node] = (key, int(attempt))
            continue
        told = story.processes.get(process)
        if told is None:
            story.wrong.append(f"{line.strip()}: never started")
            continue
        if on_node[node] != (key, int(attempt)):
            story.wrong.append(f"{line.strip()}: still there when {on_node[node]} had its node")
        if told.code is not None:
            story.wrong.append(f"{line.strip()}: after its end")
        if what == "P":
            if int(rest[0]) != told.lines:
                story.wrong.append(f"{line.strip()}: after line {told.lines}")
            told.lines += 1
        else:
            told.code = int(rest[0])
            if int(rest[1]) != told.lines:
                story.wrong.append(f"{line.strip()}: it told {told.lines} lines")
    return story


def judge_job(asked: Asked, story: Story) -> list[str]:
    """Whether the job is in the state that its processes earned. (state, exit code, error) of a finished one
    is in `asked.first` and `asked.last`."""
    wrong = []
    mine = story.of(asked.key)
    attempts = sorted({attempt for _, _, attempt, _ in mine})
    if asked.cluster != "low" and attempts not in ([], [0]):
        wrong.append(f"{asked.key}: ran again, though nobody preempted it: {attempts}")
    for attempt in attempts:
        runs = _codes(mine, "run", attempt)
        preparations = _codes(mine, "prep", attempt)
        if max(len(runs), len(preparations)) > asked.nodes:
            wrong.append(f"{asked.key}: on more nodes than it asked for in attempt {attempt}")
        if asked.prepared is not None and runs and preparations != [0] * asked.nodes:
            wrong.append(f"{asked.key}: its toolkit ran after preparations {preparations}")
    # Between the last word of a process and its end it may be preempted: only who ended is not run again.
    if asked.ends_seen > 1 and not (asked.agents_killed or asked.processes_killed):
        wrong.append(f"{asked.key}: ran again after its end")
    if asked.deleted:
        return wrong
    if asked.first is None or asked.last is None:
        return [*wrong, f"{asked.key}: never ended"]
    if asked.first != asked.last:
        wrong.append(f"{asked.key}: ended as {asked.first}, then as {asked.last}")
    if asked.last[:3] not in (allowed := _allowed(asked, mine, attempts)):
        wrong.append(f"{asked.key}: is {asked.last[:3]}, earned one of {sorted(allowed)}; {asked}")
    return wrong


def _allowed(asked: Asked, mine: dict[Process, Told], attempts: Sequence[int]) -> set[Outcome]:
    earned = _earned(asked, mine, attempts[-1]) if attempts else None
    found: set[Outcome] = {earned} if earned else set()
    if asked.agents_killed:
        found.add(("failed", None, "NodeAgentLost"))
    if asked.processes_killed:
        found |= {("failed", 137, "JobFailed"), ("failed", 137, "JobPreparationFailed")}
        if asked.mounted:
            found.add(("failed", -1, "UnmanagedMountError"))
    if asked.terminated:
        found.add(("failed", None, "JobTerminated"))
    return found


def _earned(asked: Asked, mine: dict[Process, Told], attempt: int) -> Outcome | None:
    """What an attempt came to by itself; None while its processes did not say that they had ended."""
    preparations = _codes(mine, "prep", attempt)
    if any(preparations):
        return ("failed", next(filter(None, preparations)), "JobPreparationFailed")
    runs = _codes(mine, "run", attempt)
    if any(runs):
        return ("failed", next(filter(None, runs)), "JobFailed")
    return SUCCEEDED if runs == [0] * asked.nodes else None


def _codes(mine: dict[Process, Told], phase: str, attempt: int) -> list[int | None]:
    """The exit codes of the processes of one phase; None of those that did not end by themselves."""
    return [told.code for (_, kind, at, _), told in mine.items() if kind == phase and at == attempt]


def judge_output(story: Story, outputs: Sequence[Sequence[str]]) -> list[str]:
    """`outputs` are the lines of all output files of one directory each: no byte is missing or foreign."""
    wrong = []
    seen: dict[Process, list[int]] = defaultdict(list)
    for lines in outputs:
        keys = {line.split()[0] for line in lines if line.strip()}
        if len(keys) > 1:
            wrong.append(f"one directory has output of {sorted(keys)}")
        for line in lines:
            words = line.split()
            if len(words) != 5:
                wrong.append(f"a broken line of output: {line!r}")
                continue
            seen[words[0], words[1], int(words[2]), words[3]].append(int(words[4]))
    for process, told in story.processes.items():
        numbers = seen.pop(process, [])
        # The one that was told to nobody is that of a process killed between its two writes.
        least = told.lines
        most = told.lines + (told.code is None)
        if numbers != list(range(len(numbers))) or not least <= len(numbers) <= most:
            wrong.append(f"{process}: told {told}, wrote {numbers}")
    wrong += [f"{process}: wrote {numbers}, and never started" for process, numbers in seen.items()]
    return wrong


def judge(asked: Sequence[Asked], oracle: Iterable[str], outputs: Sequence[Sequence[str]]) -> list[str]:
    story = read(oracle)
    wrong = story.wrong + judge_output(story, outputs)
    for job in asked:
        wrong += judge_job(job, story)
    unknown = {process[0] for process in story.processes} - {job.key for job in asked}
    return wrong + [f"{key}: nobody asked for it" for key in sorted(unknown)]
