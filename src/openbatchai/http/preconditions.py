"""If-Match and If-None-Match against the ETags that the resources of Batch AI have (RFC 9110 section 13).

For a change the comparison is part of its transaction: between the two nobody else can change the resource.
"""

from collections.abc import Mapping
from dataclasses import replace

from openbatchai.domain.errors import Code, ServiceError
from openbatchai.services import etags
from openbatchai.store.unit import Unit

from .calls import Answer, Call

_CHANGES = ("PUT", "PATCH", "DELETE")


def applied(call: Call, names: Mapping[str, str]) -> Call:
    """The call, whose change is refused with 412 when a condition of its headers does not hold."""
    wanted, unwanted = call.headers.get("if-match"), call.headers.get("if-none-match")
    if call.method not in _CHANGES or (wanted is None and unwanted is None):
        return call
    kind = call.path.rstrip("/").split("/")[-2].lower()

    checked = False

    def check(unit: Unit) -> None:
        """In the first transaction of the request: in a second one it would meet its own change."""
        nonlocal checked
        if checked:
            return
        checked = True
        current = etags.current(unit, kind, names)
        if wanted is not None and not _names(wanted, current):
            raise _failed("If-Match", wanted)
        if unwanted is not None and _names(unwanted, current):
            raise _failed("If-None-Match", unwanted)

    return replace(call, context=replace(call.context, store=call.context.store.guarded(check)))


def unchanged(call: Call, answer: Answer) -> bool:
    """Whether the client has what it asks for: 304."""
    unwanted = call.headers.get("if-none-match")
    if call.method not in ("GET", "HEAD") or unwanted is None or "ETag" not in answer.headers:
        return False
    return _names(unwanted, answer.headers["ETag"].strip('"'))


def _names(header: str, etag: str | None) -> bool:
    """Whether a list of entity tags, or `*`, names the current one; None: there is no resource."""
    if etag is None:
        return False
    if header.strip() == "*":
        return True
    return etag in (item.strip().removeprefix("W/").strip('"') for item in header.split(","))


def _failed(name: str, value: str) -> ServiceError:
    return ServiceError(
        412,
        Code.PRECONDITION_FAILED,
        f"The condition of the header {name}: {value[:200]} is not met.",
        target=name,
    )
