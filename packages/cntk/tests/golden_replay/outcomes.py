"""What comes out of a category, against the checked-in list of cases that are known to differ."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

from . import checkpoints, distributed, errors, functions, models, printed, readers, training
from .corpus import Case, Corpus

REPLAY: dict[str, Callable[[Corpus, Case, Path], None]] = {
    "ops": functions.replay,
    "nnops": functions.replay,
    "layers": functions.replay,
    "train": training.replay,
    "distributed": distributed.replay,
    "text": printed.replay,
    "input": readers.replay,
    "models": models.replay,
    "checkpoints": checkpoints.replay,
    "errors": errors.replay,
}
EXPECTED = Path(__file__).parent / "expected"


def replay_case(corpus: Corpus, case: Case) -> str | None:
    """None when the case comes out as CNTK had it, else one line on how it differs."""
    start = Path.cwd()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.chdir(folder)
        try:
            REPLAY[case["category"]](corpus, case, Path(folder))
        except Exception as error:
            line = " ".join(f"{type(error).__name__}: {error}".split())
            return line if len(line) <= 240 else f"{line[:237]}..."
        finally:
            os.chdir(start)
    return None


def replay_category(corpus: Corpus, category: str) -> dict[str, str | None]:
    """The outcome of every case by its id."""
    return {case["id"]: replay_case(corpus, case) for case in corpus.category(category)}


def known_differences(category: str) -> dict[str, str]:
    """Ids and reasons of the cases that are known not to pass (`id: reason` in each line of the file)."""
    file = EXPECTED / f"{category}.txt"
    if not file.exists():
        return {}
    lines = (line for line in file.read_text().splitlines() if line and not line.startswith("#"))
    return dict(line.split(": ", 1) for line in lines)


def write_known_differences(category: str, outcomes: dict[str, str | None]) -> None:
    """Bring the list up to date: reasons that a person wrote stay."""
    known = known_differences(category)
    lines = [f"{name}: {known.get(name, text)}\n" for name, text in outcomes.items() if text is not None]
    EXPECTED.mkdir(exist_ok=True)
    (EXPECTED / f"{category}.txt").write_text("".join(lines))
