"""docs/cntk-coverage.md says what is true."""

from __future__ import annotations

from pathlib import Path

from golden_replay.coverage import ABSENT, absent, page, public_api


def test_the_page_is_up_to_date(shared: Path, repository: Path) -> None:
    written = (repository / "docs" / "cntk-coverage.md").read_text()
    assert written == page(shared), "run: make cntk-coverage"


def test_the_list_of_absent_names_is_up_to_date(shared: Path, repository: Path) -> None:
    assert (repository / ABSENT).read_text() == absent(public_api(shared)), "run: make cntk-coverage"


def test_at_least_97_percent_of_the_recorded_cases(shared: Path) -> None:
    from golden_replay.corpus import Corpus
    from golden_replay.outcomes import REPLAY, known_differences

    corpus = Corpus(shared / "data" / "cntk" / "golden")
    known = sum(len(known_differences(category)) for category in REPLAY)
    assert known <= 0.03 * len(corpus.cases)
