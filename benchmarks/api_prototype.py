"""The least that could answer these requests: Starlette on uvicorn, one SQLite table, a signed token.

    python benchmarks/api_prototype.py PORT DIRECTORY JOBS

The peer of `api.py`: it checks the token, reads or durably commits one row and renders it, and does nothing
else of what the service does. `DIRECTORY` holds cert.pem, key.pem, token.key (HS256), the one document that
every job has (job.json), and gets the database.
"""

import json
import sqlite3
import sys
from functools import lru_cache
from pathlib import Path

import jwt
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

PAGE = 1000


def create_app(home: Path, jobs: int) -> Starlette:
    """An app over a new table with that many jobs."""
    database = sqlite3.connect(home / "jobs.db", isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE job (id INTEGER PRIMARY KEY, name TEXT UNIQUE, document TEXT NOT NULL)")
    document = (home / "job.json").read_text()
    rows = ((f"filled{number}", document) for number in range(jobs))
    database.execute("BEGIN")
    database.executemany("INSERT INTO job (name, document) VALUES (?, ?)", rows)
    database.execute("COMMIT")
    key = (home / "token.key").read_bytes()

    @lru_cache(maxsize=64)
    def verify(authorization: str) -> None:
        jwt.decode(authorization.removeprefix("Bearer "), key, ["HS256"])

    def answer(request: Request, content: bytes) -> Response:
        verify(request.headers["authorization"])
        name = request.path_params.get("name")
        if name is None:
            rows = database.execute("SELECT document FROM job ORDER BY id LIMIT ?", (PAGE,)).fetchall()
            return JSONResponse({"value": [json.loads(row[0]) for row in rows]})
        if request.method == "PUT":
            text = json.dumps(json.loads(content))
            database.execute("INSERT INTO job (name, document) VALUES (?, ?)", (name, text))
        row = database.execute("SELECT document FROM job WHERE name = ?", (name,)).fetchone()
        return JSONResponse(json.loads(row[0]))

    async def serve(request: Request) -> Response:
        return await run_in_threadpool(answer, request, await request.body())

    return Starlette(
        routes=[Route("/jobs/{name}", serve, methods=["GET", "PUT"]), Route("/jobs", serve, methods=["GET"])]
    )


if __name__ == "__main__":
    port, home, jobs = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    uvicorn.run(
        create_app(home, jobs),
        port=port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="error",
        timeout_keep_alive=600,
        ssl_certfile=home / "cert.pem",
        ssl_keyfile=home / "key.pem",
    )
