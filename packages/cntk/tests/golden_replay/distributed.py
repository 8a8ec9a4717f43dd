"""Two workers training together."""

from __future__ import annotations

from pathlib import Path

from .corpus import Case, Corpus


def replay(corpus: Corpus, case: Case, folder: Path) -> None:
    raise NotImplementedError("the runner does not replay distributed training yet")
