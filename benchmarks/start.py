"""Start time: `batchai up` until every endpoint answers, on a new home and on an existing one.

    python benchmarks/start.py [--rounds 7]

From the start of the process to the first answer of the last of the four ports, seen by a client that tries
each without pause. The peers' figures are those of DESIGN section 6, taken the same way on another machine.
"""

import argparse
import http.client
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
from measuring import UP, environment, free_port, heading, line, median, new_home

PEERS = (("Azurite", 0.7), ("dstack", 3.1), ("Ray", 8.7))
_IMPORTS = "import openbatchai.app"


def answers(port: int) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/healthz")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def proxy_answers(port: int) -> bool:
    """Whether a CONNECT to a host that we answer ourselves is accepted."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"CONNECT management.azure.com:443 HTTP/1.1\r\n\r\n")
            return connection.recv(100).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def start_once(home: Path, port: int) -> tuple[float, float]:
    """Seconds from the start of the process to the last port's answer, and CPU seconds it took until then."""
    begun = time.perf_counter()
    command = [*UP, "--home", str(home), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment()) as process:
        try:
            waiting = [(answers, port), (proxy_answers, port + 1), (answers, port + 2), (answers, port + 3)]
            while waiting:
                ask, which = waiting[0]
                if ask(which):
                    waiting.pop(0)
                elif process.poll() is not None:
                    raise RuntimeError(f"the service ended with exit code {process.returncode}")
                else:
                    time.sleep(0.002)
            took = time.perf_counter() - begun
            times = psutil.Process(process.pid).cpu_times()
            return took, times.user + times.system
        finally:
            process.terminate()


def imports_once() -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", _IMPORTS], check=True, env=environment())
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    new, existing, imports = [], [], []
    port = free_port()
    for _ in range(rounds):
        with new_home() as home:
            new.append(start_once(home, port))
            existing.append(start_once(home, port))
        imports.append(imports_once())
    heading(f"Start, median of {rounds}")
    for name, figures, bar in (("new", new, 1.5), ("existing", existing, 1.0)):
        wall, cpu = ([figure[i] for figure in figures] for i in (0, 1))
        line(f"{name} home, to every endpoint answering", median(wall), "s", bar, *PEERS)
        # What it would be on a machine with nothing else to do, as nearly nothing in it waits.
        line(f"{name} home, CPU time of it", median(cpu), "s", None)
    line("imports alone, with the interpreter", median(imports), "s", None, ("prototype", 0.4))


if __name__ == "__main__":
    main()
