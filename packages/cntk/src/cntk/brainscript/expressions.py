"""Expressions of network descriptions: parsing them, and evaluating them by name and on demand."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from .config import ConfigError, items

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\.\d+)|(?P<name>[A-Za-z_]\w*)|(?P<string>\"[^\"]*\"|'[^']*')"
    r"|(?P<operator>=>|\.\*|[-+*/:(),={}\[\].;\n]))"
)
_DEPTH = 60

Value = Any


class Scope:
    """Names and what they stand for, evaluated when first asked for; an inner scope sees the outer one."""

    def __init__(self, outer: Scope | None, values: Mapping[str, Value] | None = None):
        self._outer = outer
        self._known: dict[str, Value] = dict(values or {})
        self._open: dict[str, Callable[[], Value]] = {}
        self._busy: set[str] = set()

    def define(self, name: str, make: Callable[[], Value]) -> None:
        self._open[name] = make

    def names(self) -> list[str]:
        return [*self._open, *self._known]

    def get(self, name: str) -> Value:
        """Raises ConfigError for a name that is unknown or needs itself."""
        if name in self._known:
            return self._known[name]
        if name in self._open:
            if name in self._busy or len(self._busy) > _DEPTH:
                raise ConfigError(f"'{name}' is defined by itself")
            self._busy.add(name)
            try:
                self._known[name] = named(self._open[name](), name)
            finally:
                self._busy.discard(name)
            return self._known[name]
        if self._outer is None:
            raise ConfigError(f"'{name}' is not defined")
        return self._outer.get(name)


def named(value: Value, name: str) -> Value:
    """Give a network node the name it is defined by (see `layers.Node`)."""
    give = getattr(value, "named", None)
    return give(name) if give is not None else value


@dataclass
class _Tokens:
    tokens: list[tuple[str, str]]
    position: int = 0

    def peek(self, ahead: int = 0) -> tuple[str, str]:
        index = self.position + ahead
        return self.tokens[index] if index < len(self.tokens) else ("end", "")

    def take(self) -> tuple[str, str]:
        token = self.peek()
        self.position += 1
        return token

    def accept(self, *texts: str) -> str | None:
        kind, text = self.peek()
        if kind == "operator" and text in texts:
            self.position += 1
            return text
        return None

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise ConfigError(f"'{text}' expected before '{self.peek()[1] or 'the end'}'")


def _tokenize(text: str) -> list[tuple[str, str]]:
    tokens, at = [], 0
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ConfigError(f"cannot read: {text[at : at + 30].strip()}")
        kind = match.lastgroup or ""
        tokens.append((kind, match[kind]))
        at = match.end()
    return tokens


Expression = Callable[[Scope], Value]


class _Parser:
    """Recursive descent; every rule returns a function of the scope."""

    def __init__(self, text: str, operations: Mapping[str, Callable[[Value, Value], Value]]):
        self._tokens = _Tokens(_tokenize(text))
        self._operations = operations
        self._depth = 0

    def whole(self) -> Expression:
        result = self.expression()
        if self._tokens.peek()[0] != "end":
            raise ConfigError(f"unexpected '{self._tokens.peek()[1]}'")
        return result

    def expression(self) -> Expression:
        self._depth += 1
        if self._depth > _DEPTH:
            raise ConfigError("an expression is nested too deeply")
        try:
            name, arrow = self._tokens.peek(), self._tokens.peek(1)
            if name[0] == "name" and arrow == ("operator", "=>"):
                self._tokens.position += 2
                body = self.expression()
                return lambda scope: function([name[1]], body, scope)
            first = self._sum()
            if not self._tokens.accept(":"):
                return first
            parts = [first, self._sum()]
            while self._tokens.accept(":"):
                parts.append(self._sum())
            return lambda scope: [part(scope) for part in parts]
        finally:
            self._depth -= 1

    def _binary(self, next_rule: Callable[[], Expression], *operators: str) -> Expression:
        left = next_rule()
        while operator := self._tokens.accept(*operators):
            left = self._apply(self._operations[operator], left, next_rule())
        return left

    @staticmethod
    def _apply(operation: Callable[[Value, Value], Value], left: Expression, right: Expression) -> Expression:
        return lambda scope: operation(left(scope), right(scope))

    def _sum(self) -> Expression:
        return self._binary(self._product, "+", "-")

    def _product(self) -> Expression:
        return self._binary(self._unary, "*", "/", ".*")

    def _unary(self) -> Expression:
        if self._tokens.accept("-"):
            inner = self._unary()
            return lambda scope: self._operations["-"](0.0, inner(scope))
        return self._postfix()

    def _postfix(self) -> Expression:
        result = self._primary()
        while True:
            if self._tokens.accept("("):
                result = self._call(result, ")")
            elif self._tokens.accept("{"):
                result = self._call(result, "}")
            elif self._tokens.peek() == ("operator", ".") and self._tokens.peek(1)[0] == "name":
                self._tokens.position += 1
                result = self._member(result, self._tokens.take()[1])
            else:
                return result

    @staticmethod
    def _member(owner: Expression, name: str) -> Expression:
        def run(scope: Scope) -> Value:
            value = owner(scope)
            if not isinstance(value, Scope):
                raise ConfigError(f"'.{name}' of something that has no members")
            return value.get(name)

        return run

    def _call(self, called: Expression, end: str) -> Expression:
        positional: list[Expression] = []
        keywords: dict[str, Expression] = {}
        while not self._tokens.accept(end):
            if self._tokens.peek()[0] == "name" and self._tokens.peek(1) == ("operator", "="):
                name = self._tokens.take()[1]
                self._tokens.take()
                keywords[name] = self.expression()
            else:
                positional.append(self.expression())
            if not self._tokens.accept(",") and self._tokens.peek() != ("operator", end):
                raise ConfigError(f"'{end}' or ',' expected before '{self._tokens.peek()[1] or 'the end'}'")

        def run(scope: Scope) -> Value:
            target = called(scope)
            if not callable(target):
                raise ConfigError("something that is no function is called")
            try:
                return target(
                    *[part(scope) for part in positional],
                    **{name: part(scope) for name, part in keywords.items()},
                )
            except TypeError as error:
                raise ConfigError(str(error)) from error

        return run

    def _primary(self) -> Expression:
        kind, text = self._tokens.take()
        if kind == "number":
            return lambda scope: float(text)
        if kind == "string":
            return lambda scope: text[1:-1]
        if kind == "name":
            if text.lower() in ("true", "false"):
                return lambda scope: text.lower() == "true"
            return lambda scope: scope.get(text)
        if text == "(":
            inner = self.expression()
            self._tokens.expect(")")
            return inner
        raise ConfigError(f"unexpected '{text or 'end'}'")


def function(parameters: list[str], body: Expression, scope: Scope) -> Callable[..., Value]:
    """A function of the description."""

    def call(*values: Value) -> Value:
        if len(values) != len(parameters):
            raise ConfigError(f"{len(parameters)} arguments expected, {len(values)} given")
        return body(Scope(scope, dict(zip(parameters, values, strict=True))))

    return call


class Evaluator:
    """Evaluates definitions with given operations on values."""

    def __init__(self, operations: Mapping[str, Callable[[Value, Value], Value]]):
        self._operations = operations

    def expression(self, text: str) -> Expression:
        """A value's text: an expression, or `{...}` with definitions (a record)."""
        stripped = text.strip()
        if stripped[:1] in "{[" and stripped[-1:] in "}]":
            inside = stripped[1:-1]
            return lambda scope: self.record(inside, scope)
        return _Parser(stripped, self._operations).whole()

    def record(self, text: str, outer: Scope | None) -> Scope:
        """The definitions `name = ...`, `f(x) = ...` and `F{a} = ...` as a scope."""
        scope = Scope(outer)
        for left, right in items(text):
            match = re.fullmatch(r"([A-Za-z_]\w*)\s*(?:[({]([^(){}]*)[)}])?", left)
            if match is None:
                raise ConfigError(f"cannot define '{left}'")
            body = self.expression(right)
            if match[2] is None:
                scope.define(match[1], partial(body, scope))
            else:
                parameters = [name.strip() for name in match[2].split(",") if name.strip()]
                scope.define(match[1], partial(function, parameters, body, scope))
        return scope
