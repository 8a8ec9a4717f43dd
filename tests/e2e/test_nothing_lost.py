"""Nothing is lost: the service, the job and the machine between them may die at any moment.

Each test has a service of its own, and kills it, or what it started.
"""

import contextlib
import os
import random
import signal
import threading

import psutil
import pytest
import requests
from harness.arm import FINISHED, Arm, Lab
from harness.waiting import until

KILLS = 6

# Appends its start to one file, then writes numbered lines until `gate` is there, then ten more.
SCRIPT = """
echo $$ >> $AZ_BATCHAI_MOUNT_ROOT/afs/starts
i=0
until [ -e $AZ_BATCHAI_MOUNT_ROOT/afs/gate ]; do echo line $i; i=$((i+1)); sleep .02; done
for j in 1 2 3 4 5 6 7 8 9 10; do echo line $i; i=$((i+1)); done
echo the end
"""


@pytest.fixture
def running(new_service):
    """A lab on a service of its own, and a job in the middle of its work."""
    lab = Lab(Arm(new_service().up()))
    share = lab.arm.service.share(lab.share)
    (share / "script.sh").write_text(SCRIPT)
    job = lab.submit("sh $AZ_BATCHAI_MOUNT_ROOT/afs/script.sh")
    lab.reaches(job, "running")
    until(lambda: len(lines_of(share, job)) > 3, "some lines of output")
    return lab, job, share


def lines_of(share, job):
    """The job's output as it lies on the disk, which needs no service to be read."""
    name = job.rpartition("/")[2]
    found = list(share.rglob(f"jobs/{name}/*/stdouterr/stdout.txt"))
    return found[0].read_text().splitlines() if found else []


def job_pid(share):
    return int((share / "starts").read_text())


def complete(lines):
    """Whether the job wrote each of its lines once, to the end."""
    return lines == [f"line {i}" for i in range(len(lines) - 1)] + ["the end"] and len(lines) > 11


class Tail(threading.Thread):
    """A client that polls a job and reads its log from where it was, through whatever happens.

    Its token and its download link are those of the beginning. A refused connection is all it may meet.
    """

    def __init__(self, lab, job):
        super().__init__(daemon=True)
        self.lab, self.job = lab, job
        self.text = b""
        self.states = []
        self.refused = 0
        [self.url] = [f["downloadUrl"] for f in lab.files(job) if f["name"] == "stdout.txt"]
        self.headers = {"Authorization": f"Bearer {lab.arm.token()}"}
        self.arm_url = f"{lab.arm.service.endpoint['arm']}{job}?api-version=2018-05-01"
        self.unexpected = []

    def run(self):
        state = ""
        while state not in FINISHED and not self.unexpected:
            try:
                state = self.step()
            except requests.ConnectionError:
                self.refused += 1
            threading.Event().wait(0.02)

    def step(self):
        with requests.Session() as http:
            http.trust_env = False
            http.verify = self.lab.arm.service.endpoint["ca_bundle"]
            part = http.get(self.url, headers={"Range": f"bytes={len(self.text)}-"}, timeout=30)
            if part.status_code == 206:
                self.text += part.content
            elif part.status_code != 416:
                self.unexpected.append((part.status_code, part.text))
            answer = http.get(self.arm_url, headers=self.headers, timeout=30)
            if answer.status_code != 200:
                self.unexpected.append((answer.status_code, answer.text))
            self.states.append(answer.json()["properties"]["executionState"])
            return self.states[-1]


def test_kill_of_the_service_in_the_middle_of_a_job(running):
    lab, job, share = running
    service = lab.arm.service
    tail = Tail(lab, job)
    tail.start()
    until(lambda: len(tail.states) > 3, "a client at work")
    endpoint = service.endpoint
    service.kill()
    until(lambda: tail.refused, "a client that met the dead service")
    before = len(lines_of(share, job))
    until(lambda: len(lines_of(share, job)) > before, "a job that goes on without the service")
    service.up()
    assert {**service.endpoint, "pid": 0} == {**endpoint, "pid": 0}
    assert lab.state(job) == "running"
    seen = len(tail.states)
    until(lambda: len(tail.states) > seen + 3, "the same client at work again")
    (share / "gate").touch()
    properties = lab.finished(job)
    tail.join(60)
    assert tail.unexpected == []
    assert tail.states[-1] == "succeeded"
    assert properties["executionState"] == "succeeded"
    assert properties["executionInfo"]["exitCode"] == 0
    assert complete(lines_of(share, job))
    assert tail.text.decode().splitlines() == lines_of(share, job)
    assert len((share / "starts").read_text().splitlines()) == 1


def test_a_job_that_ended_while_no_service_was_there(running):
    lab, job, share = running
    pid = job_pid(share)
    lab.arm.service.kill()
    (share / "gate").touch()
    until(lambda: not psutil.pid_exists(pid), "the end of the job")
    lab.arm.service.up()
    properties = lab.finished(job)
    assert properties["executionState"] == "succeeded"
    assert complete(lines_of(share, job))
    assert len((share / "starts").read_text().splitlines()) == 1
    assert lab.succeeds("echo next") == "next\n"


def test_many_kills_of_the_service(running):
    lab, job, share = running
    for _ in range(3):
        lab.arm.service.kill()
        lab.arm.service.up()
    # Its output goes elsewhere: only the first job's is looked at.
    waiting = lab.submit("true", stdOutErrPathPrefix="$AZ_BATCHAI_JOB_TEMP")
    lab.arm.service.kill()
    lab.arm.service.up()
    (share / "gate").touch()
    assert lab.finished(job)["executionState"] == "succeeded"
    assert lab.finished(waiting)["executionState"] == "succeeded"
    assert complete(lines_of(share, job))
    assert len((share / "starts").read_text().splitlines()) == 1


def test_kills_at_random_moments_run_every_job_once(new_service):
    """Also those that fall between the decision to start a task and its start, or into a submission."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    lab = Lab(Arm(new_service().up()), nodes=4)
    service, share = lab.arm.service, lab.arm.service.share(lab.share)
    jobs = {}
    for _ in range(KILLS):
        killer = threading.Timer(chance.uniform(0, 0.4), service.kill)
        killer.start()
        for _ in range(5):
            name = f"job{len(jobs)}"
            body = {"properties": lab.job_properties(f"echo {name} >> $AZ_BATCHAI_MOUNT_ROOT/afs/starts")}
            jobs[f"{lab.experiment}/jobs/{name}"] = body
            attempt(lab, f"{lab.experiment}/jobs/{name}", body)
        killer.join()
        service.up()
        lab.arm.http.close()
    # A submission whose answer was lost is asked again, as a client does.
    for path, body in jobs.items():
        lab.arm.put(path, body)
    ends = {path: lab.finished(path)["executionState"] for path in jobs}
    assert set(ends.values()) == {"succeeded"}, f"with seed {seed}: {ends}"
    started = sorted((share / "starts").read_text().split())
    assert started == sorted(path.rpartition("/")[2] for path in jobs), f"with seed {seed}"


def attempt(lab, path, body):
    """A submission that may meet a dying service; then it may have been taken or not."""
    with contextlib.suppress(requests.ConnectionError):
        lab.arm.put(path, body)


def test_sigterm_of_the_service_stops_nothing_that_runs(running):
    lab, job, share = running
    pid = job_pid(share)
    lab.arm.service.send(signal.SIGTERM)
    before = len(lines_of(share, job))
    until(lambda: len(lines_of(share, job)) > before, "a job that goes on without the service")
    assert psutil.pid_exists(pid)
    lab.arm.service.up()
    assert lab.state(job) == "running"
    (share / "gate").touch()
    assert lab.finished(job)["executionState"] == "succeeded"
    assert complete(lines_of(share, job))


def test_kill_of_the_jobs_process(running):
    lab, job, share = running
    os.kill(job_pid(share), signal.SIGKILL)
    properties = lab.finished(job)
    assert properties["executionState"] == "failed"
    assert properties["executionInfo"]["exitCode"] == 137
    assert properties["executionInfo"]["errors"][0]["code"] == "JobFailed"
    assert lab.succeeds("echo next") == "next\n"


def test_kill_of_the_agent(running):
    """What the agent started is ended, and the job fails saying so; it is never run again."""
    lab, job, share = running
    pid = job_pid(share)
    [agent] = [p for p in psutil.Process(pid).parents() if "openbatchai" in " ".join(p.cmdline())][:1]
    agent.kill()
    properties = lab.finished(job)
    assert properties["executionState"] == "failed"
    assert properties["executionInfo"]["errors"][0]["code"] == "NodeAgentLost"
    until(lambda: not psutil.pid_exists(pid), "the end of the job's processes")
    assert len((share / "starts").read_text().splitlines()) == 1
    assert lab.succeeds("echo next") == "next\n"


def test_an_agent_that_does_not_answer(running):
    """Stopped, as by a debugger: the end of its job is found when it goes on, whatever came between."""
    lab, job, share = running
    process = psutil.Process(job_pid(share))
    [agent] = [p for p in process.parents() if "openbatchai" in " ".join(p.cmdline())][:1]
    agent.suspend()
    (share / "gate").touch()
    until(lambda: process.status() == psutil.STATUS_ZOMBIE, "the end of the job's process")
    lab.arm.service.kill()
    lab.arm.service.up()
    assert lab.state(job) == "running"
    agent.resume()
    assert lab.finished(job)["executionState"] == "succeeded"
    assert complete(lines_of(share, job))
    assert len((share / "starts").read_text().splitlines()) == 1


def test_terminate_asked_of_the_service_before_it_died(running):
    lab, job, share = running
    pid = job_pid(share)
    assert lab.arm.ask("POST", f"{job}/terminate").status_code == 202
    lab.arm.service.kill()
    lab.arm.service.up()
    properties = lab.finished(job)
    assert properties["executionInfo"]["errors"][0]["code"] == "JobTerminated"
    until(lambda: not psutil.pid_exists(pid), "the end of the job's processes")
