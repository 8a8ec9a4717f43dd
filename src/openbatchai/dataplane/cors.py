"""Cross-origin rules of a storage service: what a browser's page of another origin may do.

The rules are tried in order and the first that fits counts; authorisation is a matter of its own
(learn.microsoft.com, "CORS support for Azure Storage").
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class CorsRule:
    """`origins` are exact, `*`, or `scheme://*.domain`; header names may end in `*`. `allowed_headers` are
    lower-case."""

    origins: tuple[str, ...]
    methods: tuple[str, ...]
    allowed_headers: tuple[str, ...]
    exposed_headers: tuple[str, ...]
    max_age_s: int

    def fits(self, origin: str, method: str) -> bool:
        return method in self.methods and any(_is_origin(rule, origin) for rule in self.origins)


def preflight(
    rules: Sequence[CorsRule], origin: str, method: str, headers: Iterable[str]
) -> dict[str, str] | None:
    """The headers that allow the announced request; None when no rule does."""
    wanted = [name.lower() for name in headers]
    for rule in rules:
        if rule.fits(origin, method) and all(_is_named(rule.allowed_headers, name) for name in wanted):
            found = _allowed(rule, origin)
            found["Access-Control-Allow-Methods"] = method
            if wanted:
                found["Access-Control-Allow-Headers"] = ",".join(wanted)
            found["Access-Control-Max-Age"] = str(rule.max_age_s)
            return found
    return None


def actual(rules: Sequence[CorsRule], origin: str, method: str, answered: Iterable[str]) -> dict[str, str]:
    """The headers of the answer itself; `answered` are the names of the others it carries. Caches are told
    that answers differ by origin wherever a rule names one."""
    varies = method in ("GET", "HEAD") and any(rule.origins != ("*",) for rule in rules)
    vary = {"Vary": "Origin"} if varies else {}
    rule = next((rule for rule in rules if origin and rule.fits(origin, method)), None)
    if rule is None:
        return vary
    exposed = [name for name in rule.exposed_headers if not name.endswith("*")]
    exposed += [name for name in answered if _is_named(_lower(rule.exposed_headers), name.lower())]
    shown = {"Access-Control-Expose-Headers": ",".join(dict.fromkeys(exposed))} if exposed else {}
    return {**_allowed(rule, origin), **shown, **vary}


def _allowed(rule: CorsRule, origin: str) -> dict[str, str]:
    if "*" in rule.origins:
        return {"Access-Control-Allow-Origin": "*"}
    return {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true"}


def _is_origin(rule: str, origin: str) -> bool:
    scheme, star, domain = rule.partition("://*.")
    if star:
        return origin.startswith(f"{scheme}://") and origin.endswith(f".{domain}")
    return rule in ("*", origin)


def _is_named(patterns: Iterable[str], name: str) -> bool:
    return any(name == each or (each.endswith("*") and name.startswith(each[:-1])) for each in patterns)


def _lower(names: Iterable[str]) -> list[str]:
    return [name.lower() for name in names]
