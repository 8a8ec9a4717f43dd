"""Nothing is lost, whoever dies: a campaign of kills over mixed jobs, and that its verdict can be "wrong"."""

import random
import tempfile
from pathlib import Path

import pytest
from harness.chaos.campaign import campaign
from harness.chaos.verdict import judge
from harness.chaos.workload import Asked

START, LINE, END = "S k run 0 n1 77", "P k run 0 n1 0", "E k run 0 n1 0 1"
GOOD = [START, LINE, END]
OUTPUT = [["k run 0 n1 0"]]
SUCCEEDED = ("succeeded", 0, "", "then")


def asked(outcome=SUCCEEDED, **changes):
    return Asked("k", "job", "dedicated", first=outcome, last=outcome, **changes)


def test_a_job_that_came_to_its_end_once_is_right():
    assert judge([asked()], GOOD, OUTPUT) == []


@pytest.mark.parametrize(
    ("job", "oracle", "output", "wrong"),
    [
        (asked(), [START, *GOOD], OUTPUT, "started twice"),
        (asked(), [START, LINE], OUTPUT, "earned one of []"),
        (asked(), [*GOOD, *(line.replace(" 0 n1", " 1 n1") for line in GOOD)], OUTPUT, "ran again"),
        (asked(ends_seen=2), GOOD, OUTPUT, "ran again after its end"),
        (asked(), [*GOOD, LINE], OUTPUT, "after its end"),
        (asked(), GOOD, [[]], "wrote []"),
        (asked(), GOOD, [[*OUTPUT[0], *OUTPUT[0]]], "wrote [0, 0]"),
        (asked(), GOOD, [["k run 0 n1"]], "a broken line"),
        (asked(), GOOD, [[*OUTPUT[0], "other run 0 n2 0"]], "one directory has output of"),
        (asked(("failed", None, "NodeAgentLost", "then")), GOOD, OUTPUT, "is ('failed'"),
        (asked(("failed", 137, "JobFailed", "then")), [START, LINE], OUTPUT, "is ('failed'"),
        (asked(agents_killed=1), [START, LINE], OUTPUT, "is ('succeeded'"),
        (asked(prepared=0), GOOD, OUTPUT, "its toolkit ran after preparations []"),
        (asked(nodes=2), GOOD, OUTPUT, "earned one of []"),
        (Asked("k", "job", "dedicated"), GOOD, OUTPUT, "never ended"),
        (Asked("k", "job", "dedicated", first=SUCCEEDED, last=SUCCEEDED[:3]), GOOD, OUTPUT, "then as"),
        (asked(), [START, "S l run 0 n1 78", *GOOD[1:]], OUTPUT, "still there when"),
        (asked(), [*GOOD, "S l run 0 n2 78"], OUTPUT, "nobody asked for it"),
        (asked(), [*GOOD[:2], "E k run 0 n1 0 2"], OUTPUT, "it told 1 lines"),
    ],
)
def test_what_is_wrong_is_said(job, oracle, output, wrong):
    assert wrong in "\n".join(judge([job], oracle, output))


def test_whose_agent_was_killed_is_lost_or_came_to_its_end():
    lost = ("failed", None, "NodeAgentLost", "then")
    assert judge([asked(lost, agents_killed=1)], [START, LINE], OUTPUT) == []
    assert judge([asked(agents_killed=1)], GOOD, OUTPUT) == []


def run(jobs, kills):
    seed = random.randrange(2**32)
    with tempfile.TemporaryDirectory(prefix="openbatchai-chaos-") as directory:
        # For jobs of another user, too.
        Path(directory).chmod(0o755)
        report, wrong = campaign(Path(directory, "home"), jobs, kills, seed)
    print(report)
    assert wrong == [], f"with seed {seed}"


@pytest.mark.timeout(600)
def test_a_hundred_kills_over_two_hundred_jobs():
    run(200, 100)


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_two_thousand_kills_over_five_thousand_jobs():
    run(5000, 2000)
