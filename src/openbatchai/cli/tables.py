"""How `-o table` shows answers: columns in the order in which they are read, the objects' ids among them.

Left to itself the framework sorts columns by name and leaves `id` out.
"""

from datetime import datetime
from typing import Any

Row = dict[str, str]


def events(answer: list[dict[str, Any]]) -> list[Row]:
    return [
        {
            "Time": _time(event["time"]),
            "Object": f"{event['kind']} {event['object']}",
            "Event": event["event"],
            "From": event["from"],
            "To": event["to"],
            "Reason": event["reason"],
            "Actor": event["actor"],
        }
        for event in answer
    ]


def why(answer: dict[str, Any]) -> Row:
    columns = {
        "Job": "job",
        "State": "executionState",
        "Reason": "reason",
        "Position": "position",
        "Nodes": "nodesNeeded",
        "Message": "message",
    }
    return {title: _shown(answer.get(name)) for title, name in columns.items()}


def nodes(answer: list[dict[str, Any]]) -> list[Row]:
    return [node(each) for each in answer]


def node(answer: dict[str, Any]) -> Row:
    return {
        "Node": answer["id"],
        "State": answer["state"],
        "Since": _time(answer["since"]),
        "Run": _shown(answer["run"]),
        "Leaves": "after its run" if answer["leavesAfterRun"] else "",
        "Address": _shown(answer["address"]),
        "Note": _shown(answer["note"]),
    }


def _shown(value: Any) -> str:
    return "" if value is None else str(value)


def _time(text: str) -> str:
    """To the millisecond, so that a column is even; the service leaves a fraction of zero out."""
    at = datetime.fromisoformat(text)
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03}Z"
