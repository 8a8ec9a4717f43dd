"""Everything CNTK prints while it trains: standard output and log files, character by character."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from .compare import Different, same, same_error
from .corpus import Case, Corpus


def replay(corpus: Corpus, case: Case, folder: Path) -> None:
    if case["id"].startswith("text/device/"):
        # These are about the first use of the device, which a process has only once.
        stdout, stderr = _in_new_process(corpus, case, folder)
        _compare(corpus, case, "stderr", stderr)
        _compare(corpus, case, "stdout", stdout)
        return
    file = corpus.folder / "text" / "session.ctf"
    if file.exists():
        shutil.copy(file, folder)
    recorded = case.get("raises")
    try:
        stdout = _printed(corpus, case)
    except (ValueError, TypeError, RuntimeError) as error:
        if recorded is None or isinstance(error, NotImplementedError):
            raise
        same_error(error, recorded)
        return
    if recorded is not None:
        raise Different(f"accepted, instead of {recorded}")
    created = sorted(p.name for p in folder.iterdir() if p.name != file.name)
    if "created_files" in case:
        same("created files", created, sorted(case["created_files"]))
    texts = {"stdout": stdout}
    texts |= {f"file.{key[5:]}": Path(key[5:]).read_text() for key in case["text"] if key.startswith("file.")}
    for stream, text in texts.items():
        _compare(corpus, case, stream, text)


def _compare(corpus: Corpus, case: Case, stream: str, text: str) -> None:
    recorded = case["text"].get(stream)
    compare_text(stream, text, (corpus.folder / recorded).read_text() if recorded else "")


def compare_text(stream: str, text: str, expected: str) -> None:
    """Equal but for times and rates, and the last digit of losses."""
    text = _times_masked(text)
    if not _same_text(text, expected):
        raise Different(f"{stream}: {text!r} instead of {expected!r}")


def _in_new_process(corpus: Corpus, case: Case, folder: Path) -> tuple[str, str]:
    code = (
        "import pathlib, warnings; warnings.simplefilter('ignore'); "
        "from golden_replay import corpus, printed; "
        f"c = corpus.Corpus(pathlib.Path({str(corpus.folder)!r})); "
        f"print(printed._printed(c, c.cases[{case['id']!r}]), end='')"
    )
    paths = [str(Path(__file__).parents[1]), *sys.path]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout, done.stderr


def _times_masked(text: str) -> str:
    return re.sub(r"[\d.]+s \( *[\d.]+ samples/s\)", "<time>s (<rate> samples/s)", text)


def _same_text(mine: str, recorded: str) -> bool:
    """Equal; only the last printed digit of a loss may differ (float32 sums in another order)."""
    number = re.compile(r"loss(?: =|':) (\d+\.\d{6,})")
    if number.sub("loss", mine) != number.sub("loss", recorded):
        return False
    pairs = zip(number.findall(mine), number.findall(recorded), strict=True)
    return all(abs(float(a) - float(b)) <= 1.1e-6 + 2e-7 * float(b) for a, b in pairs)


def _printed(corpus: Corpus, case: Case) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        scope = corpus.scope(case)
        x, y = (corpus.array(case, e["npz"]) for e in case["inputs"])
        scope["X"], scope["Y"] = x, y
        for step in case["steps"]:
            if "bind" in step:
                scope[step["bind"]] = corpus.evaluate(step["expr"], scope)
            elif "trainer" in step:
                kind = "train" if "train" in step else "test"
                call = getattr(scope[step["trainer"]], f"{kind}_minibatch")
                count, size = step[kind]
                for i in range(count):
                    rows = slice(i * size % len(x), i * size % len(x) + size)
                    call({scope["x"]: x[rows], scope["y"]: y[rows]})
            else:
                corpus.evaluate(step["expr"], scope)
    return output.getvalue()
