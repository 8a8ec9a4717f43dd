"""What ARM lists as resources: those that have a location and tags of their own.

In api-version 2018-05-01, our model, clusters, file servers, experiments and jobs are parts of a workspace
and have neither (batchai-service.md section 5), so they are not listed.
"""

from openbatchai.domain.model import Tracked
from openbatchai.store.unit import Unit

from .context import Context, group


def listing(context: Context, group_name: str | None = None) -> list[Tracked]:
    """In one group, or everywhere. Raises 404 ResourceGroupNotFound."""
    with context.store.read() as unit:
        where = {} if group_name is None else {"group_key": group(unit, group_name).key}
        return [*_workspaces(unit, where), *_accounts(unit, where)]


def _workspaces(unit: Unit, where: dict[str, str]) -> list[Tracked]:
    return [
        Tracked(
            type="Microsoft.BatchAI/workspaces",
            group=row.group_name,
            name=row.name,
            location=row.location,
            tags=row.tags,
            kind="",
            sku="",
            deleting=row.deleting,
            created=row.created,
            changed=row.changed,
        )
        for row in unit.workspaces.list(order=unit.workspaces.table.c.id, **where)
    ]


def _accounts(unit: Unit, where: dict[str, str]) -> list[Tracked]:
    return [
        Tracked(
            type="Microsoft.Storage/storageAccounts",
            group=row.group_name,
            name=row.name,
            location=row.location,
            tags=row.tags,
            kind=row.kind,
            sku=row.sku,
            deleting=False,
            created=row.created,
            changed=row.created,
        )
        for row in unit.accounts.list(order=unit.accounts.table.c.key, **where)
    ]
