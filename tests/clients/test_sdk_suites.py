"""The test suites inside the source distributions: what fails is what `expected/` lists, no more, no less."""

import pytest
from harness.venvs import interpreter

from .sdk_suites import SUITES, expected_failures, run, source_of, surprises


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SUITES)
def test_suite(new_service, name):
    if interpreter() is None:
        pytest.skip("there is no python3.11, on which the suites run")
    try:
        source_of(SUITES[name])
    except LookupError as error:
        pytest.skip(str(error))
    result = run(SUITES[name], new_service().up(), [])
    new, stale = surprises(result, expected_failures(SUITES[name]))
    assert not new, "\n".join(new)
    assert not stale, f"these are listed and pass: {stale}"
