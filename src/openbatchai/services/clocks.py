"""A clock that was set back: what is said to have happened later than now, happened now.

Nodes alone wait by the age of their state (idle time, pauses before a replacement). Without this one would
wait for as long as the clock went back. Limits of jobs are the agents', who count their own seconds.
"""

import logging
from datetime import datetime

from openbatchai.store import tables
from openbatchai.store.unit import Unit

from .context import Context

log = logging.getLogger(__name__)


def mend(context: Context) -> None:
    now = context.clock.now()
    ahead = tables.nodes.c.changed > now
    with context.store.read() as unit:
        if not unit.nodes.list(ahead, limit=1):
            return
    log.warning("the clock was set back: what waits for a time begins to wait anew")
    context.store.write(lambda unit: _begin_anew(unit, now))


def _begin_anew(unit: Unit, now: datetime) -> None:
    for node in unit.nodes.list(tables.nodes.c.changed > now):
        node.changed = now
        unit.nodes.save(node)
