"""Signals unwind, wait where they must, and end the process as shells expect."""

import os
import signal
import subprocess
import sys

import pytest

from openbatchai.cli.signals import Signals


def send(number):
    os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def nothing_is_ignored():
    """A shell starts what it puts into the background with SIGINT ignored, nohup with SIGHUP."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def ended_by(work):
    """The exit code after `work(signals, done)`, and what it noted in `done`."""
    signals, done = Signals(), []

    def unwind():
        with signals.unwinding():
            work(signals, done)

    with pytest.raises(SystemExit) as ended:
        unwind()
    return ended.value.code, done


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_runs_what_is_left_to_do_and_exits(number):
    def work(signals, done):
        try:
            send(number)
        finally:
            done.append("cleaned")

    before = signal.getsignal(number)
    assert ended_by(work) == (128 + number, ["cleaned"])
    assert signal.getsignal(number) is before


def test_a_held_one_waits_for_the_end_of_the_block():
    def work(signals, done):
        with signals.held():
            with signals.held():
                send(signal.SIGTERM)
                done.append("inner")
            done.append("outer")
        done.append("never")

    assert ended_by(work) == (143, ["inner", "outer"])


def test_a_second_one_does_not_cut_what_the_first_let_clean_up():
    def work(signals, done):
        try:
            send(signal.SIGINT)
        finally:
            with signals.held():
                send(signal.SIGINT)
                done.append("cleaned")

    assert ended_by(work) == (130, ["cleaned"])


def test_what_nohup_ignores_stays_ignored():
    code = (
        "import os, signal\n"
        "from openbatchai.cli.signals import Signals\n"
        "with Signals().unwinding():\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "print('alive')\n"
    )
    command = ["sh", "-c", 'trap "" HUP; exec "$0" -c "$1"', sys.executable, code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "alive\n", done.stderr
