"""`$filter`: which items of a list are kept.

Of ARM's own lists, the words that `az` and the SDKs send: `eq` and `ne` on name, resourceType, resourceGroup
and location, `tagName eq 'a' and tagValue eq 'b'`, `substringof('x', name)`,
`startswith(tagName, 'x')`, `and`, `or` and parentheses. Names of fields and functions in any case. Source:
the REST reference of Microsoft.Resources (Resources - List) and azure-cli's command_modules/resource.

The two older versions of Batch AI have `$filter` and `$select` in their lists, too; no client was recorded
with one. Here a filter compares any property (`name`, `properties/vmSize`, or `vmSize` for short) by the same
words, also with numbers, and a selection keeps the properties that it names.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from openbatchai.domain import ids
from openbatchai.domain.errors import Code, ServiceError

# What a filter sees of one item, with one of its tags at a time.
Facts = Mapping[str, str]
Test = Callable[[Facts], bool]

_FIELDS = ("name", "resourceType", "resourceGroup", "location", "tagName", "tagValue")
_BY_KEY = {field.lower(): field for field in _FIELDS}
_TOKEN = re.compile(r"\s*(?:'((?:[^']|'')*)'|([A-Za-z]\w*(?:[/.]\w+)*)|(-?\d+)|([(),]))")
# Beyond this a filter is no question any more; it also bounds the parser's recursion.
_DEPTH_LIMIT = 20


@dataclass(frozen=True)
class Filter:
    _test: Test

    def keeps(
        self,
        *,
        name: str,
        type_: str,
        group: str,
        location: str,
        tags: Mapping[str, str],
    ) -> bool:
        """Whether an item is kept: by itself, or with any one of its tags."""
        facts = {
            "name": ids.fold(name),
            "resourceType": ids.fold(type_),
            "resourceGroup": ids.fold(group),
            "location": ids.region(location),
        }
        pairs = [(ids.fold(tag), value) for tag, value in tags.items()] or [("", "")]
        return any(self._test({**facts, "tagName": tag, "tagValue": value}) for tag, value in pairs)


def parse(text: str) -> Filter:
    """Raises 400 InvalidFilterInQueryString. An empty text keeps everything."""
    if not text.strip():
        return Filter(lambda facts: True)
    return Filter(_Parser(text).whole())


def parse_of_properties(text: str) -> Callable[[Mapping[str, Any]], bool]:
    """A filter on resources as they are answered. Raises 400 InvalidFilterInQueryString."""
    if not text.strip():
        return lambda item: True
    test = _PropertyParser(text).whole()
    return lambda item: test(dict(_leaves(item, "")))


def _leaves(item: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    """Each plain value by its path, without `properties/` before it."""
    for name, value in item.items():
        where = path + name.lower()
        if isinstance(value, Mapping):
            yield from _leaves(value, "" if where == "properties" else f"{where}/")
        elif isinstance(value, bool):
            yield where, str(value).lower()
        elif isinstance(value, (str, int, float)):
            yield where, ids.fold(str(value))


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str]] = []
        place = 0
        while text[place:].strip():
            match = _TOKEN.match(text, place)
            if match is None:
                raise self.refusal()
            literal, word, number, sign = match.groups()
            if literal is not None:
                self._tokens.append(("text", literal.replace("''", "'")))
            elif number is not None:
                self._tokens.append(("number", number))
            else:
                self._tokens.append(("word", word) if word else ("sign", sign))
            place = match.end()
        self._next = 0

    fields = ", ".join(_FIELDS)

    def whole(self) -> Test:
        test = self.alternatives(0)
        if self.peek() is not None:
            raise self.refusal()
        return test

    def refusal(self) -> ServiceError:
        return ServiceError(
            400,
            Code.INVALID_FILTER,
            f"Invalid $filter '{self._text[:1000]}' specified in the query string. It may compare "
            f"{self.fields} by eq, ne, substringof and startswith, joined by and, or.",
            target="$filter",
        )

    def peek(self) -> tuple[str, str] | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def alternatives(self, depth: int) -> Test:
        tests = [self._conjunction(depth)]
        while self._takes_word("or"):
            tests.append(self._conjunction(depth))
        return lambda facts: any(test(facts) for test in tests)

    def _conjunction(self, depth: int) -> Test:
        tests = [self._term(depth)]
        while self._takes_word("and"):
            tests.append(self._term(depth))
        return lambda facts: all(test(facts) for test in tests)

    def _term(self, depth: int) -> Test:
        if depth > _DEPTH_LIMIT:
            raise self.refusal()
        if self.peek() == ("sign", "("):
            self._take("sign")
            test = self.alternatives(depth + 1)
            self._expect(")")
            return test
        word = self._take("word")
        if word.lower() == "substringof":
            self._expect("(")
            part = self._take("text")
            self._expect(",")
            field = self._field(self._take("word"))
            self._expect(")")
            wanted = _comparable(field, part)
            return lambda facts: wanted in facts.get(field, "")
        if word.lower() == "startswith":
            self._expect("(")
            field = self._field(self._take("word"))
            self._expect(",")
            start = _comparable(field, self._take("text"))
            self._expect(")")
            return lambda facts: facts.get(field, "").startswith(start)
        return self._comparison(self._field(word))

    def _comparison(self, field: str) -> Test:
        operator = self._take("word").lower()
        wanted = _comparable(field, self._value())
        if operator == "eq":
            return lambda facts: facts.get(field) == wanted
        # "Has a tag that is another one" is no question; "has it not" cannot be told from one tag.
        if operator == "ne" and not field.startswith("tag"):
            return lambda facts: facts.get(field) != wanted
        raise self.refusal()

    def _value(self) -> str:
        return self._take("text")

    def _field(self, word: str) -> str:
        if word.lower() not in _BY_KEY:
            raise self.refusal()
        return _BY_KEY[word.lower()]

    def _takes_word(self, word: str) -> bool:
        token = self.peek()
        if token is None or token[0] != "word" or token[1].lower() != word:
            return False
        self._next += 1
        return True

    def _take(self, kind: str) -> str:
        token = self.peek()
        if token is None or token[0] != kind:
            raise self.refusal()
        self._next += 1
        return token[1]

    def _expect(self, sign: str) -> None:
        if self._take("sign") != sign:
            raise self.refusal()


class _PropertyParser(_Parser):
    fields = "properties"

    def _field(self, word: str) -> str:
        path = word.lower().replace(".", "/")
        return path.removeprefix("properties/")

    def _value(self) -> str:
        """Numbers and truth values stand without quotes."""
        token = self.peek()
        kind = "text" if token is None else token[0]
        return self._take(kind if kind in ("number", "word") else "text")


def selected(item: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """Of a resource what a `$select` names, and what says which one it is; everything without one."""
    if not names:
        return dict(item)
    wanted = {name.replace(".", "/").removeprefix("properties/") for name in names}
    found = {name: value for name, value in item.items() if name.lower() in wanted | {"id", "name", "type"}}
    inner = {name: value for name, value in item["properties"].items() if name.lower() in wanted}
    return found | ({"properties": inner} if inner and "properties" not in found else {})


def selection(text: str) -> frozenset[str]:
    return frozenset(name.strip().lower() for name in text.split(",") if name.strip())


def _comparable(field: str, text: str) -> str:
    """Everything is compared without regard to case but the values of tags."""
    if field == "tagValue":
        return text
    return ids.region(text) if field == "location" else ids.fold(text)
