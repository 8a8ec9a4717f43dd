"""Long-running operations as pollers see them."""

from openbatchai.domain.errors import Code, ServiceError
from openbatchai.domain.model import Operation

from .context import Context


def get(context: Context, operation_id: str) -> Operation:
    """Raises 404 for an unknown id."""
    with context.store.read() as unit:
        found = unit.operations.get(id=operation_id.lower())
    if found is None:
        raise ServiceError(404, Code.RESOURCE_NOT_FOUND, f"The operation {operation_id} is not found.")
    return found
