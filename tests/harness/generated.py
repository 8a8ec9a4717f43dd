"""Requests made up from a published swagger: mostly well-formed, on resources that live, some things wrong.

A generator of our own rather than schemathesis: it must name live resources, must put nothing into a body
that would do harm when a job runs it, and a seed must give the same requests again.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from . import contract

Json = dict[str, Any]

METHODS = ("GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS")
# Segments of a path, as they are written there.
ODD_SEGMENTS = (
    *(
        "absent",
        "x.y",
        "..",
        ".",
        "%2e%2e",
        "a%2fb",
        "a%00b",
        "%20",
        "a%20b",
        "%C3%A9",
        "%ff",
        "%F0%9F%92%A9",
    ),
    *("a" * 64, "a" * 65, "a" * 2000, "%0d%0aX-Y:z", "-", "_", "$", "'", '"', "%25", "%", "%u0041", "{x}"),
    *("a;b=c", "a:b", "a,b", "NaN", "null", "0", "-1", "migrated", "migrated-eastus", "CON", "~", "+"),
)
# Nothing here does anything when a shell expands or runs it.
ODD_TEXTS = (
    *(
        "",
        " ",
        "\0",
        "a\0b",
        "\n",
        "é",
        "\u202e",
        "💩",
        "\ud800",
        "x" * 1025,
        "y" * 70_000,
        "'",
        '"',
        "\\",
        "%s",
    ),
    *("..", "../..", "/", "$", "${", "$(", "`", "{}", "[]", "null", "0", "-1", "NaN", "true", "<a>", "a=b"),
    *(
        "\u0130",
        "ß",
        "http://",
        "https://[",
        "https://a.file.core.windows.net/s",
        "P1D",
        "PT0S",
        "P9999999999D",
    ),
    *(
        "/subscriptions/other/resourceGroups/g/providers/Microsoft.BatchAI/clusters/c",
        "//",
        "a" * 64,
        "$schema",
    ),
)
ODD_NUMBERS = (0, -1, 1, 1.5, 1e400, -0.0, 100, 101, 1000, 1001, 2**31 - 1, 2**31, 2**63, 10**30, 1e-9)
ODD_VALUES = (None, True, False, [], {}, [[]], [None], {"": 1}, {"a": {"a": {}}}, "text", 7)
CONTENT_TYPES = ("text/plain", "application/xml", "", "application/json; charset=utf-16", "a/b/c", "json")
RAW = (
    *(b"", b"{", b"[]", b"null", b"1", b'"a"', b"\xff\xfe{}", b"\xef\xbb\xbf{}", b"\0", b"NaN", b"[" * 5000),
    *(b'{"a":1', b'{"properties":{"a":"\xff"}}', b'{"properties":' * 200, b'{"a":1}{"a":1}', b"\x1f\x8b\x08"),
    *(b'{"properties":null}', b'{"properties":[]}', b'{"location":{}}', b'{"properties":{},"properties":1}'),
)
# Of these sets of properties exactly one may be given.
_EXCLUSIVE = (
    ("manual", "autoScale"),
    ("accountKey", "accountKeySecretReference"),
    ("password", "passwordSecretReference"),
    ("value", "valueSecretReference"),
    ("instrumentationKey", "instrumentationKeySecretReference"),
)
_READ_ONLY = frozenset({"stdOutErrPathSuffix"})


@dataclass(frozen=True)
class World:
    """What lives: `names` by parameter of a path (`jobName`), `texts` by property (`accountName`, or
    `cluster.id` where the property alone does not tell); `kept` are names that are seldom deleted."""

    names: Mapping[str, Sequence[str]]
    texts: Mapping[str, Sequence[Any]]
    kept: frozenset[str]


@dataclass(frozen=True)
class Made:
    method: str
    target: str
    content: bytes | None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None


def published(version: str) -> Json:
    return dict(json.loads((contract.SPEC / version / "BatchAI.json").read_text()))


class Maker:
    """Requests of one api-version, made from its swagger; the same seed gives the same ones."""

    def __init__(self, version: str, seed: int, world: World, spec: Json) -> None:
        self.random = random.Random(f"{version} {seed}")
        self.world = world
        self.version = version
        self._spec = spec
        self._operations = [
            (path, method.upper(), operation)
            for path, methods in self._spec["paths"].items()
            for method, operation in methods.items()
            for _ in range(3 if operation.get("operationId", "").endswith("_Create") else 1)
        ]
        # Of each property of a body, how often it is wrong.
        self._wrong = 0.0

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def make(self) -> Made:
        path, method, operation = self.random.choice(self._operations)
        parameters = [self._resolved(item) for item in operation.get("parameters", ())]
        self._wrong = 0.0 if self.chance(0.5) else self.random.choice((0.02, 0.1, 0.4))
        target = self._path(path, method)
        if self.chance(0.03):
            target = self._odd_path(target)
        target += "?" + self._query(parameters)
        headers = {"Content-Type": "application/json"}
        content, body = None, None
        for parameter in parameters:
            if parameter["in"] == "body":
                body = self._value(parameter["schema"], parameter["name"])
                content = json.dumps(body).encode()
        if content is None and method in ("PUT", "POST"):
            content = self.random.choice((None, b"", b"{}"))
        if self.chance(0.05):
            content, body = self.random.choice(RAW), None
        if self.chance(0.03):
            headers["Content-Type"] = self.random.choice(CONTENT_TYPES)
        if self.chance(0.04):
            method = self.random.choice(METHODS)
        if self.chance(0.03):
            headers[self.random.choice(("If-Match", "If-None-Match"))] = self.random.choice(
                ('"0x0"', "*", "x")
            )
        return Made(method, target, content, headers, body)

    # --- paths and queries -------------------------------------------------------------------------

    def _path(self, path: str, method: str) -> str:
        parts = []
        for segment in path.split("/"):
            if segment.startswith("{"):
                parts.append(self._name(segment[1:-1], method))
            else:
                parts.append(segment.swapcase() if self.chance(0.01) else segment)
        return "/".join(parts)

    def _name(self, parameter: str, method: str) -> str:
        names = list(self.world.names[parameter])
        if method == "DELETE" and not self.chance(0.02):
            names = [name for name in names if name not in self.world.kept] or ["absent"]
        if self.chance(0.03):
            return self.random.choice(ODD_SEGMENTS)
        name = self.random.choice(names)
        return name.upper() if self.chance(0.03) else name

    def _odd_path(self, target: str) -> str:
        cut = self.random.randrange(len(target))
        piece = self.random.choice(("/", "//", "/extra", "/..", "%00", ":", ";", "\\", "%2f", "/%2e%2e/"))
        return self.random.choice((target[:cut] or "/", target + piece, target[:cut] + piece + target[cut:]))

    def _query(self, parameters: list[Json]) -> str:
        fields = []
        for parameter in parameters:
            if parameter["in"] == "query" and parameter["name"] != "api-version":
                wanted = parameter.get("required") or self.chance(0.3)
                if wanted != self.chance(0.03):
                    fields.append((parameter["name"], str(self._query_value(parameter))))
        versions = [self.version]
        if self.chance(0.04):
            others = (
                "2018-05-01",
                "2017-09-01-preview",
                "2016-01-01",
                "",
                "new",
                "2018-13-41",
                "2018-05-01-beta",
            )
            versions = self.random.choices(others, k=self.random.randrange(3))
        fields += [("api-version", version) for version in versions]
        if self.chance(0.02):
            fields.append((self.random.choice(("$skiptoken", "$skip", "$top", "x")), self._odd_text()))
        self.random.shuffle(fields)
        return urlencode(fields, errors="surrogatepass")

    def _query_value(self, parameter: Json) -> Any:
        if self.chance(0.1):
            return self._odd_text()
        if parameter["type"] == "integer":
            low, high = parameter.get("minimum", 0), parameter.get("maximum", 1000)
            return self.random.choice((low, high, low - 1, high + 1, self.random.randint(low, high)))
        return self.random.choice(self.world.texts.get(parameter["name"], ODD_TEXTS[:8]))

    # --- bodies ------------------------------------------------------------------------------------

    def _resolved(self, schema: Json) -> Json:
        while "$ref" in schema:
            _, kind, name = schema["$ref"].split("/")
            schema = self._spec[kind][name]
        return schema

    def _value(self, schema: Json, name: str, parent: str = "") -> Any:
        schema = self._resolved(schema)
        if self.chance(self._wrong):
            return self._odd(schema)
        for key in (f"{parent}.{name}", name):
            if key in self.world.texts:
                return self.random.choice(self.world.texts[key])
        if "enum" in schema:
            return self.random.choice((*schema["enum"], schema["enum"][0].upper()))
        kind = schema.get("type", "object")
        if kind == "array":
            return [
                self._value(schema["items"], name, parent) for _ in range(self.random.choice((0, 1, 1, 2)))
            ]
        if kind in ("integer", "number"):
            return self.random.randint(0, 2)
        if kind == "boolean":
            return self.chance(0.5)
        if kind == "string":
            return self.random.choice(("a", "b1", "name"))
        return self._object(schema, name)

    def _object(self, schema: Json, own_name: str) -> Json:
        if "additionalProperties" in schema:
            return {f"tag{i}": "value" for i in range(self.random.randrange(3))}
        properties = {
            name: self._resolved(part) | part for name, part in schema.get("properties", {}).items()
        }
        properties = {name: part for name, part in properties.items() if not part.get("readOnly")}
        required = set(schema.get("required", ())) | ({"properties"} & set(properties))
        given = [name for name in properties if name in required or self.chance(0.3)]
        given = [name for name in given if name not in _READ_ONLY]
        if "scaleSettings" in properties and "scaleSettings" not in given:
            given.append("scaleSettings")
        toolkits = [name for name in properties if name.endswith("Settings") and name in _TOOLKITS]
        for group in (*_EXCLUSIVE, toolkits):
            if group and all(name in properties for name in group) and not self.chance(self._wrong):
                given = [name for name in given if name not in group] + [self.random.choice(group)]
        value = {
            name: self._value(properties[name], name, own_name)
            for name in given
            if not self.chance(self._wrong)
        }
        if self.chance(self._wrong):
            value[self.random.choice(("unknown", "$schema", "Location", "é", ""))] = self._odd(schema)
        return value

    def _odd(self, schema: Json) -> Any:
        return self.random.choice(
            (
                self._odd_text(),
                self.random.choice(ODD_NUMBERS),
                self.random.choice(ODD_VALUES),
                self._odd_text() if schema.get("type") == "string" else self.random.choice(ODD_NUMBERS),
            )
        )

    def _odd_text(self) -> str:
        return self.random.choice(ODD_TEXTS)


_TOOLKITS = frozenset(
    f"{name}Settings"
    for name in (
        *("cntk", "pyTorch", "tensorFlow", "caffe", "caffe2", "chainer"),
        *("customToolkit", "customMpi", "horovod"),
    )
)


def ascii_target(target: str) -> str:
    """A target as it may be written to a socket: what HTTP forbids in it is percent-encoded."""
    return quote(target, safe="/?&=%:;,+~$'{}\\!*()@[]|^`<>\"#", errors="surrogatepass")
