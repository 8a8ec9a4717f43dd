"""How an answer's bytes go out: in large pieces alone, in smaller ones beside another."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

from openbatchai.dataplane.grants import Grant
from openbatchai.dataplane.ranges import Span
from openbatchai.domain.ports import StorageService
from openbatchai.http.storage.exchange import PIECE, Exchange
from openbatchai.http.storage.target import unread_target

SIZE = 5 * PIECE + 7
SCOPE = {"method": "GET", "headers": []}


class Client:
    """Takes an answer, once it may."""

    def __init__(self, pool):
        self.exchange = Exchange(unread_target(SCOPE, StorageService.BLOB), Grant(), "id", "2021-08-06", pool)
        self.exchange.connect(self.never, self.take)
        self.may_take = asyncio.Event()
        self.began = asyncio.Event()
        self.pieces = []

    async def never(self):
        await asyncio.Event().wait()

    async def take(self, message):
        self.began.set()
        await self.may_take.wait()
        if message["type"] == "http.response.body":
            self.pieces.append(message["body"])

    async def download(self, fd):
        first = os.pread(fd, PIECE, 0)
        assert await self.exchange.stream(200, {}, fd, Span(0, SIZE), first)


def test_a_long_answer_beside_another_goes_out_in_smaller_pieces(tmp_path):
    content = os.urandom(SIZE)
    (tmp_path / "file").write_bytes(content)
    fd = os.open(tmp_path / "file", os.O_RDONLY)

    async def run():
        with ThreadPoolExecutor(2) as pool:
            alone, slow, beside = Client(pool), Client(pool), Client(pool)
            alone.may_take.set()
            await alone.download(fd)
            # Of this one the first bytes are on their way as long as the other takes.
            slow.may_take.set()
            waiting = asyncio.create_task(slow.download(fd))
            await slow.began.wait()
            slow.may_take.clear()
            beside.may_take.set()
            assert Exchange._streams == 1
            await beside.download(fd)
            slow.may_take.set()
            await waiting
            return alone.pieces, slow.pieces, beside.pieces

    alone, slow, beside = asyncio.run(run())
    os.close(fd)
    assert b"".join(alone) == b"".join(slow) == b"".join(beside) == content
    assert max(map(len, alone[1:])) == PIECE
    assert max(map(len, beside[1:])) == PIECE // 4
    assert Exchange._streams == 0
