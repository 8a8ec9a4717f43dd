"""`python -m golden_replay DIRECTORY [--only TEXT] [--update]`: replay a corpus and print what differs."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

from .corpus import Corpus
from .outcomes import REPLAY, known_differences, replay_case, write_known_differences


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--only", default="", help="cases whose id begins so")
    parser.add_argument("--quiet", action="store_true", help="the counts alone")
    parser.add_argument("--update", action="store_true", help="write the lists of known differences")
    options = parser.parse_args()
    torch.set_num_threads(1)
    corpus = Corpus(options.corpus.resolve())
    unexpected = passed = total = 0
    for category in (c for c in REPLAY if c in corpus.categories()):
        cases = [case for case in corpus.category(category) if case["id"].startswith(options.only)]
        if not cases:
            continue
        start = time.process_time()
        outcomes = {case["id"]: replay_case(corpus, case) for case in cases}
        known = known_differences(category)
        good = [name for name, text in outcomes.items() if text is None]
        for name, text in outcomes.items():
            if text is not None and not options.quiet:
                print(f"{'known  ' if name in known else 'DIFFERS'} {name}: {text}")
        print(f"{category}: {len(good)} of {len(cases)} ({time.process_time() - start:.1f} s)", flush=True)
        passed, total = passed + len(good), total + len(cases)
        unexpected += sum(text is not None and name not in known for name, text in outcomes.items())
        if options.update and not options.only:
            write_known_differences(category, outcomes)
    print(f"all: {passed} of {total} ({passed / max(total, 1):.1%}), {unexpected} not in the lists")
    return 1 if unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
