"""The headers by which a request is followed through ARM, and its counters.

Sources: ARM's common client request and response headers; the counters of batchai-service.md section 5.
"""

import re
import uuid
from datetime import UTC, datetime

from starlette.requests import Request

# What a client may have written back to it; anything else is replaced by an id of ours.
_ID = re.compile(r"[-\w.:{}]{1,128}")
# Nothing is limited here; some clients log what is left.
_LEFT = {"reads": "11999", "writes": "1199", "deletes": "14999"}


def headers(request: Request) -> dict[str, str]:
    request_id = str(uuid.uuid4())
    given = request.headers.get("x-ms-correlation-request-id", "")
    correlation = given if _ID.fullmatch(given) else request_id
    kind = {"GET": "reads", "HEAD": "reads", "DELETE": "deletes"}.get(request.method, "writes")
    level = "subscription" if request.scope["path"].lower().startswith("/subscriptions/") else "tenant"
    found = {
        "x-ms-request-id": request_id,
        "request-id": request_id,
        "x-ms-correlation-request-id": correlation,
        "x-ms-routing-request-id": f"LOCAL:{datetime.now(UTC):%Y%m%dT%H%M%SZ}:{correlation}",
        f"x-ms-ratelimit-remaining-{level}-{kind}": _LEFT[kind],
    }
    client_id = request.headers.get("x-ms-client-request-id", "")
    if (
        _ID.fullmatch(client_id)
        and request.headers.get("x-ms-return-client-request-id", "").lower() == "true"
    ):
        found["x-ms-client-request-id"] = client_id
    return found
