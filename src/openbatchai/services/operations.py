"""Long-running operations as pollers see them."""

import uuid

from openbatchai.domain.errors import Code, ServiceError
from openbatchai.domain.model import Operation

from .context import Context


def add_done(context: Context, resource: tuple[str, ...], location: str) -> Operation:
    """The operation of a create, which is over when it is answered; `resource` are the names of its id."""
    now = context.clock.now()
    done = Operation(
        id=str(uuid.uuid4()),
        kind="create",
        target=0,
        target_key="",
        resource_id="$".join((context.subscription, *resource)),
        location=location,
        started=now,
        ended=now,
    )
    return context.store.write(lambda unit: unit.operations.add(done))


def get(context: Context, operation_id: str) -> Operation:
    """Raises 404 for an unknown id."""
    with context.store.read() as unit:
        found = unit.operations.get(id=operation_id.lower())
    if found is None:
        raise ServiceError(404, Code.RESOURCE_NOT_FOUND, f"The operation {operation_id} is not found.")
    return found
