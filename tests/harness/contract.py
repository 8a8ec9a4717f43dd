"""The published swaggers as a judge: which operation a request is, and whether its answer has the shape.

Each answer that the harness gets from the service is held against the schema of its operation. Where the
recorded service itself broke its swagger, the recording wins (`_is_recorded`).
"""

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft4Validator, ValidationError

SPEC = Path(__file__).parents[3] / "shared" / "spec" / "batchai"


@dataclass(frozen=True)
class Operation:
    version: str
    id: str
    method: str
    path: re.Pattern[str]
    answers: dict[str, Any]
    body: Any


@cache
def operations(version: str) -> list[Operation]:
    """All operations of one api-version; none without ../shared."""
    file = SPEC / version / "BatchAI.json"
    if not file.exists():
        return []
    spec = json.loads(file.read_text())
    found = []
    for path, methods in spec["paths"].items():
        pattern = re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)), re.IGNORECASE)
        for method, operation in methods.items():
            schemas = {status: answer.get("schema") for status, answer in operation["responses"].items()}
            [body] = [p["schema"] for p in operation.get("parameters", ()) if p.get("in") == "body"] or [None]
            found.append(Operation(version, operation["operationId"], method.upper(), pattern, schemas, body))
    return found


@cache
def _definitions(version: str) -> dict[str, Any]:
    spec = json.loads((SPEC / version / "BatchAI.json").read_text())
    return dict(spec["definitions"])


def operation_of(version: str, method: str, path: str) -> Operation | None:
    path = path.partition("?")[0]
    for operation in operations(version):
        if operation.method == method and operation.path.fullmatch(path):
            return operation
    return None


def faults(version: str, schema: Any, value: Any, *, any_case: bool = False) -> list[str]:
    """Where `value` breaks `schema`, as `path: message`; enums may be in any case where that is legal."""
    validator = Draft4Validator({**schema, "definitions": _definitions(version)})
    return [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}"
        for error in validator.iter_errors(value)
        if not _is_recorded(version, error, any_case)
    ]


def _is_recorded(version: str, error: ValidationError, any_case: bool) -> bool:
    """What the real service did though its swagger does not say so (batchai-service.md section 3).

    2017-09-01-preview wrote enums in Pascal case, and a subnet that is none as `{}`; requests were taken in
    any case; PyTorch's toolType is missing in all swaggers that have its settings.
    """
    oldest = version == "2017-09-01-preview"
    if error.validator == "enum" and isinstance(error.instance, str):
        if error.instance == "pytorch":
            return True
        words = [str(word).lower() for word in error.validator_value]
        return (oldest or any_case) and error.instance.lower() in words
    if oldest and error.validator == "required":
        # The recordings of this version are of SDK 0.1.0, which said `credentialsInfo`.
        return "credentialsInfo" in error.instance or list(error.absolute_path)[-1:] == ["subnet"]
    return False


# By api-version and operation: the tests in whose calls it succeeded.
proven: dict[tuple[str, str], set[str]] = defaultdict(set)


def judge(version: str, method: str, path: str, request: Any, status: int, answer: Any, test: str) -> None:
    """Raise AssertionError when a successful call breaks the contract; note what it proves."""
    operation = operation_of(version, method, path)
    if operation is None or status >= 300:
        return
    assert str(status) in operation.answers, (operation.id, status)
    schema = operation.answers[str(status)]
    if answer is not None and schema is not None:
        broken = faults(version, schema, answer)
        assert not broken, (version, operation.id, broken)
    if operation.body is not None and request is not None:
        broken = faults(version, operation.body, request, any_case=True)
        assert not broken, (version, operation.id, "request", broken)
    proven[version, operation.id].add(test)
