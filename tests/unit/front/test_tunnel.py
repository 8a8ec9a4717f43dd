"""One tunnel whose ends appear and vanish in any order; the transports only record what they are told."""

import pytest

from openbatchai.http.tunnel import Pipe


class Transport:
    """Stands in for asyncio's transport: the loop is not part of what is tested here."""

    def __init__(self, *, half_close: bool = True) -> None:
        self.half_close = half_close
        self.told: list[object] = []

    def __getattr__(self, name: str):
        return lambda *arguments: self.told.append((name, *arguments))

    def can_write_eof(self) -> bool:
        return self.half_close

    def is_closing(self) -> bool:
        return ("close",) in self.told or ("abort",) in self.told


@pytest.fixture
def pipes() -> set[Pipe]:
    return set()


def test_an_end_that_appears_late_gets_everything(pipes):
    near, far = Pipe.pair(pipes)
    far.connection_made(Transport())
    far.data_received(b"a")
    far.data_received(b"b")
    assert far.eof_received()
    late = Transport()
    near.connection_made(late)
    assert late.told == [("write", b"a"), ("write", b"b"), ("write_eof",)]


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
def test_an_end_that_appears_after_its_peer_is_gone_is_closed(pipes, error):
    near, far = Pipe.pair(pipes)
    far.connection_made(Transport())
    far.data_received(b"a")
    far.connection_lost(error)
    late = Transport()
    near.connection_made(late)
    assert late.told == [("write", b"a"), ("close",)]


def test_a_slow_end_pauses_the_other(pipes):
    near, far = Pipe.pair(pipes)
    one, other = Transport(), Transport()
    near.connection_made(one)
    far.pause_writing()  # not connected yet: the near end waits all the same
    far.connection_made(other)
    near.pause_writing()
    near.resume_writing()
    assert one.told == [("pause_reading",)]
    assert other.told == [("pause_reading",), ("resume_reading",)]


def test_both_ends_close_after_both_directions_ended(pipes):
    near, far = Pipe.pair(pipes)
    one, other = Transport(), Transport()
    near.connection_made(one)
    far.connection_made(other)
    assert near.eof_received() is True
    assert far.eof_received() is False
    far.connection_lost(None)
    assert one.told == [("write_eof",), ("close",)]
    assert pipes == {near}


def test_tls_has_no_half_close(pipes):
    near, far = Pipe.pair(pipes)
    one, other = Transport(half_close=False), Transport(half_close=False)
    near.connection_made(one)
    far.connection_made(other)
    assert near.eof_received() is False
    assert other.told == [("close",)]


def test_an_abort_cuts_both_ends_and_works_half_connected(pipes):
    near, far = Pipe.pair(pipes)
    far.connection_made(Transport())
    near.abort()
    assert pipes == set()
    assert far._transport.told == [("abort",)]
