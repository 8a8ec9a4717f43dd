"""What all of ARM has in common on the wire: times, errors, lists and long-running operations.

Sources: shared/reference/batchai-service.md sections 4 to 6, clients.md sections 5 to 7.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from openbatchai.domain import ids
from openbatchai.domain.errors import ServiceError
from openbatchai.domain.model import Operation

Json = dict[str, Any]

COMMON_HEADERS = {
    "Cache-Control": "no-cache",
    "Pragma": "no-cache",
    "Expires": "-1",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "Vary": "Accept-Encoding",
}

# Older pollers sleep this long before their first poll, all between later ones (clients.md section 0).
ACCEPTED_RETRY_AFTER = "0"
POLL_RETRY_AFTER = "1"


def instant(time: datetime) -> str:
    """UTC with `Z`, up to milliseconds, trailing zeros trimmed (`20:46:58.9Z`)."""
    utc = time if time.tzinfo is UTC else time.astimezone(UTC)
    fraction = f".{utc.microsecond // 1000:03d}".rstrip("0").rstrip(".")
    return f"{utc.isoformat()[:19]}{fraction}Z"


def parsed_instant(text: str) -> datetime:
    """A time of ISO 8601 as UTC, which it is in when it does not say. Raises ValueError."""
    time = datetime.fromisoformat(text)
    try:
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError(f"{text!r} is no time in UTC") from None


def http_date(time: datetime) -> str:
    return format_datetime(time.astimezone(UTC), usegmt=True)


def resource_headers(etag: str, modified: datetime) -> dict[str, str]:
    """ETag and Last-Modified of a single-resource answer; they change on client writes only."""
    return {"ETag": f'"{etag}"', "Last-Modified": http_date(modified)}


def error_body(error: ServiceError) -> Json:
    body: Json = {"code": str(error.code), "message": error.message}
    if error.target is not None:
        body["target"] = error.target
    if error.details:
        body["details"] = [
            without_none({"code": str(d.code), "message": d.message, "target": d.target})
            for d in error.details
        ]
    return {"error": body}


def list_body(items: Iterable[Json], next_link: str | None = None) -> Json:
    body: Json = {"value": list(items)}
    return body | {"nextLink": next_link} if next_link else body


def without_none(value: Json) -> Json:
    return {name: item for name, item in value.items() if item is not None}


def operation_headers(base: str, provider_path: str, operation: Operation, version: str) -> dict[str, str]:
    """Headers of the accepting 202. The two path words look swapped, and that is how it was recorded;
    2017-09-01-preview had `operationresults` in both."""
    root = f"{base}{provider_path}/locations/{ids.region(operation.location)}"
    location_word = "operationresults" if version == "2017-09-01-preview" else "operationstatuses"
    return {
        "Azure-AsyncOperation": f"{root}/operationresults/{operation.id}?api-version={version}",
        "Location": f"{root}/{location_word}/{operation.id}?api-version={version}",
        "Retry-After": ACCEPTED_RETRY_AFTER,
    }


def operation_status(url: str, operation: Operation) -> Json:
    """Body of a poll: InProgress, Succeeded or Failed."""
    body: Json = {"id": url, "name": operation.id, "startTime": instant(operation.started)}
    if operation.ended is None:
        return body | {"status": "InProgress"}
    body["endTime"] = instant(operation.ended)
    if operation.error is not None:
        return body | {"status": "Failed", "error": operation.error}
    return body | {"status": "Succeeded", "properties": {"resourceId": operation.resource_id}}
