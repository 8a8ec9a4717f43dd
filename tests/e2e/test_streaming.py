"""The CLI's `job file stream`, against writers whose last line lands at any phase of its loop."""

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from harness.arm import FINISHED, Arm, Lab, unique
from harness.waiting import until

NODES = 10
JOBS = 200
# The CLI pauses a second. The loop's steps stay the same with less; only the whole goes faster.
PAUSE_S = 0.2
# Between its read and its look at the job the 2018 CLI asks for a token, and may take its time. What a
# job writes and how it ends may both fall into this gap; without one there is hardly anything to lose.
GAP_S = 0.3


@pytest.fixture(scope="module")
def many(arm):
    lab = Lab(arm, nodes=NODES)
    properties = lab.arm.get
    until(
        lambda: properties(lab.cluster)["properties"]["nodeStateCounts"]["idleNodeCount"] == NODES,
        "idle nodes",
    )
    return lab


def stream(lab: Lab, job: str, follow: Callable[[], None], name: str = "stdout.txt") -> str:
    """As the CLI does it (clients.md section 7): list until the name appears; then read what is new, look
    at the job, and stop as soon as it is finished, without another read. `follow` is told of each part."""
    arm, pause = Arm(lab.arm.service), threading.Event()
    url = ""
    while not url:
        found = [file["downloadUrl"] for file in lab_files(arm, job) if file["name"] == name]
        if found:
            [url] = found
        elif arm.get(job)["properties"]["executionState"] in FINISHED:
            return "the file never appeared"
        else:
            pause.wait(PAUSE_S)
    text = b""
    with requests.Session() as http:
        http.trust_env = False
        while True:
            answer = http.get(url, headers={"Range": f"bytes={len(text)}-"}, timeout=60)
            if 200 <= answer.status_code < 300:
                text += answer.content
                follow()
            else:
                assert answer.status_code == 416, answer.text
            pause.wait(random.uniform(0, GAP_S))
            if arm.get(job)["properties"]["executionState"] in FINISHED:
                return text.decode()
            pause.wait(PAUSE_S)


def lab_files(arm, job):
    answer = arm.ask("POST", f"{job}/listOutputFiles", query={"outputdirectoryid": "stdouterr"})
    assert answer.status_code == 200, answer.text
    return answer.json()["value"]


def test_no_last_line_is_lost_at_200_random_phases(many):
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    share = many.arm.service.share(many.share)
    jobs = []
    for _ in range(JOBS):
        # The last line comes anywhere in a turn of the loop after the reader's first part of the log: before,
        # between and after any of its steps. No job can end without being read while it runs.
        mark = unique("line")
        followed = f"$AZ_BATCHAI_MOUNT_ROOT/afs/{mark}"
        command = f"echo first; until [ -e {followed} ]; do sleep .02; done; "
        job = many.submit(f"{command} sleep {chance.uniform(0, PAUSE_S + GAP_S):.4f}; echo {mark}")
        jobs.append((job, mark))
    with ThreadPoolExecutor(NODES) as pool:
        # In the order of submission, in which the jobs start.
        read = list(pool.map(lambda pair: stream(many, pair[0], (share / pair[1]).touch), jobs))
    wrong = [(job, text) for (job, mark), text in zip(jobs, read, strict=True) if text != f"first\n{mark}\n"]
    assert wrong == [], f"with seed {seed}"


def test_a_reader_that_stops_reading_holds_a_job_only_for_a_moment(many):
    """Publication waits for the next fetch, and not for ever."""
    gate = many.arm.service.share(many.share) / unique("gate")
    job = many.submit(
        f"echo begun; until [ -e $AZ_BATCHAI_MOUNT_ROOT/afs/{gate.name} ]; do sleep .02; done; echo ended"
    )
    many.reaches(job, "running")
    until(lambda: many.files(job) and many.output(job) == "begun\n", "the first line")
    gate.touch()
    assert many.finished(job)["executionState"] == "succeeded"
    assert many.output(job) == "begun\nended\n"


def test_characters_of_several_bytes_are_not_cut(many):
    """The CLI decodes each part by itself."""
    gate = many.arm.service.share(many.share) / unique("gate")
    text = "Zürich, naïve, 東京, 🙂"
    job = many.submit(
        f"for i in 1 2 3 4 5 6 7 8 9; do printf '{text}'; sleep .01; done; "
        f"until [ -e $AZ_BATCHAI_MOUNT_ROOT/afs/{gate.name} ]; do printf '{text}'; sleep .01; done"
    )
    many.reaches(job, "running")
    until(lambda: many.files(job), "files")
    [url] = [file["downloadUrl"] for file in many.files(job) if file["name"] == "stdout.txt"]
    read, parts = b"", 0
    while parts < 20:
        answer = many.arm.http.get(url, headers={"Range": f"bytes={len(read)}-"}, timeout=30)
        if answer.status_code == 206:
            answer.content.decode()
            read += answer.content
            parts += 1
    gate.touch()
    many.finished(job)
    assert read.decode().startswith(text)
