"""`$NAME` and `${NAME}` in paths and variables; an unknown name expands to nothing, as in a shell."""

import re

_REFERENCE = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")


def expand(text: str, variables: dict[str, str]) -> str:
    return _REFERENCE.sub(lambda found: variables.get(found[1] or found[2], ""), text)


def extended(variables: dict[str, str], additions: dict[str, str]) -> dict[str, str]:
    """`variables` plus `additions`, each of which may refer to all before it."""
    result = dict(variables)
    for name, value in additions.items():
        result[name] = expand(value, result)
    return result
