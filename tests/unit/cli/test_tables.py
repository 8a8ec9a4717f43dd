"""What `-o table` shows of answers."""

import pytest
from knack.output import format_table
from knack.util import CommandResultItem

from openbatchai.cli import tables


def shown(answer, transformer):
    return format_table(CommandResultItem(answer, table_transformer=transformer)).splitlines()


NODE = {
    "id": "tvm-1",
    "state": "idle",
    "since": "2026-01-01T00:00:00Z",
    "run": None,
    "leavesAfterRun": False,
    "address": "127.0.0.2",
    "note": None,
}


@pytest.mark.parametrize(("answer", "transformer"), [([NODE], tables.nodes), (NODE, tables.node)])
def test_a_node_is_shown_with_its_id(answer, transformer):
    head, _, row = shown(answer, transformer)
    assert head.split()[:3] == ["Node", "State", "Since"]
    assert row.split() == ["tvm-1", "idle", "2026-01-01", "00:00:00.000Z", "127.0.0.2"]


def test_events_are_shown_in_the_order_in_which_they_are_read_with_even_times():
    event = {
        "kind": "job",
        "object": "j",
        "event": "create",
        "from": "",
        "to": "queued",
        "reason": "asked for",
    }
    times = ["2026-01-01T00:00:00Z", "2026-01-01T00:00:01.987654Z"]
    head, _, first, second = shown(
        [event | {"id": 7, "time": time, "actor": "me"} for time in times], tables.events
    )
    assert head.split() == ["Time", "Object", "Event", "From", "To", "Reason", "Actor"]
    assert first.split() == [
        "2026-01-01",
        "00:00:00.000Z",
        "job",
        "j",
        "create",
        "queued",
        "asked",
        "for",
        "me",
    ]
    assert second.startswith("2026-01-01 00:00:01.987Z")


def test_an_answer_of_why_that_has_no_position_is_shown():
    answer = {"job": "j", "executionState": "running", "message": "It does not wait: it is running."}
    head, _, row = shown(answer, tables.why)
    assert head.split() == ["Job", "State", "Reason", "Position", "Nodes", "Message"]
    assert row.startswith("j ")
    assert row.endswith(answer["message"])
