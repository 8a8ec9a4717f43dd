"""Mistakes: CNTK's exception with CNTK's text, at the same step, or acceptance where CNTK accepts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from .compare import Different, same, same_error
from .corpus import Case, Corpus


def _steps(corpus: Corpus, case: Case, done: list[int]) -> Any:
    scope = corpus.scope(case)
    result = None
    for step in case["steps"]:
        result = corpus.evaluate(step["expr"] if "bind" in step else step, scope)
        if "bind" in step:
            scope[step["bind"]] = result
        done.append(1)
    return result


def replay(corpus: Corpus, case: Case, folder: Path) -> None:
    for file in case["files"]:
        shutil.copy(corpus.folder / "errors" / Path(file).name, folder)
    recorded, done = case.get("raises"), list[int]()
    try:
        result = _steps(corpus, case, done)
    except Exception as error:
        if recorded is None:
            raise Different(
                f"{type(error).__name__} ({error}) instead of {case.get('result_repr')}"
            ) from error
        if not case.get("message_is_wrapper_internal"):
            same("step", len(done), case["last_step"])
            same_error(error, recorded)
        return
    if recorded is not None:
        raise Different(f"accepted with {result!r}, instead of {recorded}")
