"""ISO durations and the phases of a run."""

from datetime import timedelta

import pytest

from openbatchai.domain.ports import StepKind
from openbatchai.domain.tasks import parse_duration, run_phases


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("P7D", timedelta(days=7)),
        ("PT1H30M", timedelta(minutes=90)),
        ("PT0.5S", timedelta(seconds=0.5)),
        ("P1W", timedelta(weeks=1)),
        ("P", None),
        ("PT", None),
        ("7.00:00:00", None),
        ("", None),
    ],
)
def test_durations(text, expected):
    assert parse_duration(text) == expected


def test_one_node_needs_one_phase():
    assert run_phases({"jobPreparation": {"commandLine": "x"}}, 1) == (
        (StepKind.JOB_PREPARATION, StepKind.TOOLKIT),
    )


def test_all_nodes_prepare_before_the_toolkit_starts():
    assert run_phases({"jobPreparation": {"commandLine": "x"}}, 2) == (
        (StepKind.JOB_PREPARATION,),
        (StepKind.TOOLKIT,),
    )
    assert run_phases({}, 2) == ((StepKind.TOOLKIT,),)
