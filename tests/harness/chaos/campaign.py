"""The campaign itself: clients that submit, terminate, delete and preempt; hands that kill; then the verdict.

    python -m harness.chaos.campaign [--jobs 5000] [--kills 2000] [--seed N] [--minutes N]

prints its counts, and ends with 1 when anything was wrong.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

sys.path.insert(0, str(Path(__file__).parents[2]))

from harness.arm import FINISHED, NEWEST, Arm, Lab, mount
from harness.chaos.verdict import judge
from harness.chaos.victims import UNKNOWN, Victim, Victims
from harness.chaos.workload import SCRIPT, Asked, body, make
from harness.service import Service, clean_environment, ended
from harness.waiting import until

Json = dict[str, Any]

NODES = {"dedicated": 6, "low": 3}
# Jobs that are not over, at most: enough for every node, and a queue.
OPEN = 40
# Of the kills, so many are of the service, of agents and of processes of jobs.
SHARES = {"service": 0.2, "agent": 0.4, "process": 0.4}
_DYING = Path(__file__).with_name("dying.py")
_END_LIMIT_S = 300.0
# How often a long campaign says how far it has come.
_TOLD_EVERY_S = 60.0


class Mortal(Service):
    """A service that is started by dying.py, and started anew whenever it died."""

    def rise(self, die_before: int = 0) -> bool:
        """Start it; False when it died before it answered."""
        reading, writing = os.pipe()
        command = [sys.executable, str(_DYING), str(die_before), "up", "--home", str(self.home)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(writing,),
            env={**clean_environment(), "OPENBATCHAI_READY_FD": str(writing)},
            start_new_session=True,
        )
        os.close(writing)
        threading.Thread(target=process.wait, daemon=True).start()
        with os.fdopen(reading) as pipe:
            told = json.loads(pipe.read() or "{}")
        assert "error" not in told, told
        if told:
            self.read_endpoint()
        return bool(told)


class Client:
    """Asks until it gets an answer, as a client of a service that may be away for a moment does."""

    def __init__(self, arm: Arm, token: str, over: threading.Event) -> None:
        self._arm = arm
        self._over = over
        self._http = requests.Session()
        self._http.trust_env = False
        self._http.verify = arm.http.verify
        self._token = token
        self.refused = 0

    def ask(self, method: str, path: str, content: Json | None = None, **query: str) -> requests.Response:
        while True:
            try:
                answer = self._http.request(
                    method,
                    self._arm.service.endpoint["arm"] + path,
                    params={"api-version": NEWEST, **query},
                    json=content,
                    headers={"Authorization": f"Bearer {self._token}"},
                    timeout=60,
                )
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                self.refused += 1
                if self._over.wait(0.05):
                    raise
                continue
            assert answer.status_code < 500, (method, path, answer.status_code, answer.text)
            return answer


class Campaign:
    """One run of it. `wrong` gets what is seen to be wrong on the way; the rest is judged at the end."""

    def __init__(self, service: Mortal, jobs: int, kills: int, seed: int, limit_s: float) -> None:
        self.service, self.total, self.seed = service, jobs, seed
        self.until = time.monotonic() + limit_s
        self.chance = random.Random(seed)
        self.wanted = {name: round(kills * share) for name, share in SHARES.items()}
        self.left = Counter(self.wanted)
        self.kills: Counter[str] = Counter()
        self.asked: list[Asked] = []
        self.open: list[Asked] = []
        self.wrong: list[str] = []
        self.preempted = 0
        self.polled = 0
        self.victims = Victims(service.home)
        self.over = threading.Event()
        self.submitted = threading.Event()
        self.mutex = threading.Lock()
        self.errors: list[BaseException] = []

    # --- the world

    def prepare(self) -> None:
        assert self.service.rise()
        arm = Arm(self.service)
        self.lab = Lab(arm, nodes=0)
        self.share = self.service.share(self.lab.share)
        (self.share / "script.sh").write_text(SCRIPT)
        self.oracle = self.service.home.with_name("oracle")
        self.oracle.touch()
        self.oracle.chmod(0o666)
        setup = {
            "mountVolumes": mount(self.service, self.lab.share),
            "setupTask": {
                "commandLine": "sleep 0.3; echo set up",
                "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/afs",
            },
        }
        priorities = {"dedicated": "dedicated", "low": "lowpriority"}
        self.clusters = {
            name: self.lab.new_cluster(name, nodes, vmPriority=priorities[name], nodeSetup=setup)
            for name, nodes in NODES.items()
        }
        self.can_mount = os.geteuid() == 0
        self.arm, self.token = arm, arm.token()

    def client(self) -> Client:
        return Client(self.arm, self.token, self.over)

    # --- clients

    def submit(self) -> None:
        """So many jobs, and then more until the last kill; fewer where the time is up before."""
        client, number = self.client(), 0
        while self._goes_on(number):
            with self.mutex:
                is_room = len(self.open) < OPEN
            if not is_room:
                self.over.wait(0.02)
                continue
            asked = make(self.chance, number, 3, self.can_mount)
            number += 1
            self._put(client, asked)
        self.submitted.set()

    def _goes_on(self, number: int) -> bool:
        if self.over.is_set() or time.monotonic() > self.until:
            return False
        return number < self.total or self._kills_left() > 0

    def _put(self, client: Client, asked: Asked) -> None:
        request = body(asked, self.clusters[asked.cluster], str(self.oracle))
        with self.mutex:
            self.asked.append(asked)
        answer = client.ask("PUT", self._path(asked), request)
        assert answer.status_code in (200, 201), answer.text
        with self.mutex:
            self.open.append(asked)

    def _path(self, asked: Asked) -> str:
        return f"{self.lab.experiment}/jobs/{asked.name}"

    def attend(self) -> None:
        """Look at every open job, now and then do to it what is its fate."""
        client, chance = self.client(), random.Random(self.seed + 1)
        while not self._is_done():
            with self.mutex:
                present = list(self.open)
            for asked in present:
                if self._attend(client, chance, asked):
                    with self.mutex:
                        self.open.remove(asked)
            self.over.wait(0.2)

    def _is_done(self) -> bool:
        with self.mutex:
            return self.over.is_set() or (self.submitted.is_set() and not self.open)

    def _attend(self, client: Client, chance: random.Random, asked: Asked) -> bool:
        """Whether there is nothing more to wait for."""
        if asked.fate and chance.random() < 0.3:
            return self._strike(client, asked)
        answer = client.ask("GET", self._path(asked))
        assert answer.status_code == 200, answer.text
        found = answer.json()["properties"]
        asked.segment = found["jobOutputDirectoryPathSegment"]
        if found["executionState"] not in FINISHED:
            return False
        asked.first = outcome(found)
        return asked.fate != "delete"

    def _strike(self, client: Client, asked: Asked) -> bool:
        fate, asked.fate = asked.fate, ""
        if fate == "terminate":
            asked.terminated = True
            answer = client.ask("POST", f"{self._path(asked)}/terminate")
            assert answer.status_code in (200, 202, 204, 409), answer.text
            return False
        asked.deleted = True
        while client.ask("DELETE", self._path(asked)).status_code != 204:
            while client.ask("GET", self._path(asked)).status_code != 404:
                if self.over.wait(0.03):
                    return True
        if asked.again:
            again = Asked(f"{asked.key}again", asked.name, asked.cluster, lines=3)
            self._put(client, again)
        return True

    def preempt(self) -> None:
        client, chance = self.client(), random.Random(self.seed + 2)
        path = f"{self.arm.subscription}/providers/OpenBatchAI/preempt"
        while not self.over.wait(chance.uniform(0.5, 4)) and not self._is_done():
            answer = client.ask("POST", path, cluster="low")
            assert answer.status_code in (200, 409), answer.text
            self.preempted += answer.status_code == 200

    def poll(self) -> None:
        """The five counts of nodes add up in every answer."""
        client = self.client()
        while not self.over.wait(0.1) and not self._is_done():
            for path in self.clusters.values():
                found = client.ask("GET", path).json()["properties"]
                counts = found["nodeStateCounts"]
                if found["currentNodeCount"] != sum(counts.values()):
                    self.wrong.append(f"{found['currentNodeCount']} nodes are {counts}")
                self.polled += 1

    # --- hands that kill

    def _kills_left(self) -> int:
        """Of all kinds: what is slow to kill is made up for by the others."""
        return sum(self.left.values())

    def _is_ahead(self, what: str) -> bool:
        """Kills are spread over the campaign: not a larger part of them is done than of the submissions."""
        done = 1 - self.left[what] / max(1, self.wanted[what])
        return done * self.total > len(self.asked)

    def kill_service(self) -> None:
        """By turns at a random instant, and before a random write."""
        chance = random.Random(self.seed + 3)
        while self._kills_left() > 0 and not self._is_done():
            if self.over.wait(chance.uniform(0, 2)):
                return
            if self._is_ahead("service"):
                continue
            pid = self.service.endpoint["pid"]
            if chance.random() < 0.5:
                os.kill(pid, signal.SIGKILL)
                self._died("service at an instant", pid)
                self._rise()
            else:
                os.kill(pid, signal.SIGKILL)
                self._died("service at an instant", pid)
                if self._rise(chance.randint(1, 1000)) and self._await_death(self.service.endpoint["pid"]):
                    self._died("service before a write", self.service.endpoint["pid"])
                    self._rise()

    def _await_death(self, pid: int) -> bool:
        """False when the work is over before its last write comes."""
        while not ended(pid):
            if self._is_done() or self.over.wait(0.02):
                return False
        return True

    def _died(self, how: str, pid: int) -> None:
        until(lambda: ended(pid), "the end of the service")
        self.kills[how] += 1
        self.left["service"] -= 1

    def _rise(self, die_before: int = 0) -> bool:
        """Start the service; False when it died of that before it answered, and lives now."""
        if self.service.rise(die_before):
            return True
        self.kills["service before a write, as it started"] += 1
        self.left["service"] -= 1
        assert self.service.rise()
        return False

    def kill_tasks(self) -> None:
        chance = random.Random(self.seed + 4)
        nodes_hit = 0.0
        while self._kills_left() > 0 and not self._is_done():
            if self.over.wait(chance.uniform(0, 0.15)):
                return
            if self._is_ahead("agent") and self._is_ahead("process"):
                continue
            agent = chance.random() * (self.wanted["agent"] + self.wanted["process"]) < self.wanted["agent"]
            found = [victim for victim in self.victims.living() if victim.agent is agent]
            # A node whose preparation fails is replaced later and later: not too many of them.
            if time.monotonic() < nodes_hit + 20:
                found = [victim for victim in found if victim.key]
            if not found or not self._kill(chance.choice(found)):
                continue
            nodes_hit = time.monotonic() if not self._last_key else nodes_hit

    def _kill(self, victim: Victim) -> bool:
        """The kill is noted before it is done: who reads the state after it must know."""
        self._last_key = victim.key
        if victim.key == UNKNOWN:
            return False
        with self.mutex:
            asked = next((job for job in self.asked if job.key == victim.key), None)
        if victim.key and asked is None:
            self.wrong.append(f"{victim} is of no job")
            return False
        if asked is not None:
            asked.agents_killed += victim.agent
            asked.processes_killed += not victim.agent
        if not self.victims.kill(victim):
            if asked is not None:
                asked.agents_killed -= victim.agent
                asked.processes_killed -= not victim.agent
            return False
        what = "agent" if victim.agent else "process"
        self.kills[f"{what} of a job" if victim.key else f"{what} of a node's preparation"] += 1
        self.left[what] -= 1
        return True

    # --- from the beginning to the end

    def tell(self) -> None:
        """How far it has come, now and then: a long run can be judged before its end."""
        while not self.over.wait(_TOLD_EVERY_S) and not self._is_done():
            with self.mutex:
                asked, still = len(self.asked), len(self.open)
            done = sum(self.kills.values())
            now = time.strftime("%H:%M:%S")
            print(
                f"{now}  {asked} jobs asked for, {still} open, {done} kills, left {dict(self.left)}",
                flush=True,
            )

    def run(self) -> None:
        self.prepare()
        works = (self.submit, self.attend, self.preempt, self.poll, self.kill_service, self.kill_tasks)
        works += (self.tell,)
        threads = [threading.Thread(target=self._guarded, args=(work,), daemon=True) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.over.set()
        if self.errors:
            raise self.errors[0]

    def _guarded(self, work: Any) -> None:
        try:
            work()
        except BaseException as error:
            self.errors.append(error)
            self.over.set()

    def verdict(self) -> list[str]:
        """After the last job: everything is as the oracle says, and nothing is left."""
        self.over.clear()
        client = self.client()
        for asked in self.asked:
            if asked.deleted:
                continue
            answer = client.ask("GET", self._path(asked))
            asked.last = outcome(answer.json()["properties"]) if answer.status_code == 200 else None
            if asked.cluster == "low":
                asked.ends_seen = self._ends_seen(asked)
        with self._said("the nodes"):
            until(lambda: self._are_idle(client), "all nodes idle", _END_LIMIT_S, 0.2)
        with self._said("the processes"):
            until(lambda: not self._busy(), "the end of all tasks", 30)
        with self.oracle.open() as lines:
            self.wrong += judge(self.asked, lines, self._outputs())
        self.wrong += self._left_behind()
        return self.wrong

    @contextlib.contextmanager
    def _said(self, what: str) -> Iterator[None]:
        try:
            yield
        except AssertionError as error:
            self.wrong.append(f"{what}: {error}")

    def _are_idle(self, client: Client) -> bool:
        for name, path in self.clusters.items():
            found = client.ask("GET", path).json()["properties"]
            wanted = {"idleNodeCount": NODES[name]}
            counts = {state: count for state, count in found["nodeStateCounts"].items() if count}
            if counts != wanted or found["currentNodeCount"] != NODES[name]:
                return False
        return True

    def _busy(self) -> list[Victim]:
        return self.victims.living()

    def _outputs(self) -> list[list[str]]:
        """The lines of each job's directory; of a file at a time in order, since each is appended to."""
        found = []
        for directory in self.share.rglob("jobs/*/*/stdouterr"):
            texts = [path.read_text() for path in sorted(directory.glob("stdout*.txt"))]
            found.append([line for text in texts for line in text.split("\n")[:-1]])
            self.wrong += [
                f"{directory}: {text[-40:]!r} has no end" for text in texts if text and text[-1] != "\n"
            ]
        return found

    def _ends_seen(self, asked: Asked) -> int:
        log = self.share / asked.segment / "stdouterr" / "execution.log"
        return log.read_text().count(" of toolkit ended with exit code ") if log.exists() else 0

    def _left_behind(self) -> list[str]:
        home = self.service.home
        engine = home / "engine"
        wrong = [f"still mounted: {place}" for place in mounts_below(home)]
        for task in (engine / "tasks").iterdir():
            if task.name.startswith("."):
                wrong.append(f"half a task: {task}")
            elif not (task / "exit.json").exists():
                wrong.append(f"a task without an end: {task}")
            wrong += [f"a link left: {path}" for path in task.glob("jobs/**/mounts/*") if path.is_symlink()]
        nodes = sum(1 for _ in (engine / "nodes").iterdir())
        if nodes != sum(NODES.values()):
            wrong.append(f"the engine has {nodes} nodes, the clusters {sum(NODES.values())}")
        for log in home.glob("service.log*"):
            for line in log.read_text().splitlines():
                with contextlib.suppress(ValueError):
                    entry = json.loads(line)
                    if entry["level"] in ("ERROR", "CRITICAL"):
                        wrong.append(f"in service.log: {entry['text']}\n{entry.get('exception', '')}")
        return wrong

    def report(self) -> str:
        jobs, kills = self.asked, sum(self.kills.values())
        lines = [f"seed {self.seed}: {len(jobs)} jobs, {kills} kills, {self.preempted} preemptions"]
        lines += [f"  killed {count:5}  {what}" for what, count in sorted(self.kills.items())]
        ends = Counter(self._end(job) for job in jobs)
        lines += [f"  jobs   {count:5}  {what}" for what, count in sorted(ends.items())]
        kinds = {
            "of several nodes": sum(job.nodes > 1 for job in jobs),
            "with a preparation": sum(job.prepared is not None for job in jobs),
            "with a mount": sum(job.mounted for job in jobs),
            "with a name used before": sum(job.key.endswith("again") for job in jobs),
            "on preemptible nodes": sum(job.cluster == "low" for job in jobs),
        }
        lines += [f"  jobs   {count:5}  {what}" for what, count in kinds.items()]
        lines += [f"  {self.polled} answers whose counts of nodes were added up; wrong: {len(self.wrong)}"]
        return "\n".join(lines)

    @staticmethod
    def _end(job: Asked) -> str:
        if job.deleted or job.last is None:
            return "deleted" if job.deleted else "without an end"
        state, code, error, _ = job.last
        how = "killed" if code == 137 else "by its own exit code" if code else ""
        return " ".join(filter(None, (state, error, how)))


def outcome(properties: Json) -> tuple[Any, ...]:
    """(state, exit code, code of the first error, end time) as an answer has them."""
    info = properties["executionInfo"]
    error = (info.get("errors") or [{"code": ""}])[0]["code"]
    return properties["executionState"], info.get("exitCode"), error, info.get("endTime")


def campaign(
    home: Path, jobs: int, kills: int, seed: int, limit_s: float = float("inf")
) -> tuple[str, list[str]]:
    """Its report, and what was wrong."""
    service = Mortal(home)
    try:
        found = Campaign(service, jobs, kills, seed, limit_s)
        found.run()
        wrong = found.verdict()
        return found.report(), wrong
    finally:
        service.discard()
        for place in reversed(mounts_below(home)):
            subprocess.run(["umount", "-l", place], check=False)


def mounts_below(directory: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return [place for line in lines if (place := line.split(" ")[4]).startswith(f"{directory}/")]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--minutes", type=float, default=float("inf"), help="submit nothing after so long")
    words = parser.parse_args()
    print(f"seed {words.seed}", flush=True)
    directory = Path(tempfile.mkdtemp(prefix="openbatchai-chaos-"))
    # For jobs of another user, too.
    directory.chmod(0o755)
    report, wrong = campaign(directory / "home", words.jobs, words.kills, words.seed, words.minutes * 60)
    print(report)
    if wrong:
        print("\n".join(wrong))
        sys.exit(f"its home stays for a look: {directory}")
    shutil.rmtree(directory)


if __name__ == "__main__":
    main()
