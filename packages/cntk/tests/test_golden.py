"""Cases recorded from CNTK 2.7: every one comes out as it did there, or is listed with a reason.

`make test-golden GOLDEN=directory` replays another recording in the same layout.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from golden_replay.corpus import Corpus
from golden_replay.outcomes import REPLAY, known_differences, replay_category


@pytest.fixture(scope="session")
def corpus(request: pytest.FixtureRequest) -> Corpus:
    given = os.environ.get("GOLDEN")
    if given:
        return Corpus(Path(given).resolve())
    shared: Path = request.getfixturevalue("shared")
    return Corpus(shared / "data" / "cntk" / "golden")


@pytest.mark.parametrize("category", list(REPLAY))
def test_category(corpus: Corpus, category: str) -> None:
    outcomes = replay_category(corpus, category)
    known = known_differences(category)
    wrong = [f"{name}: {text}" for name, text in outcomes.items() if text is not None and name not in known]
    assert not wrong, "\n".join(wrong)
    stale = [name for name, text in outcomes.items() if text is None and name in known]
    assert not stale, f"these pass now; take them off expected/{category}.txt: {stale}"
