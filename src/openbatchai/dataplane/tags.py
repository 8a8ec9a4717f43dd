"""Blob index tags: what a set of them may be, and the expressions that ask for them (storage.md 5.3). Pure.

The grammar is the service's: comparisons of a tag with a quoted value, joined by AND; a condition
(`x-ms-if-tags`) also knows OR, `<>` and parentheses, a search (`where`) also `@container`.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from openbatchai.dataplane.errors import StorageCode, StorageError

_MOST_TAGS = 10
_KEY_CHARS = 128
_VALUE_CHARS = 256
_ALLOWED = re.compile(r"[A-Za-z0-9 +\-./:=_]*", re.ASCII)
_MOST_DEPTH = 20
# Parsed conditions are kept for the next request, so none may be large.
_MOST_CHARS = 8 << 10
_TOKEN = re.compile(
    r"""\s*(?:(?P<open>\()|(?P<close>\))|(?P<operator><>|<=|>=|<|>|=)|"(?P<quoted>[^"]*)"|'(?P<value>[^']*)'"""
    r"""|(?P<word>@?[A-Za-z_][A-Za-z0-9_]*))""",
    re.ASCII,
)
_OPERATORS: Mapping[str, Callable[[str, str], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
CONTAINER = "@container"


def check_tags(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """The tags as a mapping; StorageError (400) when they break a rule of the service."""
    if len(pairs) > _MOST_TAGS:
        raise StorageError(StorageCode.TAGS_TOO_LARGE)
    tags: dict[str, str] = {}
    for key, value in pairs:
        if not key:
            raise StorageError(StorageCode.EMPTY_TAG_NAME)
        if len(key) > _KEY_CHARS or len(value) > _VALUE_CHARS:
            raise StorageError(StorageCode.TAGS_TOO_LARGE)
        if not (_ALLOWED.fullmatch(key) and _ALLOWED.fullmatch(value)):
            raise StorageError(StorageCode.INVALID_TAG)
        if key in tags:
            raise StorageError(StorageCode.DUPLICATE_TAG_NAMES)
        tags[key] = value
    return tags


@dataclass(frozen=True)
class Comparison:
    """`key operator 'value'`; a blob without the tag matches none."""

    key: str
    operator: str
    value: str

    def matches(self, tags: Mapping[str, str]) -> bool:
        found = tags.get(self.key)
        return found is not None and _OPERATORS[self.operator](found, self.value)


@dataclass(frozen=True)
class Joined:
    """Several terms, all of which must hold, or with `any` one of them."""

    terms: tuple["Term", ...]
    any: bool = False

    def matches(self, tags: Mapping[str, str]) -> bool:
        results = (term.matches(tags) for term in self.terms)
        return any(results) if self.any else all(results)


Term = Comparison | Joined


@dataclass(frozen=True)
class Search:
    """A parsed `where`: the container it names ("" for all), and comparisons that must all hold."""

    container: str
    comparisons: tuple[Comparison, ...]

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(comparison.key for comparison in self.comparisons)

    def matches(self, tags: Mapping[str, str]) -> bool:
        return all(comparison.matches(tags) for comparison in self.comparisons)


def parse_search(text: str) -> Search:
    """The `where` of Find Blobs by Tags; InvalidQueryParameterValue when it is none."""
    try:
        tokens = _Tokens(text)
        comparisons = [tokens.comparison()]
        while not tokens.at_end:
            tokens.take_word("AND")
            comparisons.append(tokens.comparison())
        return _search(comparisons)
    except _MalformedError as error:
        raise StorageError(
            StorageCode.INVALID_QUERY,
            f"Error parsing query at or near character position {error.position}: {error}",
            detail={"QueryParameterName": "where", "QueryParameterValue": text, "Reason": str(error)},
        ) from None


@lru_cache(maxsize=256)
def parse_condition(text: str) -> Term:
    """The value of `x-ms-if-tags`; InvalidHeaderValue when it is none."""
    try:
        tokens = _Tokens(text)
        term = _either(tokens, 0)
        if not tokens.at_end:
            raise tokens.malformed("unexpected text")
        return term
    except _MalformedError as error:
        raise StorageError(
            StorageCode.INVALID_HEADER,
            detail={"HeaderName": "x-ms-if-tags", "HeaderValue": text, "Reason": str(error)},
        ) from None


def _search(comparisons: list[Comparison]) -> Search:
    containers = [each for each in comparisons if each.key == CONTAINER]
    others = tuple(each for each in comparisons if each.key != CONTAINER)
    if any(each.operator == "<>" for each in comparisons):
        raise _MalformedError("unexpected operator '<>'", 0)
    if len(containers) > 1 or any(each.operator != "=" for each in containers):
        raise _MalformedError(f"{CONTAINER} may be compared once, by =", 0)
    return Search(containers[0].value if containers else "", others)


def _either(tokens: "_Tokens", depth: int) -> Term:
    terms = [_both(tokens, depth)]
    while tokens.next_is_word("OR"):
        tokens.take_word("OR")
        terms.append(_both(tokens, depth))
    return terms[0] if len(terms) == 1 else Joined(tuple(terms), any=True)


def _both(tokens: "_Tokens", depth: int) -> Term:
    terms = [_factor(tokens, depth)]
    while tokens.next_is_word("AND"):
        tokens.take_word("AND")
        terms.append(_factor(tokens, depth))
    return terms[0] if len(terms) == 1 else Joined(tuple(terms))


def _factor(tokens: "_Tokens", depth: int) -> Term:
    if not tokens.next_is("open"):
        return tokens.comparison()
    if depth >= _MOST_DEPTH:
        raise tokens.malformed("nested too deeply")
    tokens.take("open")
    term = _either(tokens, depth + 1)
    tokens.take("close")
    return term


class _MalformedError(ValueError):
    def __init__(self, reason: str, position: int) -> None:
        super().__init__(reason)
        self.position = position


class _Tokens:
    """The tokens of an expression, taken one after the other."""

    def __init__(self, text: str) -> None:
        self._found: list[tuple[str, str, int]] = []
        self._at = 0
        self._length = len(text)
        position, end = 0, len(text.rstrip())
        if end > _MOST_CHARS:
            raise _MalformedError("the expression is too long", _MOST_CHARS)
        while position < end:
            match = _TOKEN.match(text, position)
            if match is None or match.lastgroup is None:
                raise _MalformedError("unexpected text", position + 1)
            self._found.append((match.lastgroup, match[match.lastgroup], match.start() + 1))
            position = match.end()

    @property
    def at_end(self) -> bool:
        return self._at >= len(self._found)

    def malformed(self, reason: str) -> _MalformedError:
        position = self._length if self.at_end else self._found[self._at][2]
        return _MalformedError(reason, position)

    def next_is(self, kind: str) -> bool:
        return not self.at_end and self._found[self._at][0] == kind

    def next_is_word(self, word: str) -> bool:
        return self.next_is("word") and self._found[self._at][1].upper() == word

    def take(self, *kinds: str) -> str:
        if self.at_end or self._found[self._at][0] not in kinds:
            raise self.malformed("unexpected end" if self.at_end else "unexpected text")
        text = self._found[self._at][1]
        self._at += 1
        return text

    def take_word(self, word: str) -> None:
        if not self.next_is_word(word):
            raise self.malformed(f"expected {word}")
        self._at += 1

    def comparison(self) -> Comparison:
        key = self.take("word", "quoted")
        if not key:
            raise self.malformed("a tag's name is empty")
        if key.startswith("@") and key != CONTAINER:
            raise self.malformed(f"unknown property {key}")
        sign = self.take("operator")
        return Comparison(key, sign, self.take("value"))
