"""Everything CNTK prints while it trains: standard output and log files, character by character."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

from .compare import Different
from .corpus import Case, Corpus


def replay(corpus: Corpus, case: Case, folder: Path) -> None:
    if case["id"].split("/")[1] not in ("printer", "rates", "parameters"):
        raise NotImplementedError("the runner does not replay this kind of text yet")
    mine = {"stdout": _times_masked(_printed(corpus, case))}
    mine |= {f"file.{p.name}": _times_masked(p.read_text()) for p in folder.iterdir()}
    for stream, text in mine.items():
        recorded = case["text"].get(stream)
        expected = (corpus.folder / recorded).read_text() if recorded else ""
        if not _same_text(text, expected):
            raise Different(f"{stream}: {text!r} instead of {expected!r}")


def _times_masked(text: str) -> str:
    return re.sub(r"[\d.]+s \( *[\d.]+ samples/s\)", "<time>s (<rate> samples/s)", text)


def _same_text(mine: str, recorded: str) -> bool:
    """Equal; only the last printed digit of a loss may differ (float32 sums in another order)."""
    number = re.compile(r"loss = (\d+\.\d{6})")
    if number.sub("loss", mine) != number.sub("loss", recorded):
        return False
    pairs = zip(number.findall(mine), number.findall(recorded), strict=True)
    return all(abs(float(a) - float(b)) <= 1.1e-6 + 2e-7 * float(b) for a, b in pairs)


def _printed(corpus: Corpus, case: Case) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        scope = corpus.scope(case)
        x, y = (corpus.array(case, e["npz"]) for e in case["inputs"])
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
