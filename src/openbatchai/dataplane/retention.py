"""For how long an account keeps what is deleted of its blobs. Pure."""

import re

_POLICY = re.compile(r"<DeleteRetentionPolicy>(.*?)</DeleteRetentionPolicy>", re.DOTALL)
_DAYS = re.compile(r"<Days>(\d{1,3})</Days>", re.ASCII)


def deletion_days(properties: str | None) -> int:
    """From the stored service properties; 0 when soft deletion is off."""
    policy = _POLICY.search(properties or "")
    if policy is None or "<Enabled>true</Enabled>" not in policy[1]:
        return 0
    days = _DAYS.search(policy[1])
    return int(days[1]) if days else 0
