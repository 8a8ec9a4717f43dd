"""Configuration files: named values in sections, with variables and overrides from the command line.

A value is kept as text until somebody asks for it, since what it means depends on who asks: a number, a list
such as 0.001*10:0.0005, a section, or a network description.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_OPEN, _CLOSE = "{[(", "}])"
_NAME = re.compile(r"[A-Za-z_]\w*")
_VARIABLE = re.compile(r"\$([A-Za-z_]\w*)\$")
_DEPTH = 20  # of variables in variables


class ConfigError(ValueError):
    """A configuration that cannot be understood, with what is wrong."""


def without_comments(text: str) -> str:
    """The text with `#` and `//` comments removed, line ends kept."""
    lines = []
    for line in text.split("\n"):
        quote = ""
        end = len(line)
        for i, character in enumerate(line):
            if quote:
                quote = "" if character == quote else quote
            elif character in "\"'":
                quote = character
            elif character == "#" or (line.startswith("//", i) and line[i - 1 : i] in ("", " ", "\t", ";")):
                end = i
                break
        lines.append(line[:end])
    return "\n".join(lines)


def items(text: str) -> Iterator[tuple[str, str]]:
    """(what stands left of the first `=`, what stands right) of every item of a section's inside.

    Items end at a line end or `;` outside of brackets and quotes.  Raises ConfigError for brackets that do
    not match and for text that is no item.
    """
    start, depth, quote = 0, [], ""
    pieces = []
    for i, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in _OPEN:
            depth.append(_CLOSE[_OPEN.index(character)])
        elif character in _CLOSE:
            if not depth or depth.pop() != character:
                raise ConfigError(f"unexpected '{character}' in: {text[max(i - 40, 0) : i + 1].strip()}")
        elif character in "\n;" and not depth:
            pieces.append((text[start:i], character))
            start = i + 1
    if depth or quote:
        raise ConfigError(f"'{quote or depth[-1]}' is missing at the end of: {text[-60:].strip()}")
    pieces.append((text[start:], "\n"))
    pending = ""
    for piece, end in pieces:
        pending = f"{pending} {piece.strip()}".strip()
        name, equals, value = _split(pending)
        if not pending:
            continue
        if end == "\n" and (not equals or not value or value.endswith((":", "=>", "+", "*", "=", ","))):
            continue  # goes on in the next line
        if not equals:
            raise ConfigError(f"not an assignment: {pending}")
        yield name, value
        pending = ""
    if pending:
        raise ConfigError(f"not an assignment: {pending}")


def _split(item: str) -> tuple[str, str, str]:
    """(name, "=", value): the first `=` that is outside of brackets and no part of `=>`."""
    depth = 0
    for i, character in enumerate(item):
        depth += (character in _OPEN) - (character in _CLOSE)
        if character == "=" and depth == 0 and item[i + 1 : i + 2] != ">":
            return item[:i].strip(), "=", item[i + 1 :].strip()
    return item, "", ""


class Section:
    """Named values; names do not distinguish case, and what a section lacks its parent may have."""

    def __init__(self, parent: Section | None = None):
        self._parent = parent
        self._values: dict[str, str] = {}
        self._sections: dict[str, Section] = {}
        self._written: dict[str, str] = {}

    def read(self, text: str) -> None:
        """Take over the items of a text; later ones replace earlier ones."""
        for name, value in items(text):
            self.set(name, value)

    def set(self, name: str, value: str) -> None:
        key = name.lower()
        inside = value[1:-1] if value[:1] in "{[" and value[-1:] in "}]" and value else None
        described = key in ("brainscriptnetworkbuilder", "networkbuilder")
        if inside is None or described or not _NAME.fullmatch(name):
            self._values[key] = value
            self._sections.pop(key, None)
            return
        self._written[key] = name
        self._sections.setdefault(key, Section(self)).read(inside)

    def names(self) -> list[str]:
        """The names of the sections in this one, as they were written."""
        return [self._written[key] for key in self._sections]

    def has(self, name: str) -> bool:
        return self._find(name) is not None

    def _find(self, name: str) -> Section | None:
        key = name.lower()
        section: Section | None = self
        while section is not None:
            if key in section._values or key in section._sections:
                return section
            section = section._parent
        return None

    def section(self, name: str) -> Section | None:
        """A section of this one (not of its parents)."""
        return self._sections.get(name.lower())

    def raw(self, name: str) -> str:
        """A value's text with its variables filled in.  Raises ConfigError when there is none."""
        owner = self._find(name)
        if owner is None or name.lower() not in owner._values:
            raise ConfigError(f"the configuration has no value '{name}'")
        return owner._expanded(owner._values[name.lower()], _DEPTH)

    def _expanded(self, text: str, depth: int) -> str:
        if depth == 0:
            raise ConfigError(f"variables refer to each other without end: {text}")

        def fill(match: re.Match[str]) -> str:
            owner = self._find(match[1])
            if owner is None or match[1].lower() not in owner._values:
                raise ConfigError(f"the variable ${match[1]}$ is not defined")
            return unquoted(owner._expanded(owner._values[match[1].lower()], depth - 1))

        return _VARIABLE.sub(fill, text)

    def text(self, name: str, default: str | None = None) -> str:
        """A string, without its quotes."""
        if default is not None and not self.has(name):
            return default
        return unquoted(self.raw(name))

    def integer(self, name: str, default: int | None = None) -> int:
        if default is not None and not self.has(name):
            return default
        return int(self._number(name, self.text(name)))

    def boolean(self, name: str, default: bool = False) -> bool:
        value = self.text(name, str(default)).lower()
        if value not in ("true", "false", "1", "0"):
            raise ConfigError(f"{name} must be true or false, not {value}")
        return value in ("true", "1")

    def numbers(self, name: str, default: str | None = None) -> list[tuple[int, float]]:
        """A list such as 0.001*10:0.0005 as (how many epochs, value); the last value goes on for ever."""
        result = []
        for part in self.text(name, default).split(":"):
            value, _, count = part.partition("*")
            result.append((int(self._number(name, count or "1")), self._number(name, value)))
        return result

    @staticmethod
    def _number(name: str, text: str) -> float:
        try:
            return float(text)
        except ValueError:
            raise ConfigError(f"{name} must be a number, not '{text.strip()}'") from None


def unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def load(files: Iterable[str], overrides: Iterable[str]) -> Section:
    """The configuration of some files' texts, with `name=value` overrides.  Raises ConfigError."""
    root = Section()
    for text in files:
        root.read(without_comments(text))
    for override in overrides:
        name, equals, value = override.partition("=")
        if not equals or not _NAME.fullmatch(name.strip()):
            raise ConfigError(f"the argument '{override}' is not of the form name=value")
        root.set(name.strip(), value.strip())
    return root
