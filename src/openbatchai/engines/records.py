"""Reading what an agent reported, and writing the end of a task that no agent can report."""

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from openbatchai.agent.report import EVENTS, EXIT, LOG, TASK, publish_end, utc_now, wipe
from openbatchai.domain.errors import Fault
from openbatchai.domain.ports import StepKind, TaskEvent, TaskEventKind, TaskFault


def ended(directory: Path) -> bool:
    return (directory / EXIT).exists()


def read_spec(directory: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((directory / TASK).read_text(encoding="utf-8"))
    return content


def identity(directory: Path) -> dict[str, Any]:
    """What is known of a task whatever its job did to the directory; at worst nothing."""
    with suppress(OSError, ValueError):
        return read_spec(directory)
    return {}


def events(directory: Path, task_id: str) -> list[TaskEvent]:
    """All events so far, oldest first. The end is read first: what precedes it is then complete."""
    end = _read_end(directory)
    found = [_event(task_id, record) for record in _lines(directory)]
    if end is not None:
        found.append(_event(task_id, end))
    return found


def write_end(directory: Path, exit_code: int | None, fault: TaskFault) -> bool:
    """Publish an end in place of an agent, after everything it reported; False when there is one."""
    last = max((int(record["sequence"]) for record in _lines(directory)), default=0)
    record: dict[str, object] = {"sequence": last + 1, "kind": TaskEventKind.ENDED.value, "at": utc_now()}
    if exit_code is not None:
        record["exit_code"] = exit_code
    record["fault"] = {"code": fault.code, "message": fault.message, "details": fault.details}
    with (directory / LOG).open("a", encoding="utf-8") as log:
        log.write(f"{utc_now()} The task failed: {fault.code}: {fault.message}\n")
        log.writelines(f"{utc_now()}   {name}: {value}\n" for name, value in fault.details)
    wipe(str(directory))
    return publish_end(str(directory), record)


def say(directory: Path, text: str) -> None:
    """Add a line to the task's own log."""
    with (directory / LOG).open("a", encoding="utf-8") as log:
        log.write(f"{utc_now()} {text}\n")


def _read_end(directory: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads((directory / EXIT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, IsADirectoryError):
        return _damaged_end(directory)
    whole = _is_event(record) and record["kind"] == TaskEventKind.ENDED
    return record if whole else _damaged_end(directory)


def _damaged_end(directory: Path) -> dict[str, Any]:
    """The task is over, but how it ended nobody can tell any more (a loss of power, a damaged disk)."""
    last = max((int(record["sequence"]) for record in _lines(directory)), default=0)
    at = datetime.fromtimestamp((directory / EXIT).stat().st_mtime, UTC).isoformat()
    message = "The record of the task's end is damaged"
    fault = {"code": Fault.NODE_AGENT_LOST, "message": message, "details": []}
    return {"sequence": last + 1, "kind": TaskEventKind.ENDED.value, "at": at, "fault": fault}


def _is_event(record: Any) -> bool:
    """Whether it is one as agents write them: whatever else stands there must hide no end of a task."""
    try:
        event = _event("", record)
    except (TypeError, ValueError, KeyError, AttributeError):
        return False
    numbers = isinstance(event.sequence, int) and isinstance(event.exit_code, int | None)
    told = event.fault is None or {type(event.fault.code), type(event.fault.message)} == {str}
    return numbers and told and event.at.tzinfo is not None


def _lines(directory: Path) -> Iterator[dict[str, Any]]:
    try:
        text = (directory / EVENTS).read_bytes()
    except FileNotFoundError:
        return
    # A line without its end is still being written, or was when the agent died.
    for line in text.split(b"\n")[:-1]:
        # After a power failure a line may be zeros: the rest of the story is still worth telling.
        with suppress(ValueError):
            record = json.loads(line)
            if _is_event(record):
                yield record


def _event(task_id: str, record: dict[str, Any]) -> TaskEvent:
    fault = record.get("fault")
    return TaskEvent(
        task_id=task_id,
        sequence=record["sequence"],
        kind=TaskEventKind(record["kind"]),
        at=datetime.fromisoformat(record["at"]),
        step=StepKind(record["step"]) if "step" in record else None,
        exit_code=record.get("exit_code"),
        fault=None if fault is None else _fault(fault),
    )


def _fault(record: dict[str, Any]) -> TaskFault:
    details = tuple((name, value) for name, value in record["details"])
    return TaskFault(record["code"], record["message"], details)
