"""`$filter` of ARM's own lists: which resources or groups it keeps.

The words that `az` and the SDKs send: `eq` and `ne` on name, resourceType, resourceGroup and location,
`tagName eq 'a' and tagValue eq 'b'`, `substringof('x', name)`, `startswith(tagName, 'x')`, `and`, `or` and
parentheses. Names of fields and functions in any case. Source: the REST reference of Microsoft.Resources
(Resources - List) and azure-cli's command_modules/resource.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from openbatchai.domain import ids
from openbatchai.domain.errors import Code, ServiceError

# What a filter sees of one item, with one of its tags at a time.
Facts = Mapping[str, str]
Test = Callable[[Facts], bool]

_FIELDS = ("name", "resourceType", "resourceGroup", "location", "tagName", "tagValue")
_BY_KEY = {field.lower(): field for field in _FIELDS}
_TOKEN = re.compile(r"\s*(?:'((?:[^']|'')*)'|([A-Za-z]\w*)|([(),]))")
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
    parser = _Parser(text)
    test = parser.alternatives(0)
    if parser.peek() is not None:
        raise parser.refusal()
    return Filter(test)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str]] = []
        place = 0
        while text[place:].strip():
            match = _TOKEN.match(text, place)
            if match is None:
                raise self.refusal()
            literal, word, sign = match.groups()
            if literal is not None:
                self._tokens.append(("text", literal.replace("''", "'")))
            else:
                self._tokens.append(("word", word) if word else ("sign", sign))
            place = match.end()
        self._next = 0

    def refusal(self) -> ServiceError:
        return ServiceError(
            400,
            Code.INVALID_FILTER,
            f"Invalid $filter '{self._text[:1000]}' specified in the query string. It may compare "
            f"{', '.join(_FIELDS)} by eq, ne, substringof and startswith, joined by and, or.",
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
            return lambda facts: wanted in facts[field]
        if word.lower() == "startswith":
            self._expect("(")
            field = self._field(self._take("word"))
            self._expect(",")
            start = _comparable(field, self._take("text"))
            self._expect(")")
            return lambda facts: facts[field].startswith(start)
        return self._comparison(self._field(word))

    def _comparison(self, field: str) -> Test:
        operator = self._take("word").lower()
        wanted = _comparable(field, self._take("text"))
        if operator == "eq":
            return lambda facts: facts[field] == wanted
        # "Has a tag that is another one" is no question; "has it not" cannot be told from one tag.
        if operator == "ne" and not field.startswith("tag"):
            return lambda facts: facts[field] != wanted
        raise self.refusal()

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


def _comparable(field: str, text: str) -> str:
    """Everything is compared without regard to case but the values of tags."""
    if field == "tagValue":
        return text
    return ids.region(text) if field == "location" else ids.fold(text)
