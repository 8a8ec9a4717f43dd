"""ISO durations and the phases of a run."""

from datetime import timedelta

import pytest

from openbatchai.domain.ports import NodeFacts, StepKind
from openbatchai.domain.tasks import hosts, parse_duration, run_phases


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


def test_nodes_with_containers_do_both_in_one_phase():
    spec = {
        "jobPreparation": {"commandLine": "x"},
        "containerSettings": {"imageSourceRegistry": {"image": "i"}},
    }
    assert run_phases(spec, 2) == ((StepKind.JOB_PREPARATION, StepKind.TOOLKIT),)


def test_the_hostfile_has_a_slot_per_process():
    nodes = [NodeFacts(f"n{i}", f"127.0.1.{i}", f"n{i}", 2, 0, "/m") for i in range(2)]
    mpi = {"customMpiSettings": {"commandLine": "x", "processCount": 4}}
    assert hosts(mpi, nodes) == "127.0.1.0 slots=2\n127.0.1.1 slots=2\n"
    assert hosts({"customToolkitSettings": {}}, nodes) == "127.0.1.0 slots=1\n127.0.1.1 slots=1\n"
